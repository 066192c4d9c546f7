# SPDX-License-Identifier: Apache-2.0
"""A small REST client over a unix socket, from the standard library alone."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Refused(AssertionError):
    """An answer other than the one expected."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Rest:
    """Calls below `/api/v1`; `path` beginning with a slash is taken as is."""

    def __init__(self, path: Path, timeout: float = 60) -> None:
        self.path = path
        self.timeout = timeout

    def call(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", keep: Any = None
    ) -> Answer:
        """One request; `body` is sent as JSON unless it is bytes. `keep`: a connection from `open` to use again."""
        target = path if path.startswith("/") else f"/api/v1/{path}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = keep or _UnixConnection(self.path, self.timeout)
        try:
            connection.request(method, target, data, {} if data is None else {"Content-Type": kind})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            if keep is None:
                connection.close()

    def open(self) -> http.client.HTTPConnection:
        return _UnixConnection(self.path, self.timeout)

    def must(
        self, method: str, path: str, body: Any = None, *, kind: str = "application/json", keep: Any = None
    ) -> Any:
        """Like `call`, and answers the body's JSON (None when empty).

        Raises:
            Refused: the status is not 2xx.
        """
        answer = self.call(method, path, body, kind=kind, keep=keep)
        if not 200 <= answer.status < 300:
            raise Refused(f"{method} {path}: {answer.status} {answer.body.decode(errors='replace')[:2000]}")
        return answer.json() if answer.body else None

    def get(self, path: str) -> Any:
        return self.must("GET", path)
