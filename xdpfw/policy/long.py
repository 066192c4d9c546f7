# SPDX-License-Identifier: Apache-2.0
"""A change of very many prefixes: looked at once, announced in pieces, visible by one flip at its end.

What it means is worked out from a snapshot of the universe, beside whoever writes meanwhile. Its new prefixes go into
the tables piece by piece, each with what covers it today. What others touch between the pieces leaves most of the
change as it is, since prefixes nest or have nothing in common: only those trees of the change that have to do with it
are looked at again when the change lands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy import keys as k
from xdpfw.policy.keys import Flags
from xdpfw.policy.memberships import Make, Memberships
from xdpfw.policy.ops import Ids, Keys
from xdpfw.policy.plan import NO_IDS, Change, Piece
from xdpfw.policy.sets import Edit
from xdpfw.policy.table import SortedTable
from xdpfw.policy.universe import Region, owns, region, wide

Run = Callable[[Make], list[int]]
"""Calls a function in the thread that owns the compiler."""


class LongChange:
    """Made by `Compiler.begin`. `look`, then `finish`, may run in any thread; all else belongs to the compiler's."""

    def __init__(self, universe: Mapping[Family, SortedTable], edit: Edit, memberships: Memberships, run: Run) -> None:
        self.edit = edit
        self.interned: set[int] = set()
        self._universe, self._memberships, self._run = dict(universe), memberships, run
        self._regions: dict[Family, Region] = {}
        self._changes: dict[Family, Change] = {}
        self._new: dict[Family, Piece] = {}
        self._next: dict[Family, int] = {}
        self._done: dict[Family, int] = {}
        self._given: list[Ids] = []
        self._roots: dict[Family, Keys] = {}
        self._others: dict[Family, Keys] = {}
        self._trees: dict[Family, Keys] = {}

    # what the change means

    def look(self) -> None:
        """Raises MapFull for too many memberships."""
        self._regions = {family: self._region(family, keys) for family, keys in self.edit.touched.items() if len(keys)}

    def _region(self, family: Family, keys: Keys) -> Region:
        table = self._universe[family]
        stay = np.zeros(len(keys), np.bool_)
        if table.is_wide(len(keys)):
            return wide(table, family, keys, lambda own: self._owners(family, own), stay, self._combine)
        rows, there = table.find(keys)
        own = self._owners(family, np.where(there, rows["own"], np.uint32(0)))
        return region(table, family, keys, own, stay, self._combine)

    def _owners(self, family: Family, before: Ids) -> Ids:
        """Who owns the touched prefixes after the change."""
        edit = self.edit
        if edit.of is None:
            return owns(edit.sets, family, edit.touched[family], self._memberships, self._call)
        return self._memberships.moved(before, edit.of, edit.until[family], self._call)

    def _combine(self, own: Ids, cover: Ids) -> Ids:
        return self._memberships.combine(own, cover, self._call)

    def _call(self, make: Make) -> list[int]:
        def work() -> list[int]:
            numbers = make()
            self.interned.update(numbers)
            return numbers

        return self._run(work)

    def finish(self) -> None:
        """What the change leaves behind, worked out while its pieces are announced."""
        for family, part in self._regions.items():
            ids = self._new[family].leaves
            after = part.updated(self._universe[family], ids)
            self._changes[family] = Change.of(part.announced(ids), after=after)
            self._outermost(family)

    # pieces

    def added(self) -> dict[Family, Keys]:
        """Prefixes that are to come into the tables."""
        return {family: part.keys[part.added] for family, part in self._regions.items()}

    def reserved(self, ids: Ids) -> None:
        """Leaves for all of `added`."""
        for family, keys in self.added().items():
            part = self._regions[family]
            self._new[family] = Piece(family, keys, ids[: len(keys)], part.cover[part.added])
            self._done[family], ids = 0, ids[len(keys) :]

    def piece(self, limit: int) -> list[Piece]:
        """What comes next, a share of each family; nothing when all is announced. What others have to do with is left
        for the landing."""
        while total := sum(len(whole) - self._done[family] for family, whole in self._new.items()):
            pieces = []
            for family, whole in self._new.items():
                begin = self._done[family]
                count = len(whole) - begin
                end = begin + (count if total <= limit else -(-count * limit // total))
                part = whole.part(slice(begin, end))
                pieces.append(part.part(~_inside(part.keys, self._trees.get(family))))
                self._next[family] = end
            if any(map(len, pieces)):
                return [piece for piece in pieces if len(piece)]
            self.advance(())
        return []

    def advance(self, announced: Iterable[Piece]) -> None:
        """What `piece` answered last is in the tables."""
        self._done.update(self._next)
        self._given += (piece.leaves for piece in announced)

    def announced(self) -> list[Piece]:
        """All that is in the tables, but for what `disturb` has answered."""
        pieces = [whole.part(slice(self._done[family])) for family, whole in self._new.items()]
        return [piece.part(~_inside(piece.keys, self._trees.get(piece.family))) for piece in pieces]

    def unused(self) -> Ids:
        """Leaves that were reserved and not announced."""
        reserved = np.concatenate([NO_IDS, *(whole.leaves for whole in self._new.values())])
        if len(reserved) == sum(map(len, self._given)):
            return NO_IDS
        free = np.zeros(int(reserved.max(initial=0)) + 1, np.bool_)
        free[reserved] = True
        free[np.concatenate([NO_IDS, *self._given])] = False
        return np.flatnonzero(free).astype(np.uint32)

    # others

    def disturb(self, family: Family, keys: Keys) -> Piece | None:
        """Others change these sorted prefixes and what lies inside them. Answers what was announced and has to do with
        them: it has to be part of the universe that they change."""
        if not len(keys):
            return None
        others = self._others.get(family, k.empty(family))
        self._others[family] = k.outermost(k.union(others, keys))
        if not len(self.edit.touched[family]):
            return None
        trees = self._trees.get(family, k.empty(family))
        new = k.without(self._trees_of(family, k.outermost(keys)), trees)
        self._trees[family] = k.union(trees, new)
        if family not in self._new or not len(new):
            return None
        done = self._new[family].part(slice(self._done[family]))
        return done.part(_inside(done.keys, new))

    def _trees_of(self, family: Family, keys: Keys) -> Keys:
        """The trees of the change that have to do with sorted, disjoint prefixes."""
        roots = self._outermost(family)
        around = np.maximum(k.search(roots, keys, "right") - 1, 0)
        hit = _inside(roots, keys)
        hit[around[k.contains(roots[around], keys)]] = True
        return roots[hit]

    def _outermost(self, family: Family) -> Keys:
        if family not in self._roots:
            self._roots[family] = k.outermost(self.edit.touched[family])
        return self._roots[family]

    def land(
        self, universe: Mapping[Family, SortedTable], touched: Mapping[Family, Keys]
    ) -> tuple[list[Change], dict[Family, Keys]]:
        """What holds of the change now that it is about these prefixes, and those of them to be looked at again."""
        changes, rest = [], {}
        for family in FAMILIES:
            change, others = self._changes.get(family), self._others.get(family)
            rest[family] = touched[family] if change is None else k.empty(family)
            if change is not None and others is not None:
                spots = k.outermost(k.union(others, self._trees[family]))
                change = change.apart_from(spots, universe[family])
                rest[family] = touched[family][_inside(touched[family], spots)]
            if change is not None:
                changes.append(change)
        return changes, rest


def _inside(keys: Keys, outer: Keys | None) -> Flags:
    """Which of sorted keys are in one of sorted, disjoint prefixes."""
    found = np.zeros(len(keys), np.bool_)
    if outer is not None and len(outer):
        found[k.ranges(*k.spans(keys, outer))] = True
    return found
