# SPDX-License-Identifier: Apache-2.0
"""Perform map operations (policy/ops.py) on the shared tables, so that every packet sees the old state or the new."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.ban_maps import BanMaps
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.keys import are_hosts, host_keys, trie_keys
from xdpfw.kernel.limit_maps import LimitMaps
from xdpfw.kernel.maps import Map, View
from xdpfw.kernel.rule_maps import RuleMaps
from xdpfw.kernel.tables import Tables
from xdpfw.kernel.tiers import Tiers, tiers_of
from xdpfw.model.errors import MapFull
from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy.match import RuleTables
from xdpfw.policy.ops import (
    ClearLeaves,
    ClearRules,
    DeletePrefixes,
    Flip,
    Grace,
    Ids,
    InsertPrefixes,
    Keys,
    Op,
    WriteLeaves,
    WriteMemberships,
    WritePolicy,
    WriteVectors,
)

BATCH = 65536
LARGE = 1024
"""Prefixes that are worth a thread."""
ALLOCATION_RETRIES, ALLOCATION_PAUSE = 20, 0.005
"""The kernel refills its stock of map elements in the background; a batch can outrun it for a moment."""


class InterfaceTables(Protocol):
    """What a change of the rules does to the maps that each interface has of its own."""

    def write_vectors(self, generation: int, rules: RuleTables) -> None: ...
    def forget_slots(self, slots: Ids) -> None: ...


class Applier:
    """One writer. `fill[map]` counts the prefixes in hosts and tries.

    Two things need a grace period that the operations do not ask for, because they only need it sometimes: writing
    into a generation that packets may still be reading since the last flip, and inserting when the kernel could hand
    out the memory of an element that a packet is still looking at.
    """

    def __init__(
        self, tables: Tables, clock: KernelClock, wait: Callable[[], None], interfaces: InterfaceTables
    ) -> None:
        self._tables, self._clock, self._wait, self._interfaces = tables, clock, wait, interfaces
        self.rules, self.limits, self.bans = RuleMaps(tables), LimitMaps(tables, clock), BanMaps(tables, clock)
        # A daemon before this one may have flipped or deleted a moment ago.
        self._flipped = self._deleted = True
        self._order = threading.Lock()
        self._order.acquire()
        self.fill = {f"{kind}{family}": 0 for family in FAMILIES for kind in ("hosts", "trie")}
        self.seeds: View = tables.maps["seeds"].view.copy()
        """By which the tables were filled."""
        self.tiers = tiers_of(tables.maps, tables.path, tables.ids, tables.covers)

    def execute(self, ops: Sequence[Op], revision: int) -> None:
        """Raises MapFull or KernelError; if that happens before the flip, what was inserted is taken out again."""
        meta = self._tables.meta
        meta["applying"] = 1
        inserted: list[InsertPrefixes] = []
        flipped = done = False
        try:
            for group in _groups(ops):
                self._perform_together(group, inserted)
                flipped = flipped or isinstance(group[0], Flip)
            done = True
        finally:
            if not done and not flipped:
                for undo in reversed(inserted):
                    self._delete(undo.family, undo.keys, undo.leaves)
                meta["applying"] = 0
        meta["revision"] = revision
        meta["applying"] = 0

    def _perform_together(self, ops: Sequence[Op], inserted: list[InsertPrefixes]) -> None:
        """Operations that have nothing to do with one another, at the same time: the kernel's part of them needs no
        interpreter. Those that inserted are added to `inserted`, also when another one failed."""

        def perform(op: Op) -> None:
            self._perform(op)
            if isinstance(op, InsertPrefixes):
                inserted.append(op)

        _all_of([partial(perform, op) for op in ops], at_once=True)

    def _perform(self, op: Op) -> None:
        match op:
            case WriteMemberships(ids, classes, nexts, deadlines):
                records = np.zeros(len(ids), layouts.MEMBERSHIP)
                records["class"], records["next"] = classes, nexts
                records["deadline"] = self._clock.deadlines(deadlines)
                self._tables.maps["membership"].write(ids, records)
            case WriteLeaves(generation, ids, memberships):
                self._before_writing(generation)
                self._tables.write_leaves(generation, ids, memberships)
            case WritePolicy(generation):
                self._before_writing(generation)
                self.rules.write(op)
                self.limits.write(generation, op.rules)
                self.bans.write(generation, op.rules)
                self._interfaces.write_vectors(generation, op.rules)
            case WriteVectors(generation, numbers, vectors):
                self._before_writing(generation)
                self.rules.write_vectors(generation, numbers, vectors)
            case InsertPrefixes(family, keys, leaves):
                self._insert(family, keys, leaves)
            case DeletePrefixes(family, keys, leaves, instead, more):
                self._delete(family, keys, leaves, instead, more=more)
            case Flip(generation):
                self._flip(generation)
            case Grace():
                self.grace()
            case ClearLeaves(ids):
                self._tables.hits.clear(ids)
            case ClearRules(slots):
                self._interfaces.forget_slots(slots)
                self.rules.clear(slots)
                self.limits.clear(slots)
                self.bans.clear(slots)

    # generations

    def grace(self) -> None:
        self._wait()
        self._flipped = self._deleted = False

    # what is put right

    def rewrite(self, *ops: Op) -> None:
        """The same as what is in force, or should be."""
        self.rules.forget()
        for op in ops:
            self._perform(op)

    def put_right(self, table: Map, gone: View, keys: View, leaves: Ids, count: int) -> None:
        """Keys of hosts or a trie that do not belong there, and those that are missing or lead elsewhere; there are so
        many of them then. Raises MapFull."""
        self.grace()
        for at in range(len(gone)):
            with contextlib.suppress(libbpf.Refused):
                libbpf.map_delete(table.fd, gone[at : at + 1])
        if len(keys):
            _, error = libbpf.map_update_batch(table.fd, keys, np.ascontiguousarray(leaves, np.uint32))
            if error is not None:
                raise _explain(error, table) from error
        self._deleted = True
        self.fill[table.spec.name] = count
        self._tables.leaves_moved()

    def _before_writing(self, generation: int) -> None:
        if self._flipped and generation != self._tables.generation:
            self.grace()

    def _flip(self, generation: int) -> None:
        # All that was written must be visible before the flip is: a release and an acquire of a lock order the two.
        self._order.release()
        self._order.acquire()
        self._tables.control["generation"] = generation
        self._flipped = True

    # prefixes

    def _insert(self, family: Family, keys: Keys, leaves: Ids, *, again: bool = False) -> None:
        if self._deleted:
            self.grace()
        self._tables.list_leaves(family, keys, leaves, layouts.INSERTING)
        done: list[tuple[Map, Keys]] = []
        begun: list[Tiers] = []

        def into_tiers() -> None:
            begun.append(self.tiers[family])
            self.tiers[family].insert(keys, leaves, again=again)

        try:
            _all_of([lambda: self._into_maps(family, keys, leaves, done), into_tiers], at_once=len(keys) >= LARGE)
        except (MapFull, libbpf.Refused):
            for table, undo_keys in done:
                self._delete_from(table, family, undo_keys)
            for tiers in begun:
                tiers.delete(keys, leaves)
            self._tables.leaves_moved()
            self._tables.list_leaves(family, keys, leaves, layouts.FREE)
            raise
        self._tables.leaves_moved()
        self._tables.list_leaves(family, keys, leaves, layouts.LIVE)

    def _into_maps(self, family: Family, keys: Keys, leaves: Ids, done: list[tuple[Map, Keys]]) -> None:
        """`done` takes what was inserted, also when it is not all."""
        for table, chosen_keys, chosen_leaves in self._split(family, keys, leaves):
            count, error = self._insert_into(table, _map_keys(table, family, chosen_keys), chosen_leaves)
            done.append((table, chosen_keys[:count]))
            if error is not None:
                raise _explain(error, table) from error

    def _insert_into(self, table: Map, keys: Keys, leaves: Ids) -> tuple[int, libbpf.Refused | None]:
        values = np.ascontiguousarray(leaves, np.uint32)
        start, patience = 0, ALLOCATION_RETRIES
        while start < len(keys):
            part = slice(start, start + BATCH)
            count, error = libbpf.map_update_batch(table.fd, keys[part], values[part])
            start += count
            self.fill[table.spec.name] += count
            if error is None:
                continue
            if error.errno != errno.ENOMEM or not patience:
                return start, error
            patience -= 1
            time.sleep(ALLOCATION_PAUSE)
        return len(keys), None

    def _delete(
        self, family: Family, keys: Keys, leaves: Ids, instead: Ids | None = None, *, more: bool = False
    ) -> None:
        self._tables.list_leaves(family, keys, leaves, layouts.DELETING)
        for table, chosen_keys, _ in self._split(family, keys, leaves):
            self._delete_from(table, family, chosen_keys)
        self.tiers[family].delete(keys, leaves, instead, more=more)
        self._tables.leaves_moved()
        self._tables.list_leaves(family, keys, leaves, layouts.FREE)

    def _delete_from(self, table: Map, family: Family, keys: Keys) -> None:
        """A key that is not there is as good as deleted."""
        if not len(keys):
            return
        self._deleted = True
        packed = _map_keys(table, family, keys)
        start = 0
        while start < len(packed):
            count, error = libbpf.map_delete_batch(table.fd, packed[start : start + BATCH])
            self.fill[table.spec.name] -= count
            start += count
            if error is not None:
                if error.errno != errno.ENOENT:
                    raise error
                start += 1

    def adopt(self) -> None:
        """Finish what a killed daemon had begun to insert or to delete, by inserting: no packet can tell, because such
        a prefix carries what covers it anyway. Then everything in the directory is live.

        Leaves that are in none are free: after a grace period their counters are cleared.

        Raises:
            MapFull: there is no room for them.
        """
        self._tables.brief.adopt()
        for family in FAMILIES:
            self.tiers[family].adopt(*self._tables.live(family))
        for family, (keys, leaves) in self._tables.listed(layouts.INSERTING, layouts.DELETING).items():
            there = self._hosts_there(family, keys)
            self.tiers[family].insert(keys[there], leaves[there], again=True)
            self._tables.list_leaves(family, keys[there], leaves[there], layouts.LIVE)
            self._insert(family, keys[~there], leaves[~there], again=True)
        self.fill = self._tables.count_live()
        self._tables.leaves_moved()
        self.grace()
        self._tables.clear_free_counts()

    def _hosts_there(self, family: Family, keys: Keys) -> npt.NDArray[np.bool_]:
        """Which keys are hosts that the hash holds. Writing one again would free its element for reuse under a packet's
        eyes; a trie, which waits before it frees, may be written again."""
        table = self._tables.maps[f"hosts{family}"]
        there, value = are_hosts(family, keys), np.zeros(1, np.uint32)
        for at in np.flatnonzero(there):
            there[at] = libbpf.map_lookup(table.fd, host_keys(family, keys[at : at + 1]), value)
        return there

    def _split(self, family: Family, keys: Keys, leaves: Ids) -> list[tuple[Map, Keys, Ids]]:
        """Which map holds which keys: hosts by the hash, the rest by the trie."""
        hosts = are_hosts(family, keys)
        maps = self._tables.maps
        return [
            (maps[f"hosts{family}"], keys[hosts], leaves[hosts]),
            (maps[f"trie{family}"], keys[~hosts], leaves[~hosts]),
        ]


def _all_of(jobs: Sequence[Callable[[], None]], *, at_once: bool) -> None:
    """One after the other until one fails, or all at once, each in a thread. Raises what the first of them raises that
    fails."""
    if not at_once or len(jobs) == 1:
        for job in jobs:
            job()
        return
    with ThreadPoolExecutor(len(jobs)) as threads:
        done = [threads.submit(job) for job in jobs]
    for each in done:
        each.result()


def _groups(ops: Sequence[Op]) -> Iterator[list[Op]]:
    """In order, and those that may be performed at the same time together."""
    group: list[Op] = []
    for op in ops:
        if group and not _apart(group[0], op, len(group)):
            yield group
            group = []
        group.append(op)
    if group:
        yield group


def _apart(first: Op, op: Op, before: int) -> bool:
    """Very many prefixes of one family to insert, or to delete, have nothing to do with those of the other."""
    both = type(op) is type(first) and before < len(FAMILIES)
    if not both or not isinstance(op, InsertPrefixes | DeletePrefixes):
        return False
    assert isinstance(first, InsertPrefixes | DeletePrefixes)
    return first.family != op.family and min(len(first.keys), len(op.keys)) >= LARGE


def _map_keys(table: Map, family: Family, keys: Keys) -> Keys:
    return host_keys(family, keys) if table.spec.name.startswith("hosts") else trie_keys(family, keys)


def _explain(error: libbpf.Refused, table: Map) -> Exception:
    if error.errno not in (errno.ENOSPC, errno.E2BIG, errno.ENOMEM):
        return error
    spec = table.spec
    if error.errno == errno.ENOMEM:
        return MapFull(f"no memory for more entries in {spec.name} (of at most {spec.entries})")
    return MapFull(f"{spec.name} is full ({spec.entries} entries); raise the limit {spec.setting}")
