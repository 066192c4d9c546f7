# SPDX-License-Identifier: Apache-2.0
"""A capture to be written (draft-ietf-opsawg-pcapng): packets with their verdict, queue and a comment."""

from __future__ import annotations

import struct
from collections.abc import Mapping

MEDIA_TYPE = "application/x-pcapng"
XDP_DROP, XDP_PASS = 1, 2

_SECTION, _INTERFACE, _ENHANCED = 0x0A0D0D0A, 1, 6
_BYTE_ORDER = 0x1A2B3C4D
_ETHERNET = 1
_COMMENT, _APPLICATION, _NAME, _RESOLUTION, _QUEUE, _VERDICT = 1, 4, 2, 9, 6, 7
_NANOSECONDS = b"\x09"
_BY_XDP = b"\x02"
"""Type octet of a verdict: Linux eBPF XDP, followed by the return code in eight octets."""


class CaptureWriter:
    """Blocks one after the other; an interface is described before its first packet."""

    def __init__(self, application: str, snap: int) -> None:
        self._application, self._snap = application, snap
        self._interfaces: dict[str, int] = {}

    def begin(self) -> bytes:
        options = _options({_APPLICATION: self._application.encode()})
        return _block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1) + options)

    def packet(
        self, interface: str, time: int, frame: bytes, length: int, *, drop: bool, queue: int, comment: str
    ) -> bytes:
        """`time`: ns since 1970; `length`: of the whole frame, of which `frame` is the beginning."""
        number = self._interfaces.get(interface)
        blocks = b""
        if number is None:
            number = self._interfaces[interface] = len(self._interfaces)
            blocks = self._described(interface)
        verdict = _BY_XDP + struct.pack("<Q", XDP_DROP if drop else XDP_PASS)
        options = _options({_COMMENT: comment.encode(), _QUEUE: struct.pack("<I", queue), _VERDICT: verdict})
        head = struct.pack("<5I", number, time >> 32, time & 0xFFFFFFFF, len(frame), length)
        return blocks + _block(_ENHANCED, head + _padded(frame) + options)

    def _described(self, interface: str) -> bytes:
        options = _options({_NAME: interface.encode(), _RESOLUTION: _NANOSECONDS})
        return _block(_INTERFACE, struct.pack("<HHI", _ETHERNET, 0, self._snap) + options)


def _padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)


def _options(values: Mapping[int, bytes]) -> bytes:
    return b"".join(struct.pack("<HH", code, len(v)) + _padded(v) for code, v in values.items()) + bytes(4)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size
