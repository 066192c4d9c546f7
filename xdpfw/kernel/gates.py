# SPDX-License-Identifier: Apache-2.0
"""The gates, which say what is worth asking for (bpf/tiers.h), written under the packets' eyes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.buckets import Hash
from xdpfw.kernel.lines import Flags, Index, Slots, Words
from xdpfw.kernel.maps import Map
from xdpfw.policy.keys import starts
from xdpfw.policy.ops import Ids

States = npt.NDArray[np.uint8]
Addresses = tuple[Words, Words]
"""High and low halves of IPv6 addresses; IPv4 addresses in the low 32 bits of the high ones."""

Counter = Callable[[Addresses, int], None]
"""Takes note of prefixes that came (1) or went (-1)."""

NOTHING, FLAT, HOSTS, DEEP = range(4)
"""enum gate4_state"""

TOP, ALL_TOPS = 1 << 8, 1 << 16
"""/24s in a /16, and how many /16s there are."""

FILTER_LOG, FILTER_SHIFT, FEW_GONE = 23, 17, 1 << 17
CELLS_LOG, BITS, FIRST = 19, 5, 28
HOSTS6, TRIE6 = 10, 11
_FULL = (1 << BITS) - 1


class Gate4:
    """Two bits for every /24, four of them to a byte; and one for every /16, whether there is anything inside, which is
    set first and cleared last."""

    def __init__(self, gate: Map, top: Map) -> None:
        self._gate, self._top = gate, top

    @property
    def _packed(self) -> States:
        return self._gate.view.view(np.uint8)

    def states(self, cells: Index) -> States:
        found: States = self._packed[cells >> 2] >> ((cells & 3) * 2).astype(np.uint8)
        return found & np.uint8(3)

    def set(self, cells: Index, states: States) -> None:
        """Cells may come more than once, with the same state; those of one byte take turns."""
        packed = self._packed
        self.open(_within(cells[states != NOTHING] >> 8))
        for place in range(4):
            here = np.flatnonzero(cells & 3 == place)
            at, shift = cells[here] >> 2, 2 * place
            packed[at] = packed[at] & np.uint8(0xFF ^ 3 << shift) | states[here] << np.uint8(shift)
        self._close(_within(cells[states == NOTHING] >> 8))

    def widen(self, cells: Index, state: int) -> None:
        cells = cells[self.states(cells) < state]
        self.set(cells, np.full(len(cells), state, np.uint8))

    def widen_rows(self, rows: Index, count: int) -> None:
        """What was nothing is flat, in each of these rows of so many cells."""
        if count < 4:
            self.widen((rows[:, None] * count + np.arange(count)).reshape(-1), FLAT)
            return
        size = max(1, count // TOP)
        self.open(_within((rows[:, None] * count // TOP + np.arange(size)).reshape(-1)))
        packed = self._packed.reshape(-1, count // 4)
        found = packed[rows]
        packed[rows] = found | (~(found | found >> 1) & np.uint8(0x55))

    def tops(self) -> Flags:
        """(1 << 16,): for each /16, whether packets look inside."""
        return np.unpackbits(self._top.view.view(np.uint8), bitorder="little").astype(np.bool_)

    def open(self, tops: Index) -> None:
        """Distinct ones."""
        self._set_tops(tops, 0xFF)

    def _close(self, tops: Index) -> None:
        """Those of them that have nothing inside any more."""
        held = self._gate.view.reshape(ALL_TOPS, -1)[tops].any(axis=1)
        self._set_tops(tops[~held], 0)

    def _set_tops(self, tops: Index, bits: int) -> None:
        packed = self._top.view.view(np.uint8)
        for place in range(8):
            at, bit = tops[tops & 7 == place] >> 3, 1 << place
            packed[at] = packed[at] & np.uint8(0xFF ^ bit) | np.uint8(bits & bit)


def _within(tops: Index) -> Index:
    """Which there are, each once."""
    return np.flatnonzero(np.bincount(tops, minlength=1))


class Filter6:
    """A bit for each value of the hash of what buckets hold. Those of keys that went stay until `narrow`."""

    def __init__(self, bits: Map, hashed: Hash) -> None:
        self._bits, self._hash, self._gone = bits, hashed, 0

    @property
    def _packed(self) -> States:
        return self._bits.view.view(np.uint8)

    def add(self, level: int, at: Addresses) -> None:
        packed, bits = self._packed, self._places(level, at)
        for place in range(8):
            packed[bits[bits & 7 == place] >> 3] |= np.uint8(1 << place)

    def remove(self, count: int) -> None:
        """So many keys went."""
        self._gone += count

    def knows(self, level: int, at: Addresses) -> Flags:
        bits = self._places(level, at)
        found: Flags = (self._packed[bits >> 3] >> (bits & 7).astype(np.uint8)) & np.uint8(1) != 0
        return found

    def narrow(self, held: Iterable[tuple[Slots, Ids]], count: int) -> None:
        """Bits of these keys alone, so many, once more than that have gone."""
        if self._gone <= max(count, FEW_GONE):
            return
        wanted = np.zeros(1 << FILTER_LOG, np.bool_)
        for slots, _ in held:
            wanted[self._bits_of(slots)] = True
        self._packed[:] = np.packbits(wanted, bitorder="little")
        self._gone = 0

    def _places(self, level: int, at: Addresses) -> Index:
        return self._bits_of(Slots(*at, np.full(len(at[0]), level, np.uint64)))

    def _bits_of(self, slots: Slots) -> Index:
        return (self._hash.of(slots) >> np.uint64(FILTER_SHIFT)).astype(np.int64) & ((1 << FILTER_LOG) - 1)


class Gate6:
    """Counts of what is held at each level, by /32. `longer` counts by /16; the filter knows what buckets hold."""

    def __init__(self, gate: Map, longer: Counter, odd: np.uint64, filtered: Filter6) -> None:
        self._gate, self._count_longer, self._odd, self.filter = gate, longer, odd, filtered

    def widen(self, level: int, at: Addresses) -> None:
        if len(at[0]):
            if in_buckets(level):
                self.filter.add(level, at)
            self._count(level, at, 1)
            self._count_longer(at, 1)

    def tighten(self, level: int, at: Addresses) -> None:
        if len(at[0]):
            self._count_longer(at, -1)
            self._count(level, at, -1)
            self.filter.remove(len(at[0]))

    def cells(self, level: int, at: Addresses) -> Words:
        """Where prefixes of a level are counted."""
        tops = at[0] >> np.uint64(32)
        if level < 32:
            tops = np.add(tops[:, None], np.arange(1 << (32 - level), dtype=np.uint64)).reshape(-1)
        places: Words = tops * self._odd
        return places >> np.uint64(64 - CELLS_LOG)

    @property
    def size(self) -> int:
        return len(self._gate.view)

    def counts(self, level: int) -> Index:
        """Of all cells."""
        return (self._gate.view >> np.uint64(BITS * _field_of(level)) & np.uint64(_FULL)).astype(np.int64)

    def set_counts(self, level: int, cells: Index, counts: Index) -> None:
        shift, full = np.uint64(BITS * _field_of(level)), np.uint64(_FULL)
        words = self._gate.view[cells]
        self._gate.view[cells] = (words & ~(full << shift)) | np.minimum(counts, _FULL).astype(np.uint64) << shift

    def _count(self, level: int, at: Addresses, sign: int) -> None:
        cells, counts = counted(self.cells(level, at))
        shift = np.uint64(BITS * _field_of(level))
        words, full = self._gate.view[cells], np.uint64(_FULL)
        before = (words >> shift & full).astype(np.int64)
        after = np.where(before == _FULL, _FULL, np.clip(before + sign * counts, 0, _FULL)).astype(np.uint64)
        self._gate.view[cells] = (words & ~(full << shift)) | after << shift


def in_buckets(level: int) -> bool:
    """And not in the trie alone."""
    return level <= 64 or level == 128


def _field_of(level: int) -> int:
    """Position in a cell of gate6."""
    if level == 128:
        return HOSTS6
    return TRIE6 if level > 64 else (level - FIRST) // 4


def counted(values: Words) -> tuple[Words, Index]:
    """Distinct values, and how often each is there."""
    ordered = np.sort(values)
    first = np.flatnonzero(starts(ordered))
    return ordered[first], np.diff(first, append=len(ordered))
