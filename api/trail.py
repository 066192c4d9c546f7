# SPDX-License-Identifier: Apache-2.0
"""Who asks, and what became of it: for the audit trail."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Message, Scope

from api.auth import Caller
from api.transport import PEER
from xdpfw.model.ledger import Author, Outcome

BASE = "/api/v1"
SAFE = {"GET", "HEAD", "OPTIONS"}
QUESTIONS = {f"{BASE}/explain", f"{BASE}/replay"}
"""Their method says that something is sent, and not that anything changes."""
MOST = 64 << 10
"""Bytes of a refusal that are looked at."""
TOO_MANY = 429


def author_of(scope: Scope, caller: Caller, number: str) -> Author:
    peer, client = scope.get("state", {}).get(PEER), scope.get("client")
    source = client[0] if client and not peer else "unix"
    request = f"{scope['method']} {scope['path'].removeprefix(BASE)}"
    return Author(caller.name, caller.label, source, peer.pid if peer else None, request[:300], number)


class Answered:
    """What was answered to one request. `status` 0: nothing."""

    def __init__(self) -> None:
        self.status = 0
        self._changed = ""
        self._body = bytearray()

    def hear(self, message: Message) -> None:
        """One message of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers: list[tuple[bytes, bytes]] = message.get("headers", [])
            self._changed = next((value.decode() for name, value in headers if name.lower() == b"x-changed"), "")
        elif self.status >= 400 and len(self._body) < MOST:
            self._body += message.get("body", b"")

    def outcome(self, scope: Scope) -> Outcome | None:
        """None: it is no write, or written down already, or too frequent."""
        if scope["method"] in SAFE or scope["path"] in QUESTIONS or self.status in (0, TOO_MANY):
            return None
        if self.status >= 400:
            return Outcome.REFUSED
        rehearsed = parse_qs(scope["query_string"]).get(b"dry_run", [b"false"])[0].lower() not in (b"false", b"0")
        return Outcome.UNCHANGED if self._changed == "false" and not rehearsed else None

    @property
    def detail(self) -> str:
        """Why it was refused."""
        try:
            problem: Any = json.loads(self._body)
        except ValueError:
            return ""
        return str(problem.get("detail", "")) if isinstance(problem, dict) else ""
