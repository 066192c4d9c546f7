# SPDX-License-Identifier: Apache-2.0
"""Frames nobody thought of: built at random from the packet builder, with lies in their lengths, and mutations."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from tests import packets as p

SHORTEST = 14
"""The least that BPF_PROG_TEST_RUN takes."""

_SEGMENTS: tuple[Callable[[random.Random], p.Segment], ...] = (
    lambda r: p.tcp(r.randrange(65536), r.randrange(65536), r.randbytes(r.randrange(40))),
    lambda r: p.udp(r.randrange(65536), r.randrange(65536), r.randbytes(r.randrange(40))),
    lambda r: p.sctp(r.randrange(65536), r.randrange(65536), r.randbytes(r.randrange(20))),
    lambda r: p.icmp(r.randrange(256), r.randrange(256), r.randbytes(r.randrange(20))),
    lambda r: p.icmpv6(r.randrange(256), r.randrange(256), r.randbytes(r.randrange(20))),
    lambda r: p.ndp(r.randrange(132, 139)),
    lambda r: p.raw(r.randrange(256), r.randbytes(r.randrange(60))),
    lambda r: p.raw(r.choice(list(p.EXTENSIONS)), r.randbytes(r.randrange(30))),
)

_EXTENSIONS: tuple[Callable[[random.Random], p.Extension], ...] = (
    lambda r: p.options_header(r.choice((0, 60, 135, 139, 140)), 8 * r.randint(1, 4)),
    lambda r: p.routing(8 * r.randint(1, 5)),
    lambda r: p.authentication(4 * r.randint(2, 9)),
    lambda r: p.fragment(r.choice((0, 0, 0, 8, 1480, 65528)), more=r.random() < 0.5),
    lambda r: p.options_header(r.choice((0, 60)), 8 * r.randint(1, 256)),
)


def frames(seed: int, count: int, sources4: Sequence[str], sources6: Sequence[str]) -> Iterator[bytes]:
    """Half are built, half are mutations of what was built. The same seed gives the same frames."""
    r = random.Random(seed)
    for _ in range(count):
        frame = _built(r, sources4, sources6)
        if r.random() < 0.5:
            frame = mutated(r, frame)
        if len(frame) >= SHORTEST:
            yield frame


def mutated(r: random.Random, frame: bytes) -> bytes:
    """One to four small damages, most of them among the headers."""
    for _ in range(r.randint(1, 4)):
        frame = r.choice(_DAMAGES)(r, bytearray(frame))
    return frame


def _built(r: random.Random, sources4: Sequence[str], sources6: Sequence[str]) -> bytes:
    segment = r.choice(_SEGMENTS)(r)
    if r.random() < 0.3:
        segment = p.cut(segment, r.randrange(len(segment.data) + 1))
    roll = r.random()
    if roll < 0.04:
        packet = p.other(r.randrange(65536), r.randbytes(r.randrange(60)))
    elif roll < 0.06:
        packet = p.arp()
    else:
        packet = _ipv4(r, r.choice(sources4), segment) if roll < 0.5 else _ipv6(r, r.choice(sources6), segment)
    depth = r.choices(range(7), (60, 10, 10, 5, 5, 5, 5))[0]
    tags = [p.tag(r.randrange(65536), r.choice(p.TPIDS)) for _ in range(depth)]
    frame = p.ethernet(packet, *tags, pad_to=r.choice((0, 0, 60, 128)), padding=r.randbytes(1))
    return frame[: r.randrange(len(frame) + 1)] if r.random() < 0.1 else frame


def _ipv4(r: random.Random, source: str, segment: p.Segment) -> p.Packet:
    options = r.randbytes(4 * r.choice((0, 0, 0, 1, 3, 10)))
    truth = 20 + len(options) + len(segment.data)
    return p.ipv4(
        source,
        segment,
        options=options,
        offset=r.choice((0, 0, 0, 8, 1480, 65528)),
        more=r.random() < 0.2,
        ttl=r.choice((64, 255)),
        version=r.randrange(16) if r.random() < 0.03 else 4,
        ihl=r.randrange(16) if r.random() < 0.1 else None,
        total_length=_lie(r, truth),
    )


def _ipv6(r: random.Random, source: str, segment: p.Segment) -> p.Packet:
    count = r.choices(range(11), (30, 20, 15, 8, 5, 4, 4, 4, 4, 3, 3))[0]
    # The last kind may take 2,048 bytes: let few of them in.
    extensions = [r.choices(_EXTENSIONS, (6, 4, 4, 3, 1))[0](r) for _ in range(count)]
    truth = len(segment.data) + sum(len(extension.data) for extension in extensions)
    return p.ipv6(
        source,
        segment,
        *extensions,
        hop_limit=r.choice((64, 254, 255, 255)),
        version=r.randrange(16) if r.random() < 0.03 else 6,
        payload_length=_lie(r, truth),
    )


def _lie(r: random.Random, truth: int) -> int | None:
    """A length near the truth, anything, nothing, or (mostly) None: no lie."""
    near = max(0, truth + r.randint(-12, 3))
    return r.choices((None, near, r.randrange(65536), 0), (80, 14, 3, 3))[0]


def _set_byte(r: random.Random, frame: bytearray) -> bytes:
    if frame:
        frame[_place(r, frame)] = r.randrange(256)
    return bytes(frame)


def _flip_bit(r: random.Random, frame: bytearray) -> bytes:
    if frame:
        frame[_place(r, frame)] ^= 1 << r.randrange(8)
    return bytes(frame)


def _delete(r: random.Random, frame: bytearray) -> bytes:
    start = r.randrange(len(frame) + 1)
    return bytes(frame[:start] + frame[start + r.randint(1, 20) :])


def _insert(r: random.Random, frame: bytearray) -> bytes:
    start = r.randrange(len(frame) + 1)
    return bytes(frame[:start] + r.randbytes(r.randint(1, 20)) + frame[start:])


def _repeat(r: random.Random, frame: bytearray) -> bytes:
    start = r.randrange(len(frame) + 1)
    end = start + r.randint(1, 40)
    return bytes(frame[:end] + frame[start:])


def _cut_off(r: random.Random, frame: bytearray) -> bytes:
    return bytes(frame[: r.randrange(len(frame) + 1)])


_DAMAGES = (_set_byte, _set_byte, _flip_bit, _flip_bit, _delete, _insert, _repeat, _cut_off)


def _place(r: random.Random, frame: bytearray) -> int:
    """Two in three behind the MAC addresses and within the headers."""
    if len(frame) > 12 and r.random() < 0.67:
        return r.randrange(12, min(len(frame), 90))
    return r.randrange(len(frame))
