# SPDX-License-Identifier: Apache-2.0
"""Captures of many small packets, from as many sources."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from xdpfw.frames.build import Description, build
from xdpfw.frames.pcapng import CaptureWriter
from xdpfw.model.prefix import parse_address
from xdpfw.model.rule import UDP

SOURCE = slice(26, 30)
"""Of an IPv4 packet's frame."""


def frames(count: int) -> Iterator[bytes]:
    """Their checksums hold for the first alone; nobody looks at them."""
    source, destination = parse_address("198.18.0.0"), parse_address("192.0.2.1")
    frame = bytearray(build(Description(source, destination, UDP, source_port=4000, destination_port=53, length=60)))
    for number in range(count):
        frame[SOURCE] = (0xC6120000 + number).to_bytes(4)
        yield bytes(frame)


def pcap(path: Path, count: int) -> None:
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for frame in frames(count):
            file.write(struct.pack("<4I", 0, 0, len(frame), len(frame)) + frame)


def pcapng(path: Path, count: int) -> None:
    writer = CaptureWriter("xdpfw", 65535)
    with path.open("wb") as file:
        file.write(writer.begin())
        for number, frame in enumerate(frames(count)):
            file.write(writer.packet("lan1", number, frame, len(frame), drop=False, queue=0, comment=""))
