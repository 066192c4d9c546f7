# SPDX-License-Identifier: Apache-2.0
"""A wire of our own: a veth pair in an unnamed network namespace, on which nothing moves but what a test sends.

The namespace has no name: it goes away with the thread that entered it, links and all, however that thread ends.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_ETH_P_ALL = 0x0003
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def private_namespace() -> Iterator[None]:
    """The calling thread, and what it starts, lives in a new network namespace; the sysctls there forbid autoconf."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _check(_libc.unshare(_CLONE_NEWNET))
        try:
            Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1")
            yield
        finally:
            _check(_libc.setns(before, _CLONE_NEWNET))
    finally:
        os.close(before)


def make_pair(sender: str, receiver: str, mtu: int) -> None:
    """Both ends up, in this namespace. Tags and checksums stay in the frame instead of travelling beside it."""
    _run(
        "ip", "link", "add", "name", sender, "mtu", str(mtu), "type", "veth", "peer", "name", receiver, "mtu", str(mtu)
    )
    for name in (sender, receiver):
        _run("ethtool", "-K", name, "rxvlan", "off", "txvlan", "off", "tx", "off")
        _run("ip", "link", "set", "dev", name, "up")


class Sender:
    """Puts frames on an interface as they are."""

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((interface, 0))

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, frames: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Which went out, and which the interface refuses: over the MTU, or no Ethernet header."""
        sent: list[bytes] = []
        refused: list[bytes] = []
        for frame in frames:
            (sent if self._send_one(frame) else refused).append(frame)
        return sent, refused

    def _send_one(self, frame: bytes) -> bool:
        deadline = time.monotonic() + 5
        while True:
            try:
                self._socket.send(frame)
            except OSError as error:
                if error.errno in (errno.EMSGSIZE, errno.EINVAL):
                    return False
                # The receiver's ring is full: nothing was sent, and it will be emptied.
                if error.errno != errno.ENOBUFS or time.monotonic() > deadline:
                    raise
            else:
                return True


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
