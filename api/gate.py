# SPDX-License-Identifier: Apache-2.0
"""What every request passes first: its number, who sends it and whether they may, HEAD, the access log.

Reading needs the role `read` and everything else `write`, unless the endpoint asks for more: a new endpoint is
closed until somebody opens it.
"""

from __future__ import annotations

import ipaddress
import logging
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import ANONYMOUS, Caller, Role, Tokens, Trust
from api.dashboard import is_page
from api.errors import problem_of
from api.failures import Failures
from api.trail import QUESTIONS, SAFE, Answered, author_of
from api.transport import PEER, source_of
from xdpfw.log import told
from xdpfw.model.errors import NotAllowed, NotAuthenticated, Unreadable, XdpfwError
from xdpfw.model.ledger import Author, Outcome
from xdpfw.model.prefix import InvalidPrefix, parse_address

log = logging.getLogger("xdpfw.api")

OPEN = {"/healthz"}
_TURNED_AWAY = {NotAuthenticated.status, NotAllowed.status}

Note = Callable[[Author, Outcome, int, str], None]
"""Who, what became of it, the status, and why."""


@dataclass(frozen=True, slots=True)
class Gate:
    """ASGI middleware. `names`: host names under which the TCP listener may be called, beside the loopback's and the
    address that was called. `note` is told of writes that were refused or changed nothing."""

    app: ASGIApp
    tokens: Tokens
    trust: Trust = field(default_factory=Trust)
    names: Collection[str] = ()
    failures: Failures = field(default_factory=Failures)
    note: Note = lambda *_: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        assert scope["type"] == "http", "nothing else is served"
        began = time.monotonic()
        number = secrets.token_hex(6)
        answered = Answered()

        async def numbered(message: Message) -> None:
            answered.hear(message)
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"x-request-id", number.encode())]
            elif scope["method"] == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        caller = ANONYMOUS
        try:
            caller = self._admit(scope)
            if caller is not ANONYMOUS:
                caller.need(_role_for(scope))
        except XdpfwError as error:
            await problem_of(error)(scope, receive, numbered)
        else:
            await self.app(_inner(scope, caller, number), receive, numbered)
        finally:
            # quoted: a path may hold line breaks; without the query and the headers: they may hold secrets
            words = (scope["method"], scope["path"], answered.status, (time.monotonic() - began) * 1e3)
            log.debug("%s %r %s %.1f ms %s %s", *words, caller.name, number)
            author = author_of(scope, caller, number)
            if outcome := answered.outcome(scope):
                self.note(author, outcome, answered.status, answered.detail)
            elif answered.status in _TURNED_AWAY:
                _tell_turned_away(author, answered)

    def _admit(self, scope: Scope) -> Caller:
        headers = Headers(scope)
        peer = scope.get("state", {}).get(PEER)
        if peer is None:
            self._check_host(headers, scope["server"][0])
        _check_origin(headers)
        if peer is not None:
            return self.trust.admit(peer)
        if scope["method"] in SAFE and (scope["path"] in OPEN or is_page(scope["path"])):
            return ANONYMOUS
        return self._bearer(headers, scope["client"][0])

    def _check_host(self, headers: Headers, called: str) -> None:
        """A page in a browser can reach this server under a name of its own (DNS rebinding); the Host header gives it
        away. An address cannot be rebound."""
        host = headers.one("host") or ""
        name = _hostname(host)
        if not (_is_loopback(name) or name in self.names or _same_address(name, called)):
            raise NotAllowed(
                f"this server is not called {host!r}; use its address, or have that name added to the setting `names`"
            )

    def _bearer(self, headers: Headers, address: str) -> Caller:
        scheme, _, token = (headers.one("authorization") or "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                ANONYMOUS.need(Role.READ)
            return self.tokens.identify(token.strip(), ipaddress.ip_address(address.partition("%")[0]))
        except NotAuthenticated:
            self.failures.count(source_of(address))
            raise


class Headers:
    """Request headers that must not be there twice."""

    def __init__(self, scope: Scope) -> None:
        self._pairs: list[tuple[bytes, bytes]] = scope["headers"]

    def one(self, name: str) -> str | None:
        values = [value for key, value in self._pairs if key == name.encode()]
        if len(values) > 1:
            raise Unreadable(f"the header {name} is there {len(values)} times")
        return values[0].decode("latin-1").strip() if values else None


def _role_for(scope: Scope) -> Role:
    return Role.READ if scope["method"] in SAFE or scope["path"] in QUESTIONS else Role.WRITE


def _tell_turned_away(author: Author, answered: Answered) -> None:
    """Of one who wanted to read: the audit trail holds writes alone."""
    who = {"actor": author.name, "source": author.source, "request": author.request, "request_id": author.number}
    log.warning(
        "%r from %s is refused (%d): %s",
        author.request,
        author.source,
        answered.status,
        answered.detail,
        extra=told("refused", outcome="refused", status=answered.status, detail=answered.detail, **who),
    )


def _check_origin(headers: Headers) -> None:
    """A browser names the page that sends the request; only this server's own pages may."""
    origin, host = headers.one("origin"), headers.one("host") or ""
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        raise NotAllowed(f"pages of {origin!r} may not call this server")


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _same_address(name: str, called: str) -> bool:
    try:
        return parse_address(name) == parse_address(called.partition("%")[0])
    except InvalidPrefix:
        return False


def _inner(scope: Scope, caller: Caller, number: str) -> Scope:
    """HEAD is answered as GET without its body, so that it cannot differ."""
    head = scope["method"] == "HEAD"
    state = {**scope.get("state", {}), "caller": caller, "request_id": number, "head": head}
    return {**scope, "method": "GET" if head else scope["method"], "state": state}
