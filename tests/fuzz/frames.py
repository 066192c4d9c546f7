# SPDX-License-Identifier: Apache-2.0
"""Frames without end, in batches: what a batch holds depends on the seed and its number alone."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tests import packets as p
from tests import random_frames, random_rules, samples

SHORTEST, LONGEST = 14, 9000
BATCH = 2_000
COPIES = 100
"""Mutants of one frame."""
HEADERS = 120
"""Bytes that mutations look for."""

_SOURCES = samples.all_sources()
_TYPES = (p.ETH_IPV4, p.ETH_IPV6, p.ETH_IPV4, p.ETH_IPV6, p.ETH_ARP, p.VLAN, p.QINQ, p.QINQ_OLD, 0x0600, 0xFFFF)


def batch(seed: int, number: int, captured: Sequence[bytes]) -> list[bytes]:
    """At most BATCH frames. `captured`: frames to begin from; there may be none."""
    kind = KINDS[number % len(KINDS)]
    r = random.Random(seed << 40 | number)
    return [frame for frame in kind(r, number // len(KINDS), captured) if SHORTEST <= len(frame) <= LONGEST]


def truncations(frame: bytes) -> list[bytes]:
    """Every beginning of a frame that the kernel can run, the whole last."""
    return [frame[:length] for length in range(SHORTEST, min(len(frame), LONGEST) + 1)]


def _built(r: random.Random, _: int, __: Sequence[bytes]) -> Iterator[bytes]:
    return random_frames.frames(r.getrandbits(64), BATCH, *_SOURCES)


def _ruled(r: random.Random, _: int, __: Sequence[bytes]) -> Iterator[bytes]:
    """Such as the rules are about."""
    return (frame for frame, _ in random_rules.frames(r.getrandbits(64), BATCH))


def _lengths(r: random.Random, turn: int, _: Sequence[bytes]) -> Iterator[bytes]:
    """One length after the other, from batch to batch: headers that are sound, or lie, or go on to the end."""
    rest = r.randbytes(LONGEST)
    for at in range(turn * BATCH, turn * BATCH + BATCH):
        length = SHORTEST + at % (LONGEST - SHORTEST + 1)
        yield (_chain(r, length) + rest[r.randrange(100) :]).ljust(length, b"\0")[:length]


def _chains(r: random.Random, _: int, __: Sequence[bytes]) -> Iterator[bytes]:
    for _ in range(BATCH):
        frame = _chain(r, 0)
        yield frame[: r.randint(SHORTEST, len(frame))] if r.random() < 0.2 else frame


def _chain(r: random.Random, length: int) -> bytes:
    """Tags and extension headers, as many as fit the bounds and some more; `length` of the frame to be, or 0."""
    tags = b"".join(r.choice(p.TPIDS).to_bytes(2) + r.randbytes(2) for _ in range(r.choice((0, 0, 1, 2, 3, 4, 5, 8))))
    numbers = [r.choice(tuple(p.EXTENSIONS)) for _ in range(r.choice((0, 0, 1, 2, 4, 7, 8, 9, 12)))]
    last = r.choice((p.TCP, p.UDP, p.SCTP, p.ICMP, p.ICMPV6, p.NO_NEXT, r.randrange(256)))
    extensions = b"".join(
        _extension(r, number, following) for number, following in zip(numbers, [*numbers[1:], last], strict=False)
    )
    payload = extensions + r.randbytes(r.choice((0, 4, 8, 12, 19, 20, 40)))
    room = length - SHORTEST - len(tags) - 40 if length else len(payload)
    says = min(max(0, r.choice((room, room, room, len(payload), room + 1, room - 8, 0, r.randrange(65536)))), 65535)
    if r.random() < 0.3:
        ip4 = bytes((0x40 | r.choice((5, 5, 6, 15)), 0)) + min(says + 40, 65535).to_bytes(2) + r.randbytes(2)
        ip4 += r.choice((0, 0, 0x4000, 0x2000, 0x0001, 0x20B9)).to_bytes(2) + bytes((64, last, 0, 0))
        return p.MAC_B + p.MAC_A + tags + b"\x08\x00" + ip4 + _address(r, 4) + _address(r, 4) + payload
    ip6 = b"\x60\0\0\0" + says.to_bytes(2) + bytes(((numbers or [last])[0], r.choice((1, 64, 255, 255))))
    return p.MAC_B + p.MAC_A + tags + b"\x86\xdd" + ip6 + _address(r, 6) + _address(r, 6) + payload


def _extension(r: random.Random, number: int, following: int) -> bytes:
    if number == p.FRAGMENT:
        return bytes((following, 0)) + r.choice((0, 0, 1, 8, 9, 0xFFF8)).to_bytes(2) + r.randbytes(4)
    units = r.choice((0, 0, 0, 1, 2, 3, 8, 255) if r.random() < 0.1 else (0, 0, 1, 2))
    size = (units + 2) * 4 if number == p.AUTHENTICATION else (units + 1) * 8
    return bytes((following, units)) + r.randbytes(size - 2)


def _address(r: random.Random, family: int) -> bytes:
    return r.choice(_PACKED[family]) if r.random() < 0.8 else r.randbytes(4 if family == 4 else 16)


_PACKED = {
    4: [ipaddress.ip_address(each).packed for each in _SOURCES[0]],
    6: [ipaddress.ip_address(each).packed for each in _SOURCES[1]],
}


def _headers(r: random.Random, _: int, __: Sequence[bytes]) -> Iterator[bytes]:
    """An EtherType and the version that goes with it; all the rest by chance."""
    for _ in range(BATCH):
        kind, noise = r.choice(_TYPES), bytearray(r.randbytes(r.randint(2, 160)))
        if kind in (p.ETH_IPV4, p.ETH_IPV6):
            noise[0] = noise[0] & 0x0F | (0x40 if kind == p.ETH_IPV4 else 0x60)
            noise[4 if kind == p.ETH_IPV6 else 2 : 5 if kind == p.ETH_IPV6 else 3] = b"\0"
        yield r.randbytes(12) + kind.to_bytes(2) + bytes(noise)


def _noise(r: random.Random, _: int, __: Sequence[bytes]) -> Iterator[bytes]:
    return (r.randbytes(r.randint(SHORTEST, 200)) for _ in range(BATCH))


def _mutants(r: random.Random, _: int, captured: Sequence[bytes]) -> Iterator[bytes]:
    """One to three bytes of a frame's headers changed."""
    chance = np.random.default_rng(r.getrandbits(64))
    for base in _bases(r, captured):
        copies = np.tile(np.frombuffer(base, np.uint8), (COPIES, 1))
        rows, places = np.arange(COPIES), chance.integers(0, min(len(base), HEADERS), (3, COPIES))
        for place, share in zip(places, (1.0, 0.5, 0.25), strict=True):
            hit = chance.random(COPIES) < share
            copies[rows[hit], place[hit]] = chance.integers(0, 256, COPIES, np.uint8)[hit]
        yield from map(bytes, copies)


def _damaged(r: random.Random, _: int, captured: Sequence[bytes]) -> Iterator[bytes]:
    """Bytes set, flipped, taken out, put in, repeated, cut off."""
    for base in _bases(r, captured):
        for _ in range(COPIES):
            yield random_frames.mutated(r, base)


def _bases(r: random.Random, captured: Sequence[bytes]) -> list[bytes]:
    count = BATCH // COPIES
    if captured and r.random() < 0.5:
        return r.choices(captured, k=count)
    return list(random_frames.frames(r.getrandbits(64), count, *_SOURCES))


KINDS: tuple[Callable[[random.Random, int, Sequence[bytes]], Iterator[bytes]], ...] = (
    _built,
    _ruled,
    _lengths,
    _chains,
    _headers,
    _mutants,
    _damaged,
    _mutants,
    _chains,
    _noise,
)
