# SPDX-License-Identifier: Apache-2.0
"""One HTTP/1.1 connection, with bounds on what a client may send, and on how long it may take over it, before
anybody has asked who it is. The clock stops while it is we who do not read or have not answered yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from api.errors import MEDIA_TYPE, problem
from api.lobby import Guest

MAX_HEAD = 64 << 10
PIECE = 64 << 10

_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a client may take: for URL and headers; for a body, beside what it takes at `body_rate` bytes per
    second; to take 64 KB of an answer; between two requests; to end a body after it was refused."""

    head: float = 10
    body: float = 30
    body_rate: int = 4096
    taking: float = 60
    idle: float = 30
    leaving: float = 5


class Connection(HttpToolsProtocol):
    """`left` is called when it is over. The server calls `sweep` from time to time."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        guest: Guest,
        patience: Patience,
        left: Callable[[Guest], None],
        app_state: dict[str, Any],
    ) -> None:
        super().__init__(config, state, app_state)
        self._guest, self._patience, self._left = guest, patience, left
        self._head_bytes = self._body_bytes = 0
        self._body_began = 0.0
        self._in_message = self._in_body = False
        self._due: float | None = None
        self._untaken: tuple[int, float] | None = None

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._guest.show_out = transport.abort
        self._due = self.loop.time() + self._patience.head

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._left(self._guest)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._due is None and not self._answering:
            # A line break before the next request begins no request, and must not buy time for ever.
            self._due = self.loop.time() + self._patience.head

    def send_400_response(self, msg: str) -> None:
        """To what is no HTTP, or too much of it."""
        body = bytes(problem(400, "Unreadable request", msg, kind="unreadable").body)
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
        self.transport.write(f"{head}connection: close\r\n\r\n".encode() + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self._in_message, self._in_body = True, False
        if self._due is None:
            self._due = self.loop.time() + self._patience.head
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(name, value)
        super().on_header(name, value)

    def _count(self, *parts: bytes) -> None:
        """The parser turns the error into a 400."""
        self._head_bytes += sum(map(len, parts))
        if self._head_bytes > MAX_HEAD:
            raise ValueError(f"more than {MAX_HEAD} bytes of URL and headers")

    def on_headers_complete(self) -> None:
        self._in_body, self._body_bytes, self._body_began = True, 0, self.loop.time()
        self._due = self._body_began + self._patience.body
        self._guest.silent_since = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        if self._answering:
            self._body_bytes += len(body)
            earned = self._patience.body + self._body_bytes / self._patience.body_rate
            self._due = max(self._due or 0, self._body_began + earned)

    def on_message_complete(self) -> None:
        self._in_message, self._due = False, None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._answering:
            return  # the next request was there already
        now = self.loop.time()
        self._guest.silent_since = now
        if self._in_message:
            self._due = now + self._patience.leaving

    def sweep(self, now: float) -> None:
        """End it if it has taken too long."""
        if self._takes_too_long(now):
            self.transport.abort()
        elif self._due is None or now <= self._due or self.transport.is_closing():
            return
        elif self._answering and (self.flow.read_paused or not self._in_body):
            # It is we who do not read just now, or who have not answered what came before.
            self._due = now + self._patience.body
        else:
            self._give_up()

    def _takes_too_long(self, now: float) -> bool:
        """Whether nobody takes what we have to send."""
        unsent = self.transport.get_write_buffer_size()
        if not unsent or not (self.flow.write_paused or self.transport.is_closing()):
            self._untaken = None
        elif self._untaken is None or unsent <= self._untaken[0] - PIECE:
            self._untaken = (unsent, now + self._patience.taking)
        return self._untaken is not None and now > self._untaken[1]

    def _give_up(self) -> None:
        if self._in_message and (not self._in_body or (self._answering and not self.cycle.response_started)):
            self.transport.write(_TOO_SLOW)
        self.transport.close()
