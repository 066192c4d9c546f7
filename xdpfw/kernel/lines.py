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
    """How a page's lines hold keys. `at`: lines; `way`: ways."""

    ways: int
    load: float
    """Share of the ways that may be taken before a table grows."""

    def held(self, page: View, at: Lines) -> Ids:
        """(n, ways): the leaf in every way, 0 where it is empty."""

    def matches(self, page: View, at: Lines, slots: Slots) -> Flags:
        """(n, ways): which ways hold the key."""

    def overflown(self, page: View, at: Lines) -> Flags: ...

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

    def held(self, page: View, at: Lines) -> Ids:
        return (page[at] >> HALF & _LEAF4).astype(np.uint32)

    def matches(self, page: View, at: Lines, slots: Slots) -> Flags:
        same: Flags = (page[at] & _KEY4) == slots.high[:, None]
        return same

    def overflown(self, page: View, at: Lines) -> Flags:
        marks: Flags = page[at, 0] >= _OVERFLOWN4
        return marks

    def mark(self, page: View, at: Lines) -> None:
        page[at, 0] |= _OVERFLOWN4

    def fill(self, page: View, at: Lines, way: Index, slots: Slots, leaves: Ids) -> None:
        page[at, way] = (page[at, way] & _OVERFLOWN4) | slots.high | leaves.astype(np.uint64) << HALF

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

    def held(self, page: View, at: Lines) -> Ids:
        leaves: Ids = self._lines(page)["leaf"][at]
        return leaves

    def matches(self, page: View, at: Lines, slots: Slots) -> Flags:
        lines = self._lines(page)[at]
        same: Flags = (lines["high"] == slots.high[:, None]) & (lines["low"] == slots.low[:, None])
        same &= lines["length"] == slots.length[:, None]
        return same

    def overflown(self, page: View, at: Lines) -> Flags:
        marks: Flags = self._lines(page)["overflown"][at] != 0
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
