# SPDX-License-Identifier: Apache-2.0
"""Sockets to listen on, and who is at their other end.

The unix socket is bound here because `uvicorn --uds` leaves it writable for everybody. A peer's credentials are
taken from the socket when it connects (SO_PEERCRED, SO_PEERGROUPS: unix(7), socket(7)), so they are the kernel's
word and not the client's.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import ipaddress
import logging
import os
import pwd
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from xdpfw.model.errors import Conflict, InvalidInput, Unavailable
from xdpfw.settings import parse_listen

GROUP = "xdpfw"
PEER = "peer"
"""Key of the peer's credentials in the ASGI scope's state; absent on TCP."""

MAX_UNIX_PATH = 107
# Python's socket module does not name these: asm-generic/socket.h, linux/in.h.
SO_PEERGROUPS = 59
IP_FREEBIND = 15
UCRED = struct.Struct("iII")  # struct ucred: pid, uid, gid


log = logging.getLogger("xdpfw.api")


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a unix socket: `groups` are the supplementary ones; `pid` may have ended since."""

    uid: int
    gid: int
    groups: frozenset[int]
    pid: int | None = None


def credentials(sock: socket.socket) -> Peer:
    pid, uid, gid = UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    return Peer(uid, gid, _groups(sock, uid, gid), pid or None)


def source_of(address: str) -> str:
    """Whom a TCP client is counted as: an IPv4 address, or an IPv6 /64, which is what one customer has."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address


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
            with contextlib.suppress(PermissionError):  # not a member: then it is for our own group
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
    """A listening socket on `ADDRESS:PORT`, such as `127.0.0.1:8484` or `[::1]:8484`. Whether other machines may reach
    it was decided with the settings. The address need not be there yet: filters, and so this, start before the network.

    Raises:
        InvalidInput: not an address and port.
        Conflict: the port is taken.
    """
    host, _, port = (parse_listen(listen) or "").rpartition(":")
    host = {"localhost": "127.0.0.1"}.get(host, host.strip("[]"))
    family, kind, _, _, address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            log.warning("no interface has the address %s now; clients are served once one has", host)
            sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            sock.bind(address)
        sock.listen(1024)
    except OSError as error:
        sock.close()
        raise Conflict(f"cannot listen on {listen}: {error.strerror}; choose another --listen") from error
    return sock
