# SPDX-License-Identifier: Apache-2.0
"""Every error answer is a problem document (RFC 9457): type, title, status, detail, and errors[] for faulty input."""

from __future__ import annotations

import http
import json
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from api.failures import TooManyFailures
from xdpfw.model.errors import Fault, XdpfwError

MEDIA_TYPE = "application/problem+json"
MAX_FAULTS = 100
RETRY_AFTER = 2
"""Seconds after which a request refused with 503 is worth repeating."""

log = logging.getLogger("xdpfw.api")


class NotModified(Exception):
    """The client's copy is current (RFC 9110, 13.1.2): 304 with the same ETag."""

    def __init__(self, etag: str) -> None:
        super().__init__(etag)
        self.etag = etag


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    kind: str | None = None,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """`kind` is the last part of the type URI; without it the type is about:blank (RFC 9457, 4.2.1)."""
    body: dict[str, Any] = {
        "type": f"urn:problem-type:xdpfw:{kind}" if kind else "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
    }
    if faults:
        body["errors"] = [{"pointer": f.pointer, "detail": f.detail} for f in faults[:MAX_FAULTS]]
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
    extra = dict(headers or {})
    if status == 503:
        extra.setdefault("Retry-After", str(RETRY_AFTER))
    return Response(content, status, headers=extra, media_type=MEDIA_TYPE)


def problem_of(error: XdpfwError) -> Response:
    headers = {"WWW-Authenticate": 'Bearer realm="xdpfw"'} if error.status == 401 else {}
    if isinstance(error, TooManyFailures):
        headers = {"Retry-After": str(error.retry_after), "Connection": "close"}
    return problem(
        error.status, error.title, error.detail, kind=_kind(type(error)), faults=error.faults, headers=headers
    )


def _kind(error: type[XdpfwError]) -> str:
    """The name of the class that fixed status and title: subclasses that only refine the detail share its type."""
    owner = next(cls for cls in error.__mro__ if "title" in vars(cls))
    return re.sub(r"(?<!^)(?=[A-Z])", "-", owner.__name__).lower()


def install(app: FastAPI) -> None:
    app.add_exception_handler(XdpfwError, _on_xdpfw_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(NotModified, _on_not_modified)
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_xdpfw_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, XdpfwError)
    return problem_of(error)


async def _on_not_modified(_request: Request, error: Exception) -> Response:
    assert isinstance(error, NotModified)
    return Response(status_code=304, headers={"ETag": error.etag})


async def _on_validation_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    unreadable = any(item["type"] == "json_invalid" for item in errors)
    faults = [Fault(_pointer(item["loc"]), _message(item)) for item in errors[:MAX_FAULTS]]
    if unreadable:
        return problem(400, "Unreadable request", f"the body is not JSON: {faults[0].detail}", kind="unreadable")
    more = f" (the first of {len(errors)} faults)" if len(errors) > 1 else ""
    detail = f"{faults[0].pointer}: {faults[0].detail}{more}"
    return problem(422, "Invalid input", detail, kind="invalid-input", faults=faults)


def _pointer(location: Sequence[int | str]) -> str:
    """A JSON pointer (RFC 6901) into the body; `?name` for a query parameter, `name` for path and header."""
    where, *path = location
    if where == "body":
        return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
    name = str(path[0]) if path else ""
    return f"?{name}" if where == "query" else name


def _message(item: Mapping[str, Any]) -> str:
    if item["type"] == "json_invalid":
        return str(item.get("ctx", {}).get("error", item["msg"]))
    if item["type"] == "extra_forbidden":
        return "there is no such field"
    return str(item["msg"]).removeprefix("Value error, ")


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        error.headers = {"Allow": ", ".join(sorted(_allowed(request)))}
    phrase = http.HTTPStatus(error.status_code).phrase
    detail = {404: "there is no such resource", 405: "this resource does not take that method"}.get(
        error.status_code, error.detail
    )
    return problem(error.status_code, phrase, detail, headers=error.headers)


def _allowed(request: Request) -> set[str]:
    """The methods of a resource, which has a route for each (RFC 9110, 15.5.6)."""
    routes = request.app.routes
    methods = {
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    }
    return methods | {"HEAD"} if "GET" in methods else methods


async def _on_disconnect(_request: Request, _error: Exception) -> Response:
    return problem(400, "Unreadable request", "the body ended before its announced length", kind="unreadable")


async def _on_unexpected(request: Request, error: Exception) -> Response:
    number = request.scope.get("state", {}).get("request_id", "")
    log.error("request %s met a defect", number, exc_info=error)
    detail = (
        f"this is a defect; the daemon's log has more about request {number}. Nothing more is known about the change"
    )
    return problem(500, "Internal error", detail, kind="xdpfw-error")
