# SPDX-License-Identifier: Apache-2.0
"""Captures as they arrive, piece by piece: pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng).

::

    pcap:    magic, version, zone, accuracy, snap length, link type; then records: seconds, fraction, captured, original
    pcapng:  blocks: type, length, body, length again. Section header 0x0a0d0d0a, interface description 1,
             enhanced packet 6, simple packet 3; all others are passed over

Bounded memory whatever the size, which libraries that read files do not offer.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from xdpfw.model.errors import Unreadable

ETHERNET = 1
LONGEST_RECORD = 1 << 24
"""Bytes of one record or block: more is damage, not a packet."""

_PCAP_MAGIC = {b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\xa1\xb2\x3c\x4d": ">"}
_SECTION = b"\x0a\x0d\x0d\x0a"
_BYTE_ORDER = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_INTERFACE, _SIMPLE, _ENHANCED = 1, 3, 6


@dataclass(frozen=True, slots=True)
class Record:
    """One packet: what was captured of it, how long it was, and its link type."""

    data: bytes
    length: int
    link: int


class CaptureReader:
    """`feed` pieces of a capture and take the packets that are whole; then `finish`."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._read = 0
        self._kind = ""
        self._order = "<"
        self._links: list[int] = []
        self.packets = 0

    def feed(self, piece: bytes) -> Iterator[Record]:
        """Raises Unreadable: no capture, or damage, with the place."""
        self._rest += piece
        if not self._kind and not self._begin():
            return
        at = 0
        step = self._pcap_record if self._kind == "pcap" else self._block
        while (done := step(at)) is not None:
            length, record = done
            at += length
            if record is not None:
                self.packets += 1
                yield record
        del self._rest[:at]
        self._read += at

    def finish(self) -> None:
        """Raises Unreadable unless the capture ended where a packet does."""
        if not self._kind:
            raise Unreadable("the body is no capture: it ends before its header does")
        if self._rest:
            raise Unreadable(
                f"the capture is cut off: after {self.packets:,} packets, {len(self._rest)} bytes of another are left"
                f" at byte {self._read:,}"
            )

    def _begin(self) -> bool:
        """Answers whether the header is there."""
        magic = bytes(self._rest[:4])
        if len(self._rest) < 24:
            return False
        if magic in _PCAP_MAGIC:
            self._kind, self._order = "pcap", _PCAP_MAGIC[magic]
            (link,) = struct.unpack_from(self._order + "I", self._rest, 20)
            self._links = [link & 0xFFFF]
            del self._rest[:24]
            self._read = 24
        elif magic == _SECTION:
            self._kind = "pcapng"
        else:
            raise Unreadable("the body is no capture: neither a pcap nor a pcapng header is at its beginning")
        return True

    def _pcap_record(self, at: int) -> tuple[int, Record | None] | None:
        if at + 16 > len(self._rest):
            return None
        captured, length = struct.unpack_from(self._order + "II", self._rest, at + 8)
        self._check(captured, at)
        if at + 16 + captured > len(self._rest):
            return None
        data = bytes(self._rest[at + 16 : at + 16 + captured])
        return 16 + captured, Record(data, max(length, captured), self._links[0])

    def _block(self, at: int) -> tuple[int, Record | None] | None:
        if at + 12 > len(self._rest):
            return None
        if self._rest[at : at + 4] == _SECTION:
            order = _BYTE_ORDER.get(bytes(self._rest[at + 8 : at + 12]))
            if order is None:
                raise self._damaged(at, "a section without byte order")
            self._order, self._links = order, []
        kind, total = struct.unpack_from(self._order + "II", self._rest, at)
        self._check(total, at)
        if total < 12 or total % 4:
            raise self._damaged(at, f"a block of {total} bytes")
        if at + total > len(self._rest):
            return None
        body = bytes(self._rest[at + 8 : at + total - 4])
        try:
            return total, self._packet(kind, body)
        except (struct.error, IndexError):
            raise self._damaged(at, "a block that contradicts itself") from None

    def _packet(self, kind: int, body: bytes) -> Record | None:
        if kind == _INTERFACE:
            self._links.append(struct.unpack_from(self._order + "H", body)[0])
        elif kind == _ENHANCED:
            interface, _, _, captured, length = struct.unpack_from(self._order + "5I", body)
            if captured > len(body) - 20:
                raise IndexError
            return Record(body[20 : 20 + captured], max(length, captured), self._links[interface])
        elif kind == _SIMPLE:
            (length,) = struct.unpack_from(self._order + "I", body)
            return Record(body[4 : 4 + length], length, self._links[0])
        return None

    def _check(self, size: int, at: int) -> None:
        if size > LONGEST_RECORD:
            raise self._damaged(at, f"a record of {size:,} bytes")

    def _damaged(self, at: int, what: str) -> Unreadable:
        return Unreadable(f"the capture is damaged: {what} at byte {self._read + at:,}, after {self.packets:,} packets")
