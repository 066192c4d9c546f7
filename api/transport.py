# SPDX-License-Identifier: Apache-2.0
"""Sockets to listen on, and the HTTP server on them.

The unix socket is bound here because `uvicorn --uds` leaves it writable for everybody. A peer's credentials are
taken from the socket when it connects (SO_PEERCRED, SO_PEERGROUPS: unix(7), socket(7)), so they are the kernel's
word and not the client's.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import pwd
import socket
import stat
import struct
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from xdpfw.model.errors import Conflict, InvalidInput, Unavailable
from xdpfw.settings import parse_listen

GROUP = "xdpfw"
PEER = "peer"
"""Key of the peer's credentials in the ASGI scope's state; absent on TCP."""

MAX_HEAD = 64 << 10
MAX_UNIX_PATH = 107
SO_PEERGROUPS = 59  # asm-generic/socket.h; Python's socket module does not name it
UCRED = struct.Struct("iII")  # struct ucred: pid, uid, gid


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a unix socket: `groups` are the supplementary ones."""

    uid: int
    gid: int
    groups: frozenset[int]


class PeerProtocol(HttpToolsProtocol):
    """HTTP/1.1 that tells the application who is at the other end of a unix socket, and that bounds what a client may
    send before anybody has asked who it is."""

    head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family == socket.AF_UNIX:
            self.app_state = {**self.app_state, PEER: credentials(sock)}
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        self.head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(name, value)
        super().on_header(name, value)

    def _count(self, *parts: bytes) -> None:
        """The parser turns the error into a 400."""
        self.head_bytes += sum(map(len, parts))
        if self.head_bytes > MAX_HEAD:
            raise ValueError(f"more than {MAX_HEAD} bytes of URL and headers")


class Server(uvicorn.Server):
    """Signals are the daemon's business: it stops the server by `should_exit`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def server(app: Any) -> Server:
    """`await server(app).serve(sockets=[…])`. No access log (the application writes its own), and no trust in
    X-Forwarded-For, which would let a client choose its address."""
    config = uvicorn.Config(
        app,
        http=PeerProtocol,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
    )
    return Server(config)


def credentials(sock: socket.socket) -> Peer:
    _pid, uid, gid = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    return Peer(uid, gid, _groups(sock, uid, gid))


def _groups(sock: socket.socket, uid: int, gid: int) -> frozenset[int]:
    try:
        packed = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 1024)
    except OSError:  # more than 256 groups: ask the account database
        try:
            return frozenset(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
        except KeyError:
            return frozenset()
    return frozenset(struct.unpack(f"{len(packed) // 4}I", packed))


def group_id() -> int | None:
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def unix_socket(path: Path) -> socket.socket:
    """A listening socket that root and the group `xdpfw` may connect to.

    Raises:
        Conflict: somebody listens there already, or the path is not a socket.
        InvalidInput: the path is too long for a unix socket.
        Unavailable: the directory cannot be written.
    """
    if len(os.fsencode(path)) > MAX_UNIX_PATH:
        raise InvalidInput(
            f"{path}: the path of a unix socket has at most {MAX_UNIX_PATH} bytes; choose a shorter --socket"
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _remove_stale(path)
        os.fchmod(sock.fileno(), 0o600)  # the file is made with this mode: never open to others, not for a moment
        sock.bind(os.fspath(path))
        group = group_id()
        if group is not None:
            os.chown(path, -1, group)
        path.chmod(0o660)
        sock.listen(1024)
    except OSError as error:
        sock.close()
        raise Unavailable(f"cannot listen on {path}: {error.strerror}; choose another --socket") from error
    except Conflict:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> None:
    """A socket that nobody listens on any more is left by a daemon that was killed."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"{path} is there and is not a socket; remove it or choose another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        if probe.connect_ex(os.fspath(path)) == 0:
            raise Conflict(f"another daemon listens on {path}; stop it or choose another --socket")
    path.unlink(missing_ok=True)


def tcp_socket(listen: str) -> socket.socket:
    """A listening socket on `ADDRESS:PORT` of the loopback, such as `127.0.0.1:8484` or `[::1]:8484`.

    Raises:
        InvalidInput: not an address and port, or not a loopback address.
        Conflict: the port is taken.
    """
    host, _, port = (parse_listen(listen) or "").rpartition(":")
    host = {"localhost": "127.0.0.1"}.get(host, host.strip("[]"))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
        sock.listen(1024)
    except OSError as error:
        sock.close()
        raise Conflict(f"cannot listen on {listen}: {error.strerror}; choose another --listen") from error
    return sock
