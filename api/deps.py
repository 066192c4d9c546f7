# SPDX-License-Identifier: Apache-2.0
"""What endpoints are given: the service, the tokens, the caller; and the ETag of what they show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request, Response

from api.auth import Caller, Role, Tokens
from api.errors import NotModified
from xdpfw.service import Firewall


async def _firewall(request: Request) -> Firewall:
    firewall: Firewall = request.app.state.firewall
    return firewall


async def _tokens(request: Request) -> Tokens:
    tokens: Tokens = request.app.state.tokens
    return tokens


async def need_admin(request: Request) -> None:
    caller: Caller = request.state.caller
    caller.need(Role.ADMIN)


Service = Annotated[Firewall, Depends(_firewall)]
TokenStore = Annotated[Tokens, Depends(_tokens)]


def etag_of(resource: str) -> Callable[..., Awaitable[str]]:
    """A dependency that sends the ETag of `resource`, whose `{…}` are path parameters, and answers 304 when the
    client has it already. It is read before the content: content newer than its ETag costs a retry, the other way
    round a lost update."""

    async def dependency(request: Request, response: Response, firewall: Service) -> str:
        etag = firewall.etag(resource.format(**request.path_params))
        check_fresh(request, etag)
        response.headers["ETag"] = etag
        return etag

    return dependency


def check_fresh(request: Request, etag: str) -> None:
    """If-None-Match uses the weak comparison (RFC 9110, 13.1.2)."""
    known = [item.strip().removeprefix("W/") for item in request.headers.get("if-none-match", "").split(",")]
    if "*" in known or etag in known:
        raise NotModified(etag)
