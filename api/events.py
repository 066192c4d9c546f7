# SPDX-License-Identifier: Apache-2.0
"""Server-sent events (HTML standard, 9.2): one answer after the other, until the client goes or the daemon stops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from fastapi import Request
from pydantic import TypeAdapter
from starlette.responses import Response, StreamingResponse

from api.auth import Tokens
from xdpfw.model.errors import XdpfwError

MEDIA_TYPE = "text/event-stream"
_RETRY = b"retry: 1000\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def event(adapter: TypeAdapter[Any], value: Any) -> bytes:
    """JSON of pydantic has no line breaks, so that one line holds it all."""
    return b"data: " + adapter.dump_json(value) + b"\n\n"


async def event_stream(request: Request, events: AsyncGenerator[bytes, None]) -> Response:
    """The first event is fetched before the answer begins, so that an error is still a problem document. Ends when the
    caller's token is revoked or runs out."""
    if request.state.head:
        await events.aclose()
        return Response(media_type=MEDIA_TYPE, headers=_HEADERS)
    tokens: Tokens = request.app.state.tokens
    first = await anext(events, b"")

    async def chunks() -> AsyncIterator[bytes]:
        async with aclosing(events):
            yield _RETRY + first
            try:
                async for each in events:
                    if not tokens.holds(request.state.caller):
                        return
                    yield each
            except XdpfwError as error:  # such as an interface that was detached: the client asks again, and is told
                yield b": " + error.detail.encode().replace(b"\n", b" ") + b"\n\n"

    return StreamingResponse(chunks(), media_type=MEDIA_TYPE, headers=_HEADERS)


def stream_of(model: type[Any]) -> dict[str, Any]:
    """Arguments of a route whose events hold such answers."""
    described = f"Server-sent events; the data of each is one {model.__name__} as JSON"
    content = {MEDIA_TYPE: {"schema": {"type": "string"}, "example": 'data: {"…": "…"}\n\n'}}
    return {"response_class": StreamingResponse, "responses": {200: {"description": described, "content": content}}}
