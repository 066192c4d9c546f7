# SPDX-License-Identifier: Apache-2.0
"""HTTP to the daemon, over its unix socket or TCP, with the standard library alone (a verb must start quickly)."""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from cli.errors import FAILED, NOT_ALLOWED, UNREACHABLE, USAGE, Failure, Refused

BASE = "/api/v1"
DEFAULT_SOCKET = "/run/xdpfw/xdpfw.sock"
BLOCK_BYTES = 1 << 18

Query = dict[str, str | int | float | bool | None]
Document = dict[str, Any]


def segment(text: str) -> str:
    """One segment of a path: everything but unreserved characters is quoted, the slash of a prefix too."""
    return quote(text, safe="")


class Answer:
    """A successful answer. `document` is None where there was no body (204)."""

    def __init__(self, status: int, headers: http.client.HTTPMessage, document: Any) -> None:
        self.status = status
        self.headers = headers
        self.document = document

    def written(self) -> Document:
        """The answer of a write; one without a body changed something, and its revision is in the header."""
        if isinstance(self.document, dict):
            return self.document
        return {"revision": int(self.headers.get("X-Revision") or 0), "changed": True}


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout, blocksize=BLOCK_BYTES)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Target:
    """Where the daemon listens."""

    def __init__(
        self,
        *,
        path: str | None = None,
        url: str | None = None,
        token: str | None = None,
        certificate: str | None = None,
    ) -> None:
        """`certificate`: a PEM file with a certificate and its key, for daemons that want clients to show one."""
        self.path = path
        self.url = url
        self.token = token
        self.certificate = certificate
        if url is not None:
            parts = urlsplit(url if "//" in url else f"http://{url}")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise Failure(USAGE, f"{url!r} is not a URL of the daemon; write http://127.0.0.1:8484")
            self.scheme, self.host, self.port = parts.scheme, parts.hostname, _port(url, parts)
            self.prefix = parts.path.rstrip("/").removesuffix(BASE)

    @classmethod
    def chosen(cls, path: str | None, url: str | None, environment: dict[str, str] | os._Environ[str]) -> Target:
        """Options win over the environment, there XDPFW_URL over XDPFW_SOCKET; else the usual socket."""
        if path and url:
            raise Failure(USAGE, "--socket and --url name two places; give one of them")
        if not path:
            url = url or environment.get("XDPFW_URL") or None
        if url:
            token, certificate = environment.get("XDPFW_TOKEN"), environment.get("XDPFW_CLIENT_CERT")
            return cls(url=url, token=token or None, certificate=certificate or None)
        return cls(path=path or environment.get("XDPFW_SOCKET") or DEFAULT_SOCKET)

    def __str__(self) -> str:
        return self.url if self.path is None and self.url else str(self.path)

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        if self.path is not None:
            return _UnixConnection(self.path, timeout)
        if self.scheme == "http":
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout, blocksize=BLOCK_BYTES)
        context = ssl.create_default_context()
        if self.certificate:
            try:
                context.load_cert_chain(self.certificate, password=lambda: b"")
            except OSError as error:
                raise Failure(
                    USAGE, f"XDPFW_CLIENT_CERT: {self.certificate} holds no certificate with its key ({error})"
                ) from None
        return http.client.HTTPSConnection(
            self.host, self.port, timeout=timeout, blocksize=BLOCK_BYTES, context=context
        )

    def full_path(self, path: str) -> str:
        return path if self.path is not None else self.prefix + path


def _port(url: str, parts: Any) -> int:
    try:
        return parts.port or (443 if parts.scheme == "https" else 8484)
    except ValueError:
        raise Failure(USAGE, f"{url!r}: the port is not a number up to 65535") from None


class Client:
    """One connection, kept between requests. Every method raises Failure when there is no success to tell of."""

    def __init__(self, target: Target, timeout: float = 30.0) -> None:
        self.target = target
        self.timeout = timeout
        self._connection: http.client.HTTPConnection | None = None
        # The connection lets go of it as soon as an answer that ends with it has begun.
        self._socket: socket.socket | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def get(self, path: str, query: Query | None = None) -> Document:
        """A GET below the base path: its JSON document."""
        document = self._request("GET", path, query).document
        if not isinstance(document, dict):
            raise Failure(FAILED, f"{self.target} answered something that is no xdpfw document; is it xdpfw?")
        return document

    def items(self, path: str) -> list[Document]:
        """All items of a list that is never long."""
        found: list[Document] = []
        cursor = None
        while True:
            page = self.get(path, {"limit": 1000, "cursor": cursor})
            found += page["items"]
            cursor = page["next"]
            if cursor is None:
                return found

    def read(self, path: str, query: Query | None = None, known: str | None = None) -> Answer:
        """A GET whose headers matter too. `known`: the entity tag of what the caller has; 304 without a document when
        that is still so."""
        return self._request("GET", path, query, headers={"If-None-Match": known} if known else None)

    def write(
        self, method: str, path: str, query: Query | None = None, body: Any = None, etag: str | None = None
    ) -> Answer:
        """A change. `body` is sent as JSON unless it is None."""
        headers = self._session() | ({"If-Match": etag} if etag else {})
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return self._request(method, path, query, data, headers)

    def upload(
        self,
        path: str,
        query: Query,
        content_type: str,
        blocks: Iterable[bytes],
        length: int | None,
        etag: str | None = None,
        method: str = "PUT",
    ) -> Answer:
        """Send a body block by block; without a length it is sent in chunks (RFC 9112, 7.1)."""
        headers = self._session() | {"Content-Type": content_type} | ({"If-Match": etag} if etag else {})
        if length is not None:
            headers["Content-Length"] = str(length)
        return self._request(method, path, query, blocks, headers)

    def exchange(
        self, path: str, query: Query, content_type: str, blocks: Iterable[bytes], length: int | None
    ) -> Iterator[bytes]:
        """POST a body block by block; the lines of the answer."""
        headers = {"Content-Type": content_type, "Accept": "application/x-ndjson, application/problem+json"}
        if length is not None:
            headers["Content-Length"] = str(length)
        response = self._send("POST", path, query, blocks, headers)
        if response.status >= 400:
            raise self._refusal(response)
        while line := self._guarded(response.readline, sent=True):
            yield line

    def live(self, path: str, query: Query, accept: str, seconds: float | None) -> Iterator[bytes]:
        """The body of a GET that has no end, piece by piece as it comes; for so many seconds."""
        response = self._send("GET", path, query, None, {"Accept": accept})
        if response.status >= 400:
            raise self._refusal(response)
        connection, over = self._connection, threading.Event()
        assert connection is not None and connection.sock is not None
        # Silence is no fault here.
        connection.sock.settimeout(None)

        def end(sock: socket.socket) -> None:
            over.set()
            sock.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(seconds, end, [connection.sock]) if seconds is not None else None
        if timer:
            timer.daemon = True
            timer.start()
        try:
            while piece := response.read1(BLOCK_BYTES):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            if not over.is_set():
                raise self._unreachable(error, sent=True) from None
        finally:
            if timer:
                timer.cancel()
            self.close()

    def stream(self, path: str, query: Query, accept: str) -> Iterator[bytes]:
        """The body of a GET, block by block."""
        response = self._send("GET", path, query, None, {"Accept": accept})
        if response.status >= 400:
            raise self._refusal(response)
        while block := self._guarded(lambda: response.read(BLOCK_BYTES), sent=True):
            yield block
        if response.length:
            # http.client tells of a body that ends before its Content-Length only when it is read in one go.
            raise Failure(UNREACHABLE, f"{self.target} closed the connection in the middle of its answer", "try again")

    def lines(self, path: str, query: Query, accept: str) -> Iterator[str]:
        """The lines of an answer that need not end (server-sent events), as they come. The connection is closed
        afterwards."""
        response = self._send("GET", path, query, None, {"Accept": accept})
        if response.status >= 400:
            raise self._refusal(response)
        try:
            while line := self._guarded(response.readline, sent=True):
                yield line.decode("utf-8", "replace").rstrip("\r\n")
        finally:
            self.close()

    def cut(self) -> None:
        """End what another thread waits for; it gets a Failure, or the end of its lines."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _session(self) -> dict[str, str]:
        """The ssh session that this runs in, if it ends on the daemon's host: no change should cut it off."""
        told = os.environ.get("SSH_CONNECTION", "") if self.target.path is not None else ""
        return {"X-SSH-Connection": told} if len(told.split()) == 4 and told.isprintable() else {}

    def _request(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: bytes | Iterable[bytes] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        response = self._send(method, path, query, body, headers or {})
        if response.status >= 400:
            raise self._refusal(response)
        text = self._guarded(response.read, sent=True)
        if not text:
            return Answer(response.status, response.headers, None)
        try:
            return Answer(response.status, response.headers, json.loads(text))
        except ValueError:
            raise Failure(FAILED, f"{self.target} answered something that is not JSON; is it xdpfw?") from None

    def _send(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: bytes | Iterable[bytes] | None,
        headers: dict[str, str],
    ) -> http.client.HTTPResponse:
        if self._connection is not None and _is_over(self._connection.sock):
            self.close()
        if self._connection is None:
            self._connection = self.target.connection(self.timeout)
        connection = self._connection
        if self.target.token:
            headers["Authorization"] = f"Bearer {self.target.token}"
        headers.setdefault("Accept", "application/json, application/problem+json")
        address = self.target.full_path(BASE + path) + _query_text(query)
        if connection.sock is None:
            self._guarded(connection.connect, sent=False)
            self._socket = connection.sock
        try:
            connection.request(method, address, body=body, headers=headers)
        except (BrokenPipeError, ConnectionResetError):
            # A daemon that refuses a body early closes after its answer, which is still there to be read.
            pass
        except TimeoutError as error:
            raise self._unreachable(error, sent=True) from None
        response: http.client.HTTPResponse = self._guarded(connection.getresponse, sent=True)
        return response

    def _guarded(self, step: Callable[[], Any], *, sent: bool) -> Any:
        try:
            return step()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error, sent=sent) from None

    def _unreachable(self, error: Exception, *, sent: bool) -> Failure:
        self.close()
        if isinstance(error, PermissionError):
            return Failure(
                NOT_ALLOWED,
                f"the daemon's socket {self.target} is not open to this user",
                "be root, or a member of the group xdpfw (log in again after joining)",
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "SSL_CERT_FILE=FILE names the authority that signed the daemon's certificate"
            return Failure(NOT_ALLOWED, f"{self.target}: {error.verify_message or error}", hint)
        if isinstance(error, TimeoutError):
            return Failure(
                UNREACHABLE,
                f"{self.target} did not answer within {self.timeout:g} s",
                "a change may or may not have been made; repeating it is safe. --timeout waits longer",
            )
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if sent:
            return Failure(
                UNREACHABLE,
                f"{self.target} closed the connection before it had answered ({reason})",
                "a change may or may not have been made; repeating it is safe",
            )
        hint = "is it running? systemctl status xdpfw, or start it: xdpfw serve"
        return Failure(UNREACHABLE, f"no daemon answers at {self.target} ({reason})", hint)

    def _refusal(self, response: http.client.HTTPResponse) -> Refused:
        text = self._guarded(response.read, sent=True)
        try:
            problem = json.loads(text)
        except ValueError:
            problem = None
        if not isinstance(problem, dict):
            detail = f"{self.target} answered {response.status} {response.reason} and nothing that xdpfw says"
            return Refused(response.status, detail, [])
        faults = [(str(f.get("pointer", "")), str(f.get("detail", ""))) for f in problem.get("errors") or []]
        detail = str(problem.get("detail") or problem.get("title") or response.reason)
        guarded = str(problem.get("type")).endswith(":guarded")
        return Refused(response.status, detail, faults, *self._notes(response), guarded=guarded)

    def _notes(self, response: http.client.HTTPResponse) -> list[str]:
        if response.status == 401:
            return ["put a token into XDPFW_TOKEN (xdpfw token create, on the daemon's host), or use its socket"]
        wait = response.headers.get("Retry-After")
        return [f"try again in {wait} s"] if wait else []


def _is_over(sock: socket.socket | None) -> bool:
    """Between two requests nothing comes but the end: the daemon closes what nobody used for a while."""
    if sock is None:
        return False
    silence = select.poll()
    silence.register(sock, select.POLLIN)
    return bool(silence.poll(0))


def _query_text(query: Query | None) -> str:
    pairs = [(name, str(value).lower() if isinstance(value, bool) else str(value))
             for name, value in (query or {}).items() if value is not None and value is not False]  # fmt: skip
    return f"?{urlencode(pairs)}" if pairs else ""
