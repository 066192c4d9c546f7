# SPDX-License-Identifier: Apache-2.0
"""Lists of prefixes as they are met in routing tables and block lists, and sources in and around them. All of it is
made up, from the distribution of lengths in the Internet's routing tables, and the same at each run.

Addresses are (n, 16) octets, IPv4 as ::ffff:a.b.c.d; prefixes are packed keys (xdpfw/policy/keys.py), sorted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from xdpfw.model.prefix import HOST_LENGTH, Family
from xdpfw.policy.ops import Keys

Addresses = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.uint64]

LENGTHS4 = {24: 57, 23: 9.5, 22: 11, 21: 5, 20: 5, 19: 3, 18: 1.6, 17: 1, 16: 1.6, 15: 0.3, 14: 0.2, 13: 0.1, 12: 0.06}
LENGTHS6 = {48: 48, 64: 12, 32: 12, 44: 8, 40: 8, 56: 6, 36: 4, 29: 2}
FIRST4, LAST4 = 1 << 24, 224 << 24
NETWORKS6 = 50_000
"""/32s in which IPv6 prefixes lie."""


def ipv4(numbers: Numbers) -> Addresses:
    rows = np.zeros((len(numbers), 16), np.uint8)
    rows[:, 10:12] = 255
    rows[:, 12:] = numbers.astype(">u4").view(np.uint8).reshape(-1, 4)
    return rows


def ipv6(high: Numbers, low: Numbers) -> Addresses:
    return np.stack((high, low), 1).astype(">u8").view(np.uint8).reshape(-1, 16)


def random_any(random: np.random.Generator, count: int, family: Family) -> Addresses:
    """Spoofed: any address at all."""
    if family == 4:
        return ipv4(random.integers(FIRST4, LAST4, count, dtype=np.uint64))
    return ipv6(
        random.integers(0x2 << 60, 0x4 << 60, count, dtype=np.uint64), random.integers(0, 2**64, count, np.uint64)
    )


@dataclass(frozen=True)
class Listing:
    """Distinct prefixes; `address`: their first 32 or 64 bits, `length` at most that, or 128 for IPv6 hosts."""

    family: Family
    address: Numbers
    length: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.address)

    @cached_property
    def keys(self) -> Keys:
        width = 4 if self.family == 4 else 16
        rows = np.zeros((len(self), width + 1), np.uint8)
        size = min(width, 8)
        rows[:, :size] = self.address.astype(f">u{size}").view(np.uint8).reshape(-1, size)
        rows[:, -1] = self.length
        return rows.reshape(-1).view(f"S{width + 1}")

    def some(self, count: int) -> Listing:
        """That many of them, at random."""
        chosen = np.sort(np.random.default_rng(count).choice(len(self), count, replace=False))
        return Listing(self.family, self.address[chosen], self.length[chosen])

    @property
    def _width(self) -> int:
        return 32 if self.family == 4 else 64

    def inside(self, random: np.random.Generator, count: int) -> Addresses:
        """Random addresses in random prefixes of the list."""
        chosen = random.integers(0, len(self), count)
        length = self.length[chosen].astype(np.uint64)
        free = np.uint64(self._width) - np.minimum(length, np.uint64(self._width))
        part = random.integers(0, 1 << 32, count, dtype=np.uint64) << np.uint64(self._width - 32)
        number = self.address[chosen] | (part & ((np.uint64(1) << free) - np.uint64(1)))
        if self.family == 4:
            return ipv4(number)
        low = random.integers(0, 2**64, count, np.uint64)
        return ipv6(number, np.where(length == HOST_LENGTH[6], np.uint64(0), low))

    def covers(self, numbers: Numbers) -> npt.NDArray[np.bool_]:
        """By their first 32 or 64 bits."""
        found = np.zeros(len(numbers), np.bool_)
        for length in np.unique(self.length):
            shift = np.uint64(self._width - int(length))
            known = np.unique(self.address[self.length == length] >> shift)
            asked = numbers >> shift
            at = np.minimum(np.searchsorted(known, asked), len(known) - 1)
            found |= known[at] == asked
        return found

    def outside(self, random: np.random.Generator, count: int) -> Addresses:
        """Addresses in the same parts of the address space that no prefix of the list contains."""
        kept = np.empty(0, np.uint64)
        while len(kept) < count:
            if self.family == 4:
                tried = random.integers(FIRST4, LAST4, 2 * count, dtype=np.uint64)
            else:
                top = self.address[random.integers(0, len(self), 2 * count)] >> np.uint64(32) << np.uint64(32)
                tried = top | random.integers(0, 1 << 32, 2 * count, dtype=np.uint64)
            kept = np.concatenate((kept, tried[~self.covers(tried)]))
        return ipv4(kept[:count]) if self.family == 4 else ipv6(kept[:count], kept[:count] + np.uint64(1))


@cache
def prefixes(count: int, family: Family, seed: int = 1) -> Listing:
    """As a routing table has them."""
    random = np.random.default_rng(seed)
    shares = LENGTHS4 if family == 4 else LENGTHS6
    lengths, weights = np.array(list(shares), np.uint64), np.array(list(shares.values()))
    width = np.uint64(32 if family == 4 else 64)
    tops = 0x2A00_0000 + random.choice(1 << 22, NETWORKS6, replace=False).astype(np.uint64)
    found = np.empty((0, 2), np.uint64)
    while len(found) < count:
        length = random.choice(lengths, count, p=weights / weights.sum())
        if family == 4:
            number = random.integers(FIRST4, LAST4, count, dtype=np.uint64)
        else:
            number = random.choice(tops, count) << np.uint64(32) | random.integers(0, 1 << 32, count, dtype=np.uint64)
        number = number >> (width - length) << (width - length)
        found = np.unique(np.concatenate((found, np.stack((number, length), 1))), axis=0)
    found = found[np.sort(random.choice(len(found), count, replace=False))]
    return Listing(family, np.ascontiguousarray(found[:, 0]), found[:, 1].astype(np.uint8))


def hosts(count: int, family: Family = 4, seed: int = 2) -> Listing:
    """Addresses, anywhere; in IPv6 the first ones of /64s."""
    random = np.random.default_rng(seed)
    first, last = (FIRST4, LAST4) if family == 4 else (0x2 << 60, 0x4 << 60)
    found = np.unique(random.integers(first, last, count + count // 20 + 100, dtype=np.uint64))
    found = found[np.sort(random.choice(len(found), count, replace=False))]
    return Listing(family, found, np.full(count, HOST_LENGTH[family], np.uint8))


def blend(random: np.random.Generator, size: int, *parts: tuple[Addresses, float]) -> Addresses:
    """`size` addresses in random order, of each part its share."""
    chosen = random.choice(len(parts), size, p=[share for _, share in parts])
    made = np.empty((size, 16), np.uint8)
    for number, (addresses, _) in enumerate(parts):
        here = np.flatnonzero(chosen == number)
        made[here] = addresses[random.integers(0, len(addresses), len(here))]
    return made
