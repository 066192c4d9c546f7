# SPDX-License-Identifier: Apache-2.0
"""Reading requests strictly: known query parameters, the right media type, a bounded body."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Literal, TypeVar

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from xdpfw.model.errors import Fault, InvalidInput, TooLarge, Unreadable

JSON_LIMIT = 64 << 10
PATCH_LIMIT = 8 << 20
BULK_LIMIT = 128 << 20
"""A million IPv6 prefixes in full spelling are 44 MB as text, about 110 MB as NDJSON with a comment."""

REPLAY_LIMIT = 4 << 30
"""Captures are judged while they arrive, and none of it is kept, when only totals are asked for."""

CHUNK = 1 << 20

Form = Literal["text", "json", "ndjson"]
FORMS: dict[str, Form] = {
    "text/plain": "text",
    "application/json": "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
}
Model = TypeVar("Model", bound=BaseModel)
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRoute(APIRoute):
    """Refuses query parameters that the call does not know: `?dryrun=true` must not write. Bodies are JSON and small
    unless the endpoint reads them itself (and describes them in its openapi_extra)."""

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        known = _query_names(self.dependant)
        raw = "requestBody" in (self.openapi_extra or {})

        async def strict(request: Request) -> Response:
            _check_query(request, known)
            if not raw:
                check_type(request, {"application/json"})
                request = Request(request.scope, _limited(request, JSON_LIMIT))
            return await handler(request)

        return strict


def _query_names(dependant: Dependant) -> set[str]:
    """Of an endpoint and all that it depends on."""
    return {param.alias for param in dependant.query_params}.union(*map(_query_names, dependant.dependencies))


def _check_query(request: Request, known: set[str]) -> None:
    names = [name for name, _ in request.query_params.multi_items()]
    faults = [Fault(f"?{name}", "there is no such parameter here") for name in names if name not in known]
    faults += [Fault(f"?{name}", "is there more than once") for name in set(names) if names.count(name) > 1]
    if faults:
        takes = ", ".join(sorted(known)) or "no parameter"
        raise InvalidInput(f"{faults[0].pointer}: {faults[0].detail}; this call takes {takes}", faults)


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def check_type(request: Request, allowed: set[str]) -> None:
    """415 for a body of another type, or one that is compressed."""
    headers = request.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return
    wanted = " or ".join(sorted(allowed))
    if media_type(request) not in allowed:
        given = headers.get("content-type", "none")
        raise HTTPException(415, f"the body's Content-Type is {given}; this call takes {wanted}")
    if headers.get("content-encoding", "identity") != "identity":
        raise HTTPException(415, "compressed bodies are not taken; send it without Content-Encoding")


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit:,} bytes, the most this call takes")


def _limited(request: Request, limit: int) -> Callable[[], Coroutine[Any, Any, Any]]:
    """`receive` that gives up at the limit. An HTTPException is what FastAPI lets through while it reads."""
    seen = 0

    async def receive() -> Any:
        nonlocal seen
        message = await request.receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(413, _too_large(limit).detail)
        return message

    return receive


async def chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Raises TooLarge, and ClientDisconnect when the body is cut off."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise _too_large(limit)
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > limit:
            raise _too_large(limit)
        yield chunk


async def read_model(request: Request, model: type[Model], limit: int) -> Model:
    """A JSON body that may be large: read and validated beside the event loop, which goes on serving others."""
    check_type(request, {"application/json"})
    body = b"".join([chunk async for chunk in chunks(request, limit)])
    try:
        return await asyncio.to_thread(model.model_validate_json, body)
    except ValidationError as error:
        # include_input: a body of megabytes must not be copied once per fault
        errors = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in errors]) from None


async def read_json(request: Request, limit: int) -> Any:
    """A JSON body of any form, read beside the event loop. Raises Unreadable."""
    check_type(request, {"application/json"})
    body = b"".join([chunk async for chunk in chunks(request, limit)])
    try:
        return await asyncio.to_thread(json.loads, body)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the body is not JSON: {error}") from None


async def spooled(request: Request, limit: int) -> AsyncIterator[bytes]:
    """A body in pieces once all of it has arrived, for answers that begin before all of it is read: a client that sends
    before it listens would wait for ever. It lies in a temporary file without a name meanwhile."""
    with tempfile.TemporaryFile(prefix="xdpfw-") as file:
        async for chunk in chunks(request, limit):
            await asyncio.to_thread(file.write, chunk)
        file.seek(0)
        while piece := await asyncio.to_thread(file.read, CHUNK):
            yield piece
