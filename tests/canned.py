# SPDX-License-Identifier: Apache-2.0
"""A small real HTTP server on a unix socket that answers what a test wrote down, and remembers what it was asked."""

from __future__ import annotations

import json
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    raw_path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Told:
    status: int = 200
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    text: bytes | None = None
    cut: bool = False
    """Close in the middle of the body."""
    until: threading.Event | None = None
    """A body that does not end before this is set."""


Teller = Told | Callable[[Asked], Told]


def problem(status: int, detail: str, *, kind: str = "x", errors: list[dict[str, str]] | None = None) -> Told:
    """A problem document as RFC 9457, 3 has it."""
    document = {"type": f"urn:problem-type:xdpfw:{kind}", "title": "Title", "status": status, "detail": detail}
    if errors:
        document["errors"] = errors
    return Told(status, document, {"Content-Type": "application/problem+json"})


class Canned:
    """`tells[method, path]` is the answer; `asked` what came, in order. Paths are unquoted, without /api/v1."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tells: dict[tuple[str, str], Teller] = {}
        self.asked: list[Asked] = []

    def answer(self, asked: Asked) -> Told:
        self.asked.append(asked)
        teller = self.tells.get((asked.method, asked.path), problem(404, f"nothing is written down for {asked.path}"))
        return teller if isinstance(teller, Told) else teller(asked)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        parts = urlsplit(self.path)
        path = unquote(parts.path).removeprefix("/api/v1")
        asked = Asked(self.command, path, parts.path, dict(parse_qsl(parts.query)), dict(self.headers), self._body())
        self._tell(server.canned.answer(asked))

    do_GET = do_PUT = do_PATCH = do_POST = do_DELETE = handle_any

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while length := int(self.rfile.readline(), 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _tell(self, told: Told) -> None:
        body = told.text
        if body is None:
            body = b"" if told.document is None else json.dumps(told.document).encode()
        self.send_response(told.status)
        for name, value in told.headers.items():
            self.send_header(name, value)
        if told.until is None:
            self.send_header("Content-Length", str(len(body) + (1000 if told.cut else 0)))
        self.end_headers()
        self.wfile.write(body)
        if told.until is not None:
            told.until.wait(60)
        self.close_connection = self.close_connection or told.cut or told.until is not None

    def log_message(self, *_: Any) -> None:
        pass

    def address_string(self) -> str:
        return "unix"


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    canned: Canned

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that was interrupted, or has read enough, is what some tests are about.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(path: Path) -> Iterator[Canned]:
    """Serve on a unix socket until the end of the block."""
    with _Server(str(path), _Handler) as server:
        server.canned = Canned(path)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.canned
        finally:
            server.shutdown()
            thread.join()
