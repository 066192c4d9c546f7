# SPDX-License-Identifier: Apache-2.0
"""A change on its way: operations for the packet path, and what the compiler knows once they are done."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Family
from xdpfw.policy import keys as k
from xdpfw.policy.keys import Flags
from xdpfw.policy.ops import Ids, Keys, Op
from xdpfw.policy.sets import Sets
from xdpfw.policy.table import SortedTable, gather
from xdpfw.policy.universe import Region

NO_IDS: Ids = np.empty(0, np.uint32)


@dataclass(frozen=True, slots=True)
class Change:
    """A region with the leaf ids of the prefixes that join. `moved`: leaves that hold another membership afterwards,
    new ones and those of prefixes about to be deleted among them, and which. `after`: the universe then, if it is
    known."""

    region: Region
    leaves: Ids
    moved: tuple[Ids, Ids]
    after: SortedTable | None = None

    @classmethod
    def of(cls, region: Region, leaves: Ids = NO_IDS, after: SortedTable | None = None) -> Change:
        return cls(region, leaves, _moved(region, leaves, region.changed), after)

    def apart_from(self, spots: Keys, table: SortedTable) -> Change:
        """The same change, but for what lies in sorted, disjoint prefixes: there the universe is what `table` says."""
        assert self.after is not None
        rows = k.ranges(*k.spans(self.region.keys, spots))
        ids, values = self.moved
        elsewhere = np.ones(int(ids.max(initial=0)) + 1, np.bool_)
        at = self.region.leaf[rows]
        elsewhere[at[at < len(elsewhere)]] = False
        stays = elsewhere[ids]
        now, begin, end = table.spans(spots, k.last_keys(spots))
        then, first, last = self.after.spans(spots, k.last_keys(spots))
        after = self.after.merge(gather(now, k.ranges(begin, end)), then["key"][k.ranges(first, last)])
        return Change(self.region.unchanged(rows), self.leaves, (ids[stays], values[stays]), after)

    @property
    def family(self) -> Family:
        return self.region.family

    @property
    def inserted(self) -> Keys:
        return self.region.keys[self.region.added]

    @property
    def today(self) -> Ids:
        """What covers the inserted prefixes before the change."""
        return self.region.cover[self.region.added]

    @property
    def deleted(self) -> tuple[Keys, Ids]:
        return self.region.keys[self.region.gone], self.region.leaf[self.region.gone]

    @property
    def instead(self) -> Ids:
        """Leaves of the longest prefixes that contain those to be deleted and stay."""
        ids = self.region.leaf.copy()
        ids[self.region.added] = self.leaves
        return self.region.instead(ids)

    @property
    def moved_to_stay(self) -> tuple[Ids, Ids]:
        """`moved` without prefixes about to be deleted."""
        return _moved(self.region, self.leaves, self.region.changed & ~self.region.gone)


def _moved(region: Region, leaves: Ids, rows: Flags) -> tuple[Ids, Ids]:
    ids = np.concatenate((leaves, region.leaf[rows]))
    return ids, np.concatenate((region.new_cover[region.added], region.new_cover[rows]))


@dataclass(frozen=True, slots=True)
class Piece:
    """New prefixes on their way into the tables, with what covers them today."""

    family: Family
    keys: Keys
    leaves: Ids
    covers: Ids

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, which: slice | Flags) -> Piece:
        return Piece(self.family, self.keys[which], self.leaves[which], self.covers[which])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What committing or aborting a plan has to remember.

    `graced`: a grace period passes before anything is deleted; `reclaimed`: dead leaves to be cleared before anything
    else, `cleared`: after all else. `lands`: a long change ends. `first`: from state of an earlier life, whose entries
    are not known.
    """

    changes: tuple[Change, ...] = ()
    announced: tuple[Piece, ...] = ()
    sets: Sets | None = None
    policy: Policy | None = None
    flips: bool = False
    graced: bool = False
    cleared: Ids = field(default_factory=lambda: NO_IDS)
    reclaimed: Ids = field(default_factory=lambda: NO_IDS)
    lands: bool = False
    first: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations to execute in order (there may be none), then `commit`, or `abort` when they failed. One plan at a
    time."""

    ops: tuple[Op, ...]
    outcome: Outcome = field(repr=False)
