# SPDX-License-Identifier: Apache-2.0
"""Hash tables that packets read while userspace writes them: exact addresses, and prefixes of a few fixed lengths.

A key has a home line in a page; what has no room there goes on to the next line of its group, and the full line is
marked, for good: a look-up that finds neither its key nor a mark is done. A key for which all lines of its group are
full is lost, and so are look-ups that get that far: packets then ask hosts and tries (bpf/gate.h). The table is laid
out anew, larger, long before that happens, unless it is as large as it can be or memory is short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xdpfw.kernel.lines import HALF, LOW, NTH_WAY, WAYS_IN, Flags, Index, Line, Lines, Slots, Words
from xdpfw.kernel.maps import View
from xdpfw.kernel.pages import LINES, SLOTS, Pages
from xdpfw.model.errors import MapFull
from xdpfw.policy.keys import starts
from xdpfw.policy.ops import Ids

Choose = Callable[[Ids, Index], Ids]
"""From the leaves held at some places, and which places these are, to the leaves to be held there; 0 is none."""

NEAR = 16
"""Lines of a group."""

LARGEST = SLOTS
"""Pages that a table may have; the number is a power of two."""


def exactly(leaves: Ids) -> Choose:
    """These, whatever is held."""
    return lambda _, at: leaves[at]


class Hash:
    """bpf/tiers.h, hash_key, for many keys at once."""

    def __init__(self, seeds: Any) -> None:
        self._keys = np.array(seeds["keys"], np.uint64)
        self.odd = np.uint64(seeds["odd"])

    def of(self, slots: Slots) -> Words:
        low = slots.low + slots.length
        key = self._keys
        made: Words = ((slots.high & LOW) + key[0]) * ((slots.high >> HALF) + key[1])
        made += ((low & LOW) + key[2]) * ((low >> HALF) + key[3])
        made ^= made >> HALF
        made *= self.odd
        return made


class Buckets:
    """`count` keys are held. One writer."""

    def __init__(self, pages: Pages, line: Line, seeds: Any) -> None:
        self.pages, self._line, self._hash = pages, line, Hash(seeds)
        self._every = np.uint8((1 << line.ways) - 1)
        self._first, self._size = self._find()
        self.recount()
        self._lost = any(len(self._full_groups(page)) for page in self._views())

    def _find(self) -> tuple[int, int]:
        """The first page's number, and how many there are. After a kill there may be two banks, alike as far as packets
        read both: the one that the last slot leads to stays."""
        numbers = self.pages.numbers()
        banks = [[n for n in numbers if n // SLOTS == bank] for bank in (0, 1)]
        current = next((bank for bank in banks if bank and self.pages.leads_to(SLOTS - 1, bank[-1])), [])
        self.pages.drop([n for n in numbers if n not in current])
        if not current:
            return 0, 0
        if len(current) < len(numbers):
            self._lead(current[0], len(current))
        return current[0], len(current)

    def _lead(self, first: int, size: int) -> None:
        self.pages.lead(range(SLOTS), [first + slot * size // SLOTS for slot in range(SLOTS)])

    def leads(self) -> dict[int, int]:
        """Slots, and the page that each should lead to."""
        return {slot: self._first + slot * self._size // SLOTS for slot in range(SLOTS) if self._size}

    def _views(self) -> Iterator[View]:
        return (self.pages.view([self._first + page]) for page in range(self._size))

    # keys

    def get(self, slots: Slots) -> tuple[Ids, Flags]:
        """The leaf of every key, 0 where it is not held; and for which of those packets ask the tries."""
        leaves, lost = np.zeros(len(slots), np.uint32), np.zeros(len(slots), np.bool_)
        if self._size:
            lines, order, first = self._homes(slots)
            _, _, leaves[order], lost[order] = self._search(lines, slots[order], first)
        return leaves, lost

    def reserve(self, more: int) -> None:
        """Room for so many more keys, if memory is not short."""
        if self.count + more > self._capacity(self._size):
            self._grow(self.count + more)

    def update(self, slots: Slots, choose: Choose) -> tuple[Ids, Ids]:
        """What `choose` makes of the leaves that distinct keys have, 0 for keys that are not held; answers the leaves
        before and after. The ways of keys that go must not be filled again before a grace period has passed."""
        before, after, missed = self._update(slots, choose)
        while len(missed) and self._grow(0):
            missed = missed[self._update(slots[missed], exactly(after[missed]))[2]]
        self._lost = self._lost or bool(len(missed))
        return before, after

    def held(self) -> Iterator[tuple[Slots, Ids]]:
        """All keys that are held and their leaves, some at a time."""
        for page in self._views():
            yield self._line.keys(page, *self._line.places(page))

    def recount(self) -> None:
        """Somebody else may have written here."""
        self.count = sum(len(self._line.places(page)[0]) for page in self._views())

    @property
    def complete(self) -> bool:
        """Whether every key that was put in is held."""
        return not self._lost

    def _update(self, slots: Slots, choose: Choose) -> tuple[Ids, Ids, Index]:
        """Leaves before and after, and which keys found no room."""
        before, after = np.zeros(len(slots), np.uint32), np.zeros(len(slots), np.uint32)
        if not self._size:
            after = choose(before, np.arange(len(slots)))
            return before, after, np.flatnonzero(after)
        lines, order, first = self._homes(slots)
        line, way, held, _ = self._search(lines, slots[order], first)
        wanted = choose(held, order)
        before[order], after[order] = held, wanted
        other = np.flatnonzero((held != 0) & (wanted != held) & (wanted != 0))
        gone = np.flatnonzero((held != 0) & (wanted == 0))
        new = np.flatnonzero((held == 0) & (wanted != 0))
        self._line.change(lines, line[other], way[other], wanted[other])
        self._line.empty(lines, line[gone], way[gone])
        missed = self._place(lines, slots[order[new]], wanted[new], first[new])
        self.count += len(new) - len(missed) - len(gone)
        return before, after, order[new[missed]]

    def _search(self, lines: View, slots: Slots, first: Lines) -> tuple[Lines, Index, Ids, Flags]:
        """Line, way and leaf of every key (leaf 0: not held), and whether all lines of its group were looked at."""
        line, way = first.copy(), np.zeros(len(slots), np.int64)
        leaves, lost = np.zeros(len(slots), np.uint32), np.zeros(len(slots), np.bool_)
        pending = np.arange(len(slots))
        for step in range(NEAR):
            at = _near(first[pending], step)
            copies = lines.take(at, axis=0)
            ways = self._line.holding(copies, slots[pending] if step else slots)
            hit = np.flatnonzero(ways)
            if len(hit):
                best, which = NTH_WAY[ways[hit], 0], pending[hit]
                line[which], way[which], leaves[which] = at[hit], best, self._line.leaves(copies[hit], best)
            pending = pending[(ways == 0) & self._line.overflown(copies)]
            if not len(pending):
                return line, way, leaves, lost
        lost[pending] = True
        return line, way, leaves, lost

    def _place(self, lines: View, slots: Slots, leaves: Ids, first: Lines) -> Index:
        """Put in keys that are not held, in the order of their lines; answers those without room. Keys of one line take
        its free ways in turn."""
        pending, at = np.arange(len(slots)), first
        for step in range(NEAR):
            begins = np.flatnonzero(starts(at))
            rank = np.arange(len(at)) - np.repeat(begins, np.diff(begins, append=len(at)))
            free = ~self._line.taken(lines.take(at, axis=0)) & self._every
            fits = rank < WAYS_IN[free]
            here = np.flatnonzero(fits)
            chosen, way = pending[here], NTH_WAY[free[here], rank[here]]
            self._line.fill(lines, at[here], way, slots[chosen], leaves[chosen])
            self._line.mark(lines, at[~fits])
            pending = pending[~fits]
            if not len(pending):
                break
            at = _near(first[pending], step + 1)
            order = _order(at)
            pending, at = pending[order], at[order]
        return pending

    def _homes(self, slots: Slots) -> tuple[View, Index, Lines]:
        """The lines of all pages that keys belong into, the order of keys by their home lines, and these lines."""
        hashes = self._hash.of(slots)
        pages = self._pages_of(hashes)
        used = np.flatnonzero(np.bincount(pages, minlength=self._size))
        rank = np.zeros(self._size, np.uint32)
        rank[used] = np.arange(len(used)) * LINES
        first = rank[pages] + _home(hashes)
        order = _order(first)
        return self.pages.view((self._first + used).tolist()), order, first[order]

    def _pages_of(self, hashes: Words) -> Index:
        """The page of the slot of each."""
        return (hashes >> np.uint64(56)).astype(np.int64) * self._size // SLOTS

    def release(self) -> None:
        self.pages.release()

    # sizes

    def _capacity(self, size: int) -> float:
        return self._line.load * size * LINES * self._line.ways

    def _grow(self, count: int) -> bool:
        """Twice as many pages, or as it takes for so many keys; False when that cannot be."""
        size = max(1, 2 * self._size)
        while self._capacity(size) < count and size < LARGEST:
            size *= 2
        return size <= LARGEST and self._lay_out(size, self._split)

    def shrink(self) -> None:
        """Fewer pages, where a quarter of them is enough."""
        size = self._size
        while size >= 4 and self._capacity(size // 4) >= self.count:
            size //= 2
        if size < self._size:
            self._lay_out(size, self._join)

    def _lay_out(self, size: int, fill: Callable[[int, int], None]) -> bool:
        """Anew, beside the pages that packets read. False when there is no memory for it."""
        first, was_first, was_size = 0 if self._first else SLOTS, self._first, self._size
        try:
            self.pages.add(range(first, first + size))
        except MapFull:
            return False
        self._first, self._size = first, size
        fill(was_first, was_size)
        self._lead(first, size)
        self.pages.drop(range(was_first, was_first + was_size))
        return True

    def _split(self, was_first: int, was_size: int) -> None:
        """From fewer pages: everything stays in its line and way."""
        share = self._size // was_size if was_size else 0
        for old in range(was_size):
            page = self.pages.view([was_first + old])
            line, way = self._line.places(page)
            slots, leaves = self._line.keys(page, line, way)
            hashes, at = self._hash.of(slots), _ALL[line]
            pages = self._pages_of(hashes)
            for number in range(old * share, (old + 1) * share):
                here, new = np.flatnonzero(pages == number), self.pages.view([self._first + number])
                self._line.fill(new, at[here], way[here], slots[here], leaves[here])
                self._mark_ways(new, _home(hashes[here]), at[here])
                if self._lost:  # nobody knows which keys: where look-ups came to the end, they still do
                    self._line.mark(new, _ALL[self._line.overflown(page)])

    def _mark_ways(self, page: View, home: Lines, at: Lines) -> None:
        """Mark the lines between keys' homes and where they are."""
        away = (at - home) & np.uint32(NEAR - 1)
        for step in range(int(away.max(initial=0))):
            self._line.mark(page, _near(home[away > step], step))

    def _join(self, was_first: int, was_size: int) -> None:
        """From more pages."""
        self.count = 0
        for old in range(was_size):
            page = self.pages.view([was_first + old])
            slots, leaves = self._line.keys(page, *self._line.places(page))
            self._lost |= bool(len(self._update(slots, exactly(leaves))[2]))
            full = (self._full_groups(page)[:, None] + _ALL[:NEAR]).reshape(-1)
            self._line.mark(self.pages.view([self._first + old * self._size // was_size]), full)

    def _full_groups(self, page: View) -> Lines:
        """First lines of groups that a look-up may come to the end of."""
        return _ALL[::NEAR][self._line.overflown(page).reshape(-1, NEAR).all(1)]


_ALL = np.arange(LINES, dtype=np.uint32)


def _order(lines: Lines) -> Index:
    """What sorts them. numpy sorts 16 bits by counting, twice of which is many times faster than comparing."""
    order = np.argsort(lines.astype(np.uint16), kind="stable")
    return order.take(np.argsort((lines >> np.uint32(16)).astype(np.uint16).take(order), kind="stable"))


def _home(hashes: Words) -> Lines:
    """Home lines, within their pages."""
    lines: Lines = (hashes >> np.uint64(40)).astype(np.uint32) & _ALL[-1]
    return lines


def _near(first: Lines, step: int) -> Lines:
    inside = np.uint32(NEAR - 1)
    found: Lines = (first & ~inside) | ((first + np.uint32(step)) & inside)
    return found
