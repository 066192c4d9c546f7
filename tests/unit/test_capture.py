# SPDX-License-Identifier: Apache-2.0
"""Captures read piece by piece, against dpkt, which reads files; and what is no capture, or half of one."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import dpkt
import pytest

from xdpfw.frames.capture import CaptureReader, Record
from xdpfw.model.errors import Unreadable


def read(data: bytes, size: int = 1000) -> list[Record]:
    reader = CaptureReader()
    found = [record for at in range(0, len(data), size) for record in reader.feed(data[at : at + size])]
    reader.finish()
    return found


def pcap(*packets: bytes, magic: int = 0xA1B2C3D4, order: str = "<", length: int | None = None) -> bytes:
    records = (struct.pack(order + "4I", 1, 2, len(p), length or len(p)) + p for p in packets)
    return struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, 1) + b"".join(records)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_pcap_in_any_byte_order_and_pieces(order: str, magic: int, size: int) -> None:
    packets = [b"one packet", b"", b"another one"]
    assert [record.data for record in read(pcap(*packets, magic=magic, order=order), size)] == packets


def test_a_packet_that_was_cut_short_keeps_its_length() -> None:
    assert read(pcap(b"abc", length=1500))[0] == Record(b"abc", 1500, 1)


@pytest.mark.corpora
def test_real_captures(corpora: Path) -> None:
    for path in sorted((corpora / "pcap").iterdir()):
        data = path.read_bytes()
        reader = dpkt.pcapng.Reader if data[:4] == b"\x0a\x0d\x0d\x0a" else dpkt.pcap.Reader
        assert [record.data for record in read(data, 65_536)] == [frame for _, frame in reader(io.BytesIO(data))], path


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n plus more bytes", bytes(100), b"\xd4\xc3\xb2\xa1"])
def test_what_is_no_capture(data: bytes) -> None:
    with pytest.raises(Unreadable, match="no capture"):
        read(data)


@pytest.mark.parametrize("missing", [1, 5, 13])
def test_half_a_capture_says_where_it_ends(missing: int) -> None:
    whole = pcap(bytes(60), bytes(12))
    with pytest.raises(Unreadable, match=r"cut off: after 1 packets.*at byte 100"):
        read(whole[:-missing])


def test_sizes_that_cannot_be_are_damage() -> None:
    with pytest.raises(Unreadable, match="damaged"):
        read(pcap(b"a") + struct.pack("<4I", 0, 0, 1 << 30, 1))


def block(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)


SECTION = block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))
INTERFACE = block(1, struct.pack("<HHI", 1, 0, 65535))


def test_pcapng_blocks() -> None:
    unknown = block(0x0BAD, bytes(8))
    enhanced = block(6, struct.pack("<5I", 1, 0, 0, 3, 9) + b"abc\0")
    simple = block(3, struct.pack("<I", 4) + b"wxyz")
    raw_ip = block(1, struct.pack("<HHI", 101, 0, 0))
    found = read(SECTION + unknown + INTERFACE + raw_ip + enhanced + simple, 5)
    assert found == [Record(b"abc", 9, 101), Record(b"wxyz", 4, 1)]


@pytest.mark.parametrize("damaged", [
    block(6, struct.pack("<5I", 0, 0, 0, 3, 3) + b"abc\0"),  # of an interface that was not described
    INTERFACE + block(6, struct.pack("<5I", 0, 0, 0, 99, 99) + b"abc\0"),
    INTERFACE + block(6, b"\0\0\0\0"),
    struct.pack("<II", 6, 3) + bytes(20),
])  # fmt: skip
def test_damaged_pcapng(damaged: bytes) -> None:
    with pytest.raises(Unreadable, match="damaged"):
        read(SECTION + damaged)
