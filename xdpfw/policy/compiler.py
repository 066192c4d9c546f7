# SPDX-License-Identifier: Apache-2.0
"""Sets and policy into the smallest list of map operations (see `ops.py` for how the tables hang together).

A change that packets can see in one place only is one store, one insert or one delete. Any other is prepared in the
generation that nobody reads, and becomes visible by a flip. What is referred to is written before what refers to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Protocol

import numpy as np

from xdpfw.model.errors import MapFull
from xdpfw.model.limits import Limits
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import FAMILIES, Family, Prefix
from xdpfw.policy import hits as h
from xdpfw.policy import keys as k
from xdpfw.policy.claims import distinct
from xdpfw.policy.hits import Bases, Hits, ReadLeaves
from xdpfw.policy.leaves import Dying, Leaves
from xdpfw.policy.memberships import Memberships, MembershipsFull
from xdpfw.policy.ops import ClearLeaves, Grace, Ids, Keys
from xdpfw.policy.plan import Change, Outcome, Plan
from xdpfw.policy.sets import Sets
from xdpfw.policy.table import SortedTable
from xdpfw.policy.tables import Tables
from xdpfw.policy.universe import NODE, NOTHING, Region, owns, region, whole

__all__ = ["Adopted", "Bases", "Compiler", "Plan", "ReadLeaves"]

CHUNK = 50_000
"""Prefixes that one announcing or retiring plan handles."""

RULE_SETS = 4
"""Sets named by rules whose every combination has its class from the start."""


class Directory(Protocol):
    """What the tables hold already: prefixes, their leaves, the membership of each in the generation in force."""

    @property
    def keys(self) -> dict[Family, Keys]: ...
    @property
    def leaves(self) -> dict[Family, Ids]: ...
    @property
    def memberships(self) -> dict[Family, Ids]: ...


class Adopted(Protocol):
    """The tables as they are found at a start (`kernel.port.Started`)."""

    @property
    def adopted(self) -> bool: ...
    @property
    def generation(self) -> int: ...
    @property
    def directory(self) -> Directory: ...
    @property
    def memberships(self) -> Ids: ...
    @property
    def classes(self) -> Ids: ...


class Compiler:
    """What the packet path's tables hold, and how to get them to hold something else. One plan at a time."""

    def __init__(
        self, limits: Limits, started: Adopted, bases: Mapping[tuple[int, bytes], tuple[int, int]] | None = None
    ) -> None:
        """`started`: what `Kernel.start` found. `bases`: as saved; of no use unless the kernel's state was adopted."""
        found = started.directory
        self._limits = limits
        self._memberships = Memberships(limits.memberships + 1, started.memberships, started.classes)
        self._universe = {family: _adopted(family, found) for family in FAMILIES}
        self._leaves = Leaves(limits.leaves + 1, np.concatenate([found.leaves[family] for family in FAMILIES]))
        self._tables = Tables(started.generation, limits)
        self._hosts = {family: int(k.is_host(found.keys[family]).sum()) for family in FAMILIES}
        self._surplus = sum(map(len, self._universe.values()))
        self._sets, self._policy = Sets.initial(), Policy()
        self._hits = Hits(bases or {} if started.adopted else {}, self._memberships)
        for family in FAMILIES:
            self._tables.put(found.leaves[family], found.memberships[family])

    @property
    def bases(self) -> Bases:
        """To be saved with every change: without them, an adopted kernel's counters belong to nobody."""
        return self._hits.bases

    @property
    def generation(self) -> int:
        return self._tables.generation

    def used(self) -> dict[str, int]:
        """How full the tables are."""
        return {
            "leaves": self._leaves.used,
            "hosts4": self._hosts[4],
            "hosts6": self._hosts[6],
            "memberships": len(self._memberships),
            "classes": len(self._memberships.classes) - 1,
        }

    # plans

    def compile_all(self, sets: Sets, policy: Policy) -> Iterator[Plan]:
        """From what was adopted (or nothing) to these sets, in one flip. Execute and commit each plan before asking
        for the next. Raises MapFull before the first."""
        claimed = {family: _claimed(sets, family) for family in FAMILIES}
        absent = {family: k.without(keys, self._universe[family].array()["key"]) for family, keys in claimed.items()}
        self.check(absent)
        if self._surplus:
            # An earlier life may have deleted prefixes without waiting for packets, or clearing, any more.
            yield Plan((Grace(), ClearLeaves(self._leaves.free_ids())), Outcome())
        for family in FAMILIES:
            for first in range(0, len(absent[family]), CHUNK):
                yield self.announce({family: absent[family][first : first + CHUNK]})
        yield self._first(sets, policy)
        while (retired := self.retire()) is not None:
            yield retired

    def check(self, touched: Mapping[Family, Keys]) -> None:
        """Raises MapFull unless all prefixes that are not there yet fit: ask before they are announced in chunks."""
        absent = {family: keys[~self._universe[family].find(keys)[1]] for family, keys in touched.items()}
        for family, keys in absent.items():
            self._room_for_hosts(family, keys)
        self._leaves.peek(sum(map(len, absent.values())))

    def announce(self, keys: Mapping[Family, Keys]) -> Plan:
        """Leaves for prefixes to come, holding what covers them today: no packet sees a difference."""
        regions = []
        for family, wanted in keys.items():
            universe = self._universe[family]
            absent = wanted[~universe.find(wanted)[1]]
            if len(absent):
                nothing = np.zeros(len(absent), np.uint32)
                regions.append(region(universe, family, absent, nothing, nothing > 0, None))
        return self._assembled(regions, self._sets, self._policy)

    def plan(
        self, sets: Sets, touched: Mapping[Family, Keys], *, policy: Policy | None = None, keep_leaves: bool = False
    ) -> Plan:
        """From the sets committed last to these, which differ in nothing but `touched`.

        With `keep_leaves`, prefixes that nobody claims any more stay in the tables until `retire`. Raises MapFull
        before anything happens.
        """
        try:
            regions = self._regions(sets, touched, keep_leaves)
        except MembershipsFull:
            if not self._sweep():
                raise
            regions = self._regions(sets, touched, keep_leaves)
        return self._assembled(regions, sets, policy or self._policy)

    def retire(self, limit: int = CHUNK) -> Plan | None:
        """Take out leaves that no set holds (left by `keep_leaves`, or by an announcement that came to nothing), some
        at a time; None when there are none."""
        for family in FAMILIES if self._surplus else ():
            unowned = _unowned(self._universe[family], limit)
            if len(unowned):
                nothing = np.zeros(len(unowned), np.uint32)
                gone = region(self._universe[family], family, unowned, nothing, nothing == 0, None)
                return self._assembled([gone], self._sets, self._policy)
        return None

    def settle(self) -> Plan | None:
        """Housekeeping for idle moments, until it answers None: a grace period for what was deleted, then clearing."""
        if self._leaves.dying:
            return Plan((Grace(),), Outcome(graced=True))
        if len(self._leaves.dead):
            return Plan((ClearLeaves(self._leaves.dead),), Outcome(cleared=self._leaves.dead))
        return None

    # outcomes

    def commit(self, plan: Plan, read_leaves: ReadLeaves) -> None:
        """The plan was executed. Counters are read only where an entry's share of them changed hands; should reading
        fail, all but those shares is as it should be."""
        done, before = plan.outcome, self._sets
        self._memberships.written()
        buried = self._leaves.graced() if done.graced or len(done.reclaimed) else []
        # What is reclaimed was among the ids to choose from, what is cleared at the end was not.
        self._leaves.cleared(done.reclaimed)
        self._leaves.take(sum(len(change.leaves) for change in done.changes))
        self._leaves.cleared(done.cleared)
        self._sets, self._policy = done.sets or self._sets, done.policy or self._policy
        deleted = [self._resize(change) for change in done.changes]
        self._tables.commit(plan)
        if done.first:
            self._memberships.release()
        if not len(done.reclaimed):  # else they are cleared by now, and what came in late is lost with them
            for batch in buried:
                late = h.counted(read_leaves, batch.leaves) - batch.counts
                self._hits.fold(before, batch.family, batch.keys, late)
        for change, batch in zip(done.changes, deleted, strict=True):
            if not done.first:
                self._hits.change(change.region, self._sets, read_leaves)
            if len(batch.leaves):
                batch.counts[:] = h.counted(read_leaves, batch.leaves)
                self._hits.fold(self._sets, batch.family, batch.keys, batch.counts)
        if done.sets is not None:
            self._hits.keep_sets(done.sets)

    def abort(self, plan: Plan) -> None:
        """The plan failed before its flip, and its inserts were undone."""
        self._tables.abort(plan)

    def _resize(self, change: Change) -> Dying:
        """The universe and its sizes after a change; answers the leaves that are deleted, none of them counted yet."""
        moved, (keys, leaves) = change.region, change.deleted
        self._universe[change.family] = moved.updated(self._universe[change.family], change.leaves)
        self._hosts[change.family] += int(k.is_host(change.inserted).sum()) - int(k.is_host(keys).sum())
        after = int(((moved.new_own == 0) & ~moved.gone).sum())
        self._surplus += after - int(((moved.own == 0) & moved.there).sum())
        batch = Dying(change.family, keys, leaves, np.zeros((len(leaves), 2), np.int64))
        if len(leaves):
            self._leaves.dying.append(batch)
        return batch

    # counters

    def hits(self, sets: Sets, name: str, prefixes: Sequence[Prefix], read_leaves: ReadLeaves) -> list[tuple[int, int]]:
        """Packets and bytes of entries (which must be in the set)."""
        set_id = sets.info(name).id
        found: dict[bytes, tuple[int, int]] = {}
        for family, keys in k.pack(prefixes).items():
            if len(keys):
                counts = h.of_entries(self._universe[family], sets.table(set_id, family), family, keys, read_leaves)
                found |= {k.padded(key, family): tuple(row) for key, row in zip(keys, counts.tolist(), strict=True)}
        return [self._hits.sum(set_id, key, found[key]) for key in map(k.key_of, prefixes)]

    def totals(self, sets: Sets, read_leaves: ReadLeaves) -> dict[str, tuple[int, int]]:
        """Packets and bytes of every set: what its entries, also those gone since, have counted."""
        counts = h.of_sets(self._universe, self._memberships, read_leaves)
        return {info.name: self._hits.total(info.id, counts.get(info.id, (0, 0))) for info in sets.infos()}

    # parts

    def _first(self, sets: Sets, policy: Policy) -> Plan:
        """Everything that is in the tables, of which only the prefixes and leaves are known."""
        wanted = dict.fromkeys(name for rule in policy.rules for name in rule.set_names if name in sets.defined)
        ids = [info.id for info in sets.infos()]
        named = sorted(sets.defined[name].id for name in list(wanted)[:RULE_SETS])
        for size in range(2, len(named) + 1):
            ids_of = combinations(named, size)
            for members in ids_of:
                self._memberships.class_of(frozenset(members))
        for set_id in ids:
            self._memberships.class_of(frozenset((set_id,)))
        regions = []
        for family, universe in self._universe.items():
            if len(universe):
                keys = np.ascontiguousarray(universe.array()["key"])
                own = owns(sets, family, keys, self._memberships, every=True)
                regions.append(whole(universe, family, own, self._memberships.combine))
        return self._assembled(regions, sets, policy, first=True)

    def _regions(self, sets: Sets, touched: Mapping[Family, Keys], keep_leaves: bool) -> list[Region]:
        regions = []
        for family, wanted in touched.items():
            if not len(wanted):
                continue
            universe = self._universe[family]
            rows, there = universe.find(wanted)
            before = np.where(there, rows["own"], np.uint32(0))
            after = owns(sets, family, wanted, self._memberships)
            differ = before != after
            if differ.any():
                own = after[differ]
                gone = (own == 0) & (not keep_leaves)
                regions.append(region(universe, family, wanted[differ], own, gone, self._memberships.combine))
        return regions

    def _assembled(self, regions: Sequence[Region], sets: Sets, policy: Policy, *, first: bool = False) -> Plan:
        ids = self._leaves.peek(sum(int(part.added.sum()) for part in regions))
        changes = []
        for part in regions:
            self._room_for_hosts(part.family, part.keys[part.added])
            count = int(part.added.sum())
            changes.append(Change(part, ids[:count]))
            ids = ids[count:]
        return self._tables.assemble(
            changes,
            sets,
            policy,
            self._memberships,
            self._leaves,
            old_policy=self._policy,
            first=first,
        )

    def _room_for_hosts(self, family: Family, keys: Keys) -> None:
        size = self._limits.hosts4 if family == 4 else self._limits.hosts6
        if self._hosts[family] + int(k.is_host(keys).sum()) > size:
            raise MapFull(
                f"the table of IPv{family} hosts is full: it has room for {size:,} addresses over all sets;"
                f" raise hosts{family} under [limits] in the configuration file"
            )

    def _sweep(self) -> bool:
        """Forget memberships that nothing refers to; answers whether there were any."""
        before = len(self._memberships)
        used: set[int] = set()
        for universe in self._universe.values():
            for block in universe.blocks():
                used.update(np.unique(block["own"]).tolist(), np.unique(block["cover"]).tolist())
        self._memberships.sweep(used)
        self._tables.memberships_swept = True
        return len(self._memberships) < before


def _adopted(family: Family, directory: Directory) -> SortedTable:
    """The universe as it is found: prefixes that nobody is known to own, with what they hold today."""
    keys = directory.keys[family]
    rows = np.zeros(len(keys), NODE[family])
    rows["key"], rows["leaf"], rows["cover"] = keys, directory.leaves[family], directory.memberships[family]
    parent = k.parents(family, keys)
    rows["above"] = np.where(parent < 0, NOTHING, k.lengths(keys)[parent])
    return SortedTable.of(rows)


def _claimed(sets: Sets, family: Family) -> Keys:
    """Every prefix in any set."""
    tables = (table for (_, of), table in sets.tables.items() if of == family)
    return k.union(k.empty(family), *(distinct(table.array()["key"]) for table in tables))


def _unowned(universe: SortedTable, limit: int) -> Keys:
    """Some prefixes that no set holds."""
    found: list[Keys] = []
    for block in universe.blocks():
        if limit <= 0:
            break
        keys = block["key"][block["own"] == 0][:limit]
        limit -= len(keys)
        found.append(keys)
    return np.concatenate(found) if found else np.empty(0, universe.dtype["key"])
