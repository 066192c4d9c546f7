# SPDX-License-Identifier: Apache-2.0
"""Sets and policy into the smallest list of map operations (see `ops.py` for how the tables hang together).

A change that packets can see in one place only is one store, one insert or one delete. Any other is prepared in the
generation that nobody reads, and becomes visible by a flip. What is referred to is written before what refers to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from xdpfw.model.errors import MapFull
from xdpfw.model.limits import Limits
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import FAMILIES, Family, Prefix
from xdpfw.policy import hits as h
from xdpfw.policy import keys as k
from xdpfw.policy.adoption import Adopted, adopted
from xdpfw.policy.claims import distinct
from xdpfw.policy.expected import Expected, expected
from xdpfw.policy.hits import Bases, Hits, ReadLeaves
from xdpfw.policy.leaves import Dying, Leaves
from xdpfw.policy.long import LongChange
from xdpfw.policy.memberships import Call, Memberships, MembershipsFull, directly
from xdpfw.policy.ops import ClearLeaves, Grace, Keys
from xdpfw.policy.plan import Change, Outcome, Piece, Plan
from xdpfw.policy.sets import Edit, Sets, differing
from xdpfw.policy.table import SortedTable
from xdpfw.policy.tables import Tables
from xdpfw.policy.universe import Region, owns, region

__all__ = ["Adopted", "Bases", "Compiler", "Plan", "ReadLeaves"]

CHUNK = 50_000
"""Prefixes that one announcing or retiring plan handles."""

RULE_SETS = 4
"""Sets named by rules whose every combination has its class from the start."""


class Compiler:
    """What the packet path's tables hold, and how to get them to hold something else. One plan at a time."""

    def __init__(
        self, limits: Limits, started: Adopted, bases: Mapping[tuple[int, bytes], tuple[int, int]] | None = None
    ) -> None:
        """`started`: what `Kernel.start` found. `bases`: as saved; of no use unless the kernel's state was adopted."""
        found = started.directory
        self._limits = limits
        self._memberships = Memberships(limits.memberships + 1, started.memberships, started.classes)
        self._universe = {family: adopted(family, found) for family in FAMILIES}
        self._leaves = Leaves(limits.leaves + 1, np.concatenate([found.leaves[family] for family in FAMILIES]))
        self._tables = Tables(started.generation, limits)
        self._hosts = {family: int(k.is_host(found.keys[family]).sum()) for family in FAMILIES}
        self._surplus = sum(map(len, self._universe.values()))
        self._long: LongChange | None = None
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

    def expected(self) -> Expected:
        """What the tables hold, while no long change is under way."""
        return expected(self._universe, self._tables, self._memberships, self._sets, self._policy)

    # plans

    def compile_all(self, sets: Sets, policy: Policy) -> Iterator[Plan]:
        """From what was adopted (or nothing) to these sets, in one flip. Execute and commit each plan before asking
        for the next. Raises MapFull before the first."""
        self._prepare_classes(sets, policy)
        touched = {family: k.union(_claimed(sets, family), self._keys(family)) for family in FAMILIES}
        change = self.begin(Edit(sets, touched))
        change.look()
        self._room_for(change)
        if self._surplus:
            # An earlier life may have deleted prefixes without waiting for packets, or clearing, any more.
            yield Plan((Grace(), ClearLeaves(self._leaves.free_ids())), Outcome())
        self.reserve(change)
        while (piece := self.piece(CHUNK)) is not None:
            yield piece
        change.finish()
        landing = self.land(sets, touched, policy=policy, first=True)
        assert landing is not None
        yield landing
        self.end()
        while (retired := self.retire()) is not None:
            yield retired

    # a change of very many prefixes: begin, look, reserve, piece by piece, land, end

    def begin(self, edit: Edit, call: Call = directly) -> LongChange:
        """From the sets committed last to those of the edit. `call` runs a function in the thread that owns this."""
        self._long = LongChange(self._universe, edit, self._memberships, call)
        return self._long

    def make_room(self, change: LongChange) -> Plan | None:
        """What has to be done before there are leaves for the change, until it answers None."""
        return self.settle() if sum(map(len, change.added().values())) > self._leaves.free else None

    def reserve(self, change: LongChange) -> None:
        """Take leaves for all new prefixes of a change that was looked at. Raises MapFull, and nothing is taken."""
        change.reserved(self._leaves.reserve(self._room_for(change)))

    def piece(self, limit: int) -> Plan | None:
        """Insert some of the new prefixes, holding what covers them today: no packet sees a difference."""
        pieces = self._long.piece(limit) if self._long else []
        return self._tables.announce(pieces) if pieces else None

    def land(
        self,
        sets: Sets,
        touched: Mapping[Family, Keys],
        *,
        policy: Policy | None = None,
        most: int | None = None,
        first: bool = False,
    ) -> Plan | None:
        """The end of the change: from the sets committed last to these, which may differ a little from those of the
        edit by now, since others wrote too. None when more than `most` prefixes had to be looked at again."""
        change = self._long
        assert change is not None
        self._make_way({family: differing(change.edit.sets, sets, family) for family in FAMILIES})
        changes, rest = change.land(self._universe, touched)
        if most is not None and sum(map(len, rest.values())) > most:
            return None
        changes += self._added(self._planned(sets, rest, keep_leaves=True))
        plan = self._assembled(changes, sets, policy or self._policy, first=first)
        return replace(plan, outcome=replace(plan.outcome, lands=True))

    def end(self) -> None:
        """Unless it has landed, the change shall not: what it announced goes with `retire`."""
        if self._long is not None:
            for piece in self._long.announced():
                self._join(piece)
            self._forget()

    def _forget(self) -> None:
        if self._long is not None:
            self._leaves.give_back(self._long.unused())
        self._long = None

    # any other change

    def plan(self, sets: Sets, touched: Mapping[Family, Keys], *, policy: Policy | None = None) -> Plan:
        """From the sets committed last to these, which differ in nothing but `touched`. Raises MapFull before anything
        happens."""
        self._make_way(touched)
        changes = self._added(self._planned(sets, touched, keep_leaves=False))
        return self._assembled(changes, sets, policy or self._policy)

    def retire(self, limit: int = CHUNK) -> Plan | None:
        """Take out leaves that no set holds (left over from a long change, landed or not), some at a time; None when
        there are none."""
        for family in FAMILIES if self._surplus else ():
            unowned = _unowned(self._universe[family], limit)
            if len(unowned):
                nothing = np.zeros(len(unowned), np.uint32)
                gone = region(self._universe[family], family, unowned, nothing, nothing == 0, None)
                more = len(unowned) == limit
                return self._assembled([Change.of(gone)], self._sets, self._policy, more=more)
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
        self._memberships.written(plan.ops)
        buried = self._leaves.graced() if done.graced or len(done.reclaimed) else []
        # What is reclaimed was among the ids to choose from, what is cleared at the end was not.
        self._leaves.cleared(done.reclaimed)
        self._leaves.take(sum(len(change.leaves) for change in done.changes))
        self._leaves.cleared(done.cleared)
        self._sets, self._policy = done.sets or self._sets, done.policy or self._policy
        self._take_in(done.announced)
        families = [change.family for change in done.changes]
        deleted = [self._resize(change, alone=families.count(change.family) == 1) for change in done.changes]
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
        if done.lands:
            self._forget()

    def abort(self, plan: Plan) -> None:
        """The plan failed before its flip, and its inserts were undone."""
        self._tables.abort(plan)

    def _take_in(self, announced: Sequence[Piece]) -> None:
        """Prefixes that are in the tables. They join the universe when somebody has to do with them, or in the end."""
        for piece in announced:
            self._tables.announced(piece)
            self._hosts[piece.family] += int(np.count_nonzero(k.is_host(piece.keys)))
            self._surplus += len(piece)
        if announced and self._long is not None:
            self._long.advance(announced)

    def _make_way(self, touched: Mapping[Family, Keys]) -> None:
        """Somebody is about to change these prefixes while a long change is under way."""
        if self._long is not None:
            for family, keys in touched.items():
                piece = self._long.disturb(family, keys)
                if piece is not None:
                    self._join(piece)

    def _join(self, piece: Piece) -> None:
        """What was announced becomes part of the universe."""
        if len(piece):
            nothing, table = np.zeros(len(piece), np.uint32), self._universe[piece.family]
            part = region(table, piece.family, piece.keys, nothing, nothing > 0, None)
            self._universe[piece.family] = part.updated(table, piece.leaves)

    def _resize(self, change: Change, *, alone: bool) -> Dying:
        """The universe and its sizes after a change; answers the leaves that are deleted, none of them counted yet."""
        moved, family, (keys, leaves) = change.region, change.family, change.deleted
        if change.after is not None:
            self._universe[family] = change.after
        else:
            self._universe[family] = moved.updated(self._universe[family], change.leaves, alone=alone)
        self._hosts[family] += int(k.is_host(change.inserted).sum()) - int(k.is_host(keys).sum())
        after = int(((moved.new_own == 0) & ~moved.gone).sum())
        self._surplus += after - int(((moved.own == 0) & moved.there).sum())
        batch = Dying(family, keys, leaves, np.zeros((len(leaves), 2), np.int64))
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

    def _prepare_classes(self, sets: Sets, policy: Policy) -> None:
        """Sets alone, and those of the first rules together, have their class from the start."""
        wanted = dict.fromkeys(name for rule in policy.rules for name in rule.set_names if name in sets.defined)
        named = sorted(sets.defined[name].id for name in list(wanted)[:RULE_SETS])
        for size in range(2, len(named) + 1):
            ids_of = combinations(named, size)
            for members in ids_of:
                self._memberships.class_of(frozenset(members))
        for info in sets.infos():
            self._memberships.class_of(frozenset((info.id,)))

    def _planned(self, sets: Sets, touched: Mapping[Family, Keys], *, keep_leaves: bool) -> list[Region]:
        try:
            return self._regions(sets, touched, keep_leaves)
        except MembershipsFull:
            if not self.sweep():
                raise
            return self._regions(sets, touched, keep_leaves)

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

    def _added(self, regions: Sequence[Region]) -> list[Change]:
        """Regions with leaves for the prefixes that join. Raises MapFull."""
        ids = self._leaves.peek(sum(int(np.count_nonzero(part.added)) for part in regions))
        changes = []
        for part in regions:
            self._room_for_hosts(part.family, part.keys[part.added])
            count = int(np.count_nonzero(part.added))
            changes.append(Change.of(part, ids[:count]))
            ids = ids[count:]
        return changes

    def _assembled(
        self, changes: Sequence[Change], sets: Sets, policy: Policy, *, first: bool = False, more: bool = False
    ) -> Plan:
        return self._tables.assemble(
            changes,
            sets,
            policy,
            self._memberships,
            self._leaves,
            old_policy=self._policy,
            first=first,
            more=more,
        )

    def _keys(self, family: Family) -> Keys:
        return np.ascontiguousarray(self._universe[family].array()["key"])

    def _room_for(self, change: LongChange) -> int:
        """Raises MapFull; answers how many leaves the change needs."""
        added = change.added()
        for family, keys in added.items():
            self._room_for_hosts(family, keys)
        count = sum(map(len, added.values()))
        self._leaves.peek(count)
        return count

    def _room_for_hosts(self, family: Family, keys: Keys) -> None:
        size = self._limits.hosts4 if family == 4 else self._limits.hosts6
        if self._hosts[family] + int(k.is_host(keys).sum()) > size:
            raise MapFull(
                f"the table of IPv{family} hosts is full: it has room for {size:,} addresses over all sets;"
                f" raise hosts{family} under [limits] in the configuration file"
            )

    def sweep(self) -> bool:
        """Forget memberships that nothing refers to; answers whether there were any."""
        before = len(self._memberships)
        used = set[int]() if self._long is None else set(self._long.interned)
        for universe in self._universe.values():
            for block in universe.blocks():
                used.update(np.unique(block["own"]).tolist(), np.unique(block["cover"]).tolist())
        self._memberships.sweep(used)
        self._tables.memberships_swept = True
        return len(self._memberships) < before


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
