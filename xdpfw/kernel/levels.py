# SPDX-License-Identifier: Apache-2.0
"""The levels of prefixes (bpf/tiers.h), written under the packets' eyes.

What lies at a place is written before the gate that leads there, and taken away after it no longer does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from xdpfw.kernel.buckets import Buckets
from xdpfw.kernel.gates import DEEP, FLAT, HOSTS, NOTHING, Addresses, Gate4, Gate6, States, counted
from xdpfw.kernel.lines import Flags, Index, Slots, Words
from xdpfw.kernel.maps import Map
from xdpfw.kernel.pages import SLOTS, Pages
from xdpfw.model.prefix import HOST_LENGTH, Family
from xdpfw.policy.keys import starts
from xdpfw.policy.ops import Ids

Choose = Callable[[Ids, Index], Ids]
"""From the leaves held at some places, and of which prefix each place is a part, to the leaves to be held there; 0 is
none."""

Held = tuple[Addresses, Index, Ids]
"""Places, the level of each, and what is held there."""

ROOT = 16
"""What no prefix of the roots' level is longer than."""

ALL_24S = 1 << 24
AT_ONCE = 1 << 17
"""Places that are worked on at a time."""

PROBES = 272 * 50
"""To look at all places inside a /24 takes as long as to go past so many keys."""

_TAKEN, _DEEP = np.uint64(1 << 61), np.uint64(1 << 61 | 1 << 62)
"""What a key in buckets4 has beside the address: a /32, a /28."""


class Level(Protocol):
    """Prefixes of some lengths, held as prefixes of one. `table`: where."""

    table: str

    def get(self, at: Addresses) -> tuple[Ids, Flags]:
        """The leaves held at places, 0 where there is none; and for which of them packets ask hosts and tries."""

    def prepare(self, at: Addresses, lengths: States) -> None:
        """Room for these prefixes.

        Raises:
            MapFull: there is no memory for it.
        """

    def update(self, at: Addresses, length: int, choose: Choose, *, again: bool = False) -> None:
        """Choose the leaves anew at all places that distinct prefixes of this length take. `again`: the gate may not
        know yet of what is held there."""


class Roots:
    """What covers all of a /16."""

    def __init__(self, family: Family, roots: Map) -> None:
        self._family, self._roots = family, roots
        self._shift = np.uint64(min(HOST_LENGTH[family], 64) - ROOT)
        self.table = roots.spec.name

    def get(self, at: Addresses) -> tuple[Ids, Flags]:
        return self._roots.view["leaf"][at[0] >> self._shift], np.zeros(len(at[0]), np.bool_)

    def held(self) -> Iterator[Held]:
        roots = np.flatnonzero(self._roots.view["leaf"])
        at = roots.astype(np.uint64) << self._shift, np.zeros(len(roots), np.uint64)
        yield at, np.full(len(roots), ROOT), self._roots.view["leaf"][roots]

    def prepare(self, at: Addresses, lengths: States) -> None:
        """There is room for all."""

    def update(self, at: Addresses, length: int, choose: Choose, *, again: bool = False) -> None:
        for places, of in expanded(self._family, at, length, ROOT):
            roots = places[0] >> self._shift
            self._roots.view["leaf"][roots] = choose(self._roots.view["leaf"][roots], of)

    def count_longer(self, at: Addresses, sign: int) -> None:
        """How many longer prefixes are held inside each: more, or fewer."""
        roots, counts = counted(at[0] >> self._shift)
        self._roots.view["longer"][roots] += (sign * counts).astype(np.uint32)

    @property
    def longer(self) -> Ids:
        """These counts, live."""
        counts: Ids = self._roots.view["longer"]
        return counts


class Flats:
    """The leaf of every IPv4 /24 that is one as a whole, or is but for what lies inside. A page for each /8 in use."""

    table = "flats4"
    EMPTY = SLOTS
    """The page for a /8 in which nothing is left."""

    def __init__(self, pages: Pages, gate: Gate4) -> None:
        self.pages, self._gate = pages, gate
        self._there = np.zeros(SLOTS, np.bool_)
        for number in pages.numbers():
            if number < SLOTS and pages.leads_to(number, number):
                self._there[number] = True
            elif number < SLOTS:
                pages.drop([number])

    def get(self, at: Addresses) -> tuple[Ids, Flags]:
        return self.leaves_of(_cells(at)), np.zeros(len(at[0]), np.bool_)

    def held(self) -> Iterator[Held]:
        for page in np.flatnonzero(self._there).tolist():
            leaves = self.pages.view([page]).view(np.uint32).reshape(-1)
            cells = np.flatnonzero(leaves)
            high = np.uint64(page << 24) + (cells.astype(np.uint64) << np.uint64(8))
            yield (high, np.zeros(len(cells), np.uint64)), np.full(len(cells), 24), leaves[cells]

    def leads(self) -> dict[int, int]:
        """Slots, and the page that each should lead to."""
        return {page: page for page in np.flatnonzero(self._there).tolist()}

    def leaves_of(self, cells: Index) -> Ids:
        leaves = np.zeros(len(cells), np.uint32)
        there = np.flatnonzero(self._there[cells >> 16])
        held, at = self._open(cells[there])
        leaves[there] = held[at]
        return leaves

    def prepare(self, at: Addresses, lengths: States) -> None:
        used = np.bincount(_cells(at) >> 16, minlength=SLOTS) > 0
        absent = np.flatnonzero(used & ~self._there).tolist()
        if absent:
            self.pages.add(absent)
            self.pages.lead(absent, absent)
            self._there[absent] = True

    def update(self, at: Addresses, length: int, choose: Choose, *, again: bool = False) -> None:
        """A prefix is a row of adjacent cells."""
        cells, count = _cells(at), 1 << (24 - length)
        # Where there was no memory for a page, nothing can be taken away.
        there = np.flatnonzero(self._there[cells >> 16])
        for first in range(0, len(there), piece := max(1, AT_ONCE // count)):
            of = there[first : first + piece]
            held, places = self._open(cells[of])
            rows, leaves = places // count, held.reshape(-1, count)
            before = leaves[rows]
            leaves[rows] = after = choose(before, of[:, None])
            if again or after.any():
                self._gate.widen_rows(cells[of] // count, count)
            gone = ((before != 0) & (after == 0)).reshape(-1)
            if gone.any():
                self._close((cells[of][:, None] + np.arange(count)).reshape(-1)[gone])

    def _open(self, cells: Index) -> tuple[Ids, Index]:
        """The leaves of all pages that are there and have some of these cells, and where the cells are among them."""
        pages = cells >> 16
        used = np.flatnonzero(np.bincount(pages, minlength=SLOTS))
        rank = np.zeros(SLOTS, np.int64)
        rank[used] = np.arange(len(used)) << 16
        held: Ids = self.pages.view(used.tolist()).view(np.uint32).reshape(-1)
        return held, rank[pages] + (cells & 0xFFFF)

    def _close(self, cells: Index) -> None:
        """Nothing is flat there any more. What lies inside has not changed."""
        flat = cells[self._gate.states(cells) == FLAT]
        self._gate.set(flat, np.full(len(flat), NOTHING, np.uint8))

    def shrink(self) -> None:
        """Give back pages with nothing in them."""
        empty = [page for page in np.flatnonzero(self._there).tolist() if not self.pages.view([page]).any()]
        if not empty:
            return
        if self.EMPTY not in self.pages.numbers():
            self.pages.add([self.EMPTY])
        self.pages.lead(empty, [self.EMPTY] * len(empty))
        self.pages.drop(empty)
        self._there[empty] = False

    def release(self) -> None:
        self.pages.release()


STATES4 = ((32, HOSTS), (28, DEEP))
"""Levels inside a /24, and what it takes to be asked for."""


class Inside4:
    """/28s and hosts inside a /24, in buckets."""

    table = "buckets4"

    def __init__(self, buckets: Buckets, level: int, gate: Gate4, narrowing: Narrowing4) -> None:
        self._buckets, self._level, self._gate, self._narrowing = buckets, level, gate, narrowing

    def get(self, at: Addresses) -> tuple[Ids, Flags]:
        return self._buckets.get(_slots4(self._level, at[0]))

    def prepare(self, at: Addresses, lengths: States) -> None:
        self._buckets.reserve(_places(lengths, self._level))

    def update(self, at: Addresses, length: int, choose: Choose, *, again: bool = False) -> None:
        for places, of in expanded(4, at, length, self._level):
            before, after = self._buckets.update(_slots4(self._level, places[0]), _through(of, choose))
            cells = _cells(places)
            self._gate.widen(cells if again else cells[(before == 0) & (after != 0)], dict(STATES4)[self._level])
            self._narrowing.add(cells[(before != 0) & (after == 0)])


class Narrowing4:
    """What became of /24s in which something is not held any more. To find out may take going past all that is held,
    so it is done for many together."""

    def __init__(self, buckets: Buckets, gate: Gate4, flats: Flats) -> None:
        self._buckets, self._gate, self._flats = buckets, gate, flats
        self._changed: list[Index] = []

    def add(self, cells: Index) -> None:
        """Sorted."""
        if len(cells):
            self._changed.append(cells[starts(cells)])

    def __call__(self) -> None:
        if self._changed:
            cells = np.unique(np.concatenate(self._changed))
            self._gate.set(cells, self._held_by(cells))
            self._changed.clear()

    def _held_by(self, cells: Index) -> States:
        """What is in these /24s decides on their states."""
        flat: States = (self._flats.leaves_of(cells) != 0).astype(np.uint8)
        few = len(cells) * PROBES < self._buckets.count + ALL_24S // 64
        inside = self._some_inside(cells) if few or not self._buckets.complete else self._all_inside()[cells]
        states: States = np.maximum(flat * np.uint8(FLAT), inside)
        return states

    def _some_inside(self, cells: Index) -> States:
        """What is inside these /24s: every place is looked at."""
        found = np.full(len(cells), NOTHING, np.uint8)
        for level, state in STATES4:
            steps = np.arange(1 << (level - 24), dtype=np.uint64) << np.uint64(32 - level)
            piece = AT_ONCE // len(steps)
            for first in range(0, len(cells), piece):
                places = (cells[first : first + piece, None].astype(np.uint64) << np.uint64(8)) + steps
                leaves, lost = self._buckets.get(_slots4(level, places.reshape(-1)))
                found[first : first + piece][(lost | (leaves != 0)).reshape(-1, len(steps)).any(1)] = state
        return found

    def _all_inside(self) -> States:
        """The same for all /24s, by going past all keys that are held."""
        found = np.full(ALL_24S, NOTHING, np.uint8)
        for slots, _ in self._buckets.held():
            cells, is_deep = (slots.high & np.uint64(0xFFFFFFFF)) >> np.uint64(8), slots.high >= _DEEP
            found[cells] = np.maximum(found[cells], HOSTS)
            found[cells[is_deep]] = DEEP
        return found


class Inside6:
    """IPv6 prefixes of one level, or hosts, in buckets."""

    table = "buckets6"

    def __init__(self, buckets: Buckets, level: int, gate: Gate6) -> None:
        self._buckets, self._level, self._gate = buckets, level, gate

    def get(self, at: Addresses) -> tuple[Ids, Flags]:
        return self._buckets.get(self._slots(at))

    def _slots(self, at: Addresses) -> Slots:
        return Slots(*at, np.full(len(at[0]), self._level, np.uint64))

    def prepare(self, at: Addresses, lengths: States) -> None:
        self._buckets.reserve(_places(lengths, self._level))

    def update(self, at: Addresses, length: int, choose: Choose, *, again: bool = False) -> None:
        for places, of in expanded(6, at, length, self._level):
            before, after = self._buckets.update(self._slots(places), _through(of, choose))
            self._gate.widen(self._level, places if again else select(places, (before == 0) & (after != 0)))
            self._gate.tighten(self._level, select(places, (before != 0) & (after == 0)))


class InTrie6:
    """IPv6 prefixes that no tier holds: a /65 would be 2^63 hosts. The gate sends packets to the trie."""

    table = "trie6"

    def __init__(self, gate: Gate6) -> None:
        self._gate = gate

    def get(self, at: Addresses) -> tuple[Ids, Flags]:
        return np.zeros(len(at[0]), np.uint32), np.ones(len(at[0]), np.bool_)

    def prepare(self, at: Addresses, lengths: States) -> None:
        """There is nothing to be held."""

    def update(self, at: Addresses, length: int, choose: Choose, *, again: bool = False) -> None:
        nothing = np.zeros(len(at[0]), np.uint32)
        there = choose(nothing, np.arange(len(nothing))) != 0
        self._gate.widen(length, select(at, there))
        self._gate.tighten(length, select(at, ~there))


def held4(buckets: Buckets) -> Iterator[Held]:
    """What is held inside of /24s."""
    for slots, leaves in buckets.held():
        levels = np.where(slots.high >= _DEEP, 28, 32)
        yield (slots.high & np.uint64(0xFFFFFFFF), slots.low), levels, leaves


def held6(buckets: Buckets) -> Iterator[Held]:
    for slots, leaves in buckets.held():
        yield (slots.high, slots.low), slots.length.astype(np.int64), leaves


def expanded(family: Family, at: Addresses, length: int, level: int) -> Iterator[tuple[Addresses, Index]]:
    """All prefixes of length `level` inside these of length `length`, some at a time, and of which each is a part."""
    count = 1 << (level - length)
    steps = np.arange(count, dtype=np.uint64) << np.uint64((HOST_LENGTH[family] - level) % 64)
    nothing = np.zeros(count, np.uint64)
    in_high, in_low = (nothing, steps) if level > 64 else (steps, nothing)
    piece = max(1, AT_ONCE // count)
    for first in range(0, len(at[0]), piece):
        high, low = (half[first : first + piece, None] for half in at)
        of = np.repeat(np.arange(first, first + len(high)), count)
        yield ((high + in_high).reshape(-1), (low + in_low).reshape(-1)), of


def _through(of: Index, choose: Choose) -> Choose:
    """The same choice, where places are known by their number."""
    return lambda held, places: choose(held, of[places])


def select(at: Addresses, which: Flags) -> Addresses:
    return at[0][which], at[1][which]


def _places(lengths: States, level: int) -> int:
    """How many places prefixes take at a level."""
    return int((1 << (level - lengths.astype(np.int64))).sum())


def _cells(at: Addresses) -> Index:
    return (at[0] >> np.uint64(8)).astype(np.int64)


def _slots4(level: int, high: Words) -> Slots:
    nothing = np.zeros(len(high), np.uint64)
    return Slots(high | (_DEEP if level == 28 else _TAKEN), nothing, nothing)
