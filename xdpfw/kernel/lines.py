# SPDX-License-Identifier: Apache-2.0
"""How a page's lines hold keys (bpf/tiers.h): the records that packets read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts
from xdpfw.kernel.maps import View
from xdpfw.policy.ops import Ids

Words = npt.NDArray[np.uint64]
Index = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Lines = npt.NDArray[np.uint32]
Ways = npt.NDArray[np.uint8]
"""Sets of ways, the first in the lowest bit."""

HALF = np.uint64(32)
LOW = np.uint64(0xFFFFFFFF)
_TAKEN4 = np.uint64(1 << 61)
_KEY4 = np.uint64(1 << 62) | _TAKEN4 | LOW
_LEAF4 = np.uint64(0x1FFFFFFF)
_OVERFLOWN4 = np.uint64(1 << 63)


@dataclass(frozen=True, slots=True)
class Slots:
    """Keys as the packet path makes them: `high` and `low` halves of IPv6 addresses, or an IPv4 key in `high`; the
    prefix `length` of each (0 in IPv4, where the key says it)."""

    high: Words
    low: Words
    length: Words

    def __len__(self) -> int:
        return len(self.high)

    def __getitem__(self, at: Any) -> Slots:
        return Slots(self.high[at], self.low[at], self.length[at])


class Line(Protocol):
    """How a page's lines hold keys. `page`: words, (lines, 8); `at`: lines; `way`: ways; `lines`: copies of some."""

    ways: int
    load: float
    """Share of the ways that may be taken before a table grows."""

    def taken(self, lines: View) -> Ways:
        """The ways that hold a key."""

    def holding(self, lines: View, slots: Slots) -> Ways:
        """The way that holds the key, if one does."""

    def leaves(self, lines: View, way: Index) -> Ids: ...

    def overflown(self, lines: View) -> Flags: ...

    def mark(self, page: View, at: Lines) -> None:
        """Overflown from now on."""

    def fill(self, page: View, at: Lines, way: Index, slots: Slots, leaves: Ids) -> None:
        """Keys into empty ways."""

    def change(self, page: View, at: Lines, way: Index, leaves: Ids) -> None:
        """The leaves of keys that are held."""

    def empty(self, page: View, at: Lines, way: Index) -> None: ...

    def keys(self, page: View, at: Index, way: Index) -> tuple[Slots, Ids]:
        """What is held there."""

    def places(self, page: View) -> tuple[Index, Index]:
        """Lines and ways of all that is held."""


class Line4:
    """struct line."""

    ways, load = 8, 0.65

    def taken(self, lines: View) -> Ways:
        return _bits((lines & _TAKEN4) != 0)

    def holding(self, lines: View, slots: Slots) -> Ways:
        return _bits((lines & _KEY4) == slots.high[:, None])

    def leaves(self, lines: View, way: Index) -> Ids:
        words = lines.reshape(-1).take(np.arange(len(lines)) * 8 + way)
        return (words >> HALF & _LEAF4).astype(np.uint32)

    def overflown(self, lines: View) -> Flags:
        marks: Flags = lines[:, 0] >= _OVERFLOWN4
        return marks

    def mark(self, page: View, at: Lines) -> None:
        page[at, 0] |= _OVERFLOWN4

    def fill(self, page: View, at: Lines, way: Index, slots: Slots, leaves: Ids) -> None:
        words, place = page.reshape(-1), at * np.int64(8) + way
        words[place] = (words.take(place) & _OVERFLOWN4) | slots.high | leaves.astype(np.uint64) << HALF

    def change(self, page: View, at: Lines, way: Index, leaves: Ids) -> None:
        page[at, way] = (page[at, way] & (_OVERFLOWN4 | _KEY4)) | leaves.astype(np.uint64) << HALF

    def empty(self, page: View, at: Lines, way: Index) -> None:
        page[at, way] &= _OVERFLOWN4

    def keys(self, page: View, at: Index, way: Index) -> tuple[Slots, Ids]:
        words = page[at, way]
        nothing = np.zeros(len(words), np.uint64)
        return Slots(words & _KEY4, nothing, nothing), (words >> HALF & _LEAF4).astype(np.uint32)

    def places(self, page: View) -> tuple[Index, Index]:
        at = np.flatnonzero(page & _TAKEN4)
        return at >> 3, at & 7


class Line6:
    """struct line6."""

    ways, load = 3, 0.5

    @staticmethod
    def _lines(page: View) -> View:
        return page.view(layouts.LINE6)[:, 0]

    def taken(self, lines: View) -> Ways:
        leaves = self._lines(lines)["leaf"]
        return self._ways([leaves[:, way] != 0 for way in range(self.ways)])

    def holding(self, lines: View, slots: Slots) -> Ways:
        lengths = self._lines(lines)["length"]
        return self._ways(
            [
                (lines[:, way] == slots.high) & (lines[:, 3 + way] == slots.low) & (lengths[:, way] == slots.length)
                for way in range(self.ways)
            ]
        )

    @staticmethod
    def _ways(flags: list[Flags]) -> Ways:
        found = np.zeros(len(flags[0]), np.uint8)
        for way, held in enumerate(flags):
            found |= held.view(np.uint8) << np.uint8(way)
        return found

    def leaves(self, lines: View, way: Index) -> Ids:
        leaves: Ids = self._lines(lines)["leaf"][np.arange(len(lines)), way]
        return leaves

    def overflown(self, lines: View) -> Flags:
        marks: Flags = self._lines(lines)["overflown"] != 0
        return marks

    def mark(self, page: View, at: Lines) -> None:
        self._lines(page)["overflown"][at] = 0x80

    def fill(self, page: View, at: Lines, way: Index, slots: Slots, leaves: Ids) -> None:
        lines = self._lines(page)
        for name, column in (("high", slots.high), ("low", slots.low), ("leaf", leaves), ("length", slots.length)):
            lines[name][at, way] = column

    def change(self, page: View, at: Lines, way: Index, leaves: Ids) -> None:
        self._lines(page)["leaf"][at, way] = leaves

    def empty(self, page: View, at: Lines, way: Index) -> None:
        lines = self._lines(page)
        lines["length"][at, way] = lines["leaf"][at, way] = 0

    def keys(self, page: View, at: Index, way: Index) -> tuple[Slots, Ids]:
        high, low, length, leaf = (self._lines(page)[name][at, way] for name in ("high", "low", "length", "leaf"))
        return Slots(high, low, length.astype(np.uint64)), leaf

    def places(self, page: View) -> tuple[Index, Index]:
        line, way = np.nonzero(self._lines(page)["leaf"])
        return line, way


def _bits(flags: Flags) -> Ways:
    """Rows of eight flags as bits: the product has each of the eight octets, which are 0 or 1, in its place of the
    highest one."""
    packed: Words = flags.view(np.uint64)[:, 0] * np.uint64(0x0102040810204080)
    return (packed >> np.uint64(56)).astype(np.uint8)


_EACH = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
WAYS_IN = _EACH.sum(1)
"""How many ways there are in each set of them."""
NTH_WAY = np.argsort(_EACH == 0, axis=1, kind="stable").astype(np.uint8)
"""The first way of each set, the second…; anything where there is none."""
