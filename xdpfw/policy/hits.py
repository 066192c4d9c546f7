# SPDX-License-Identifier: Apache-2.0
"""Entry hits from leaf counters.

An entry owns the leaves for which it is its set's longest match; its hits are what they have counted plus a base. The
base makes up for changes of ownership, so that an entry starts at 0, goes on when others come and go, and a set's sum
never shrinks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.model.prefix import FAMILIES, Family, Prefix
from xdpfw.policy import claims as c
from xdpfw.policy import keys as k
from xdpfw.policy.keys import Flags, Index
from xdpfw.policy.memberships import Memberships
from xdpfw.policy.ops import Ids, Keys
from xdpfw.policy.sets import Sets
from xdpfw.policy.table import SortedTable
from xdpfw.policy.universe import Region

Counts = npt.NDArray[np.int64]
ReadLeaves = Callable[[Ids], npt.NDArray[np.uint64]]
"""Packets and bytes, (n, 2), of leaf ids: `Kernel.read_leaves`."""

Bases = dict[tuple[int, bytes], tuple[int, int]]
"""(set id, prefix key) -> packets and bytes to add to what the entry's leaves have counted; the key GONE stands for
entries of the set that are gone. May be negative: an entry starts at 0 over leaves that have counted before."""

GONE = b""


def counted(read_leaves: ReadLeaves, leaves: Ids) -> Counts:
    return read_leaves(leaves).view(np.int64)


@dataclass(frozen=True, slots=True)
class Ownership:
    """One set's entries in a region: for each row the row of the entry that owns it, or -1; and the same of entries
    that were there before and still are."""

    before: Index
    after: Index
    kept: Index


class Hits:
    """The bases, and how they change."""

    def __init__(self, bases: Mapping[tuple[int, bytes], tuple[int, int]], memberships: Memberships) -> None:
        self.bases: Bases = dict(bases)
        self._memberships = memberships

    def add(self, set_id: int, key: bytes, count: tuple[int, int]) -> None:
        packets, size = self.bases.get((set_id, key), (0, 0))
        total = packets + count[0], size + count[1]
        if total == (0, 0):
            self.bases.pop((set_id, key), None)
        else:
            self.bases[set_id, key] = total

    def sum(self, set_id: int, key: bytes, count: tuple[int, int]) -> tuple[int, int]:
        """An entry's hits, from what its leaves have counted."""
        packets, size = self.bases.get((set_id, key), (0, 0))
        return max(packets + count[0], 0), max(size + count[1], 0)

    def total(self, set_id: int, count: tuple[int, int]) -> tuple[int, int]:
        """A set's hits, from what all leaves that it covers have counted."""
        bases = [base for (of, _), base in list(self.bases.items()) if of == set_id]
        return max(sum(b[0] for b in bases) + count[0], 0), max(sum(b[1] for b in bases) + count[1], 0)

    def keep_sets(self, sets: Sets) -> None:
        """Forget sets that are gone."""
        ids = {info.id for info in sets.infos()}
        for key in [key for key in self.bases if key[0] not in ids]:
            del self.bases[key]

    def change(self, region: Region, sets: Sets, read_leaves: ReadLeaves) -> None:
        """Entries came or went: those that came start at 0, those that stay go on."""
        changing = region.trees_of(np.flatnonzero(region.own != region.new_own))
        there = changing[region.there[changing]]
        if not len(there):
            return
        counts = counted(read_leaves, region.leaf[there])
        hot = np.flatnonzero(counts[:, 0])
        # Where nothing was counted, there is nothing to hand over.
        rows = region.trees_of(np.union1d(there[hot], self._based(region, changing)))
        if not len(rows):
            return
        every = np.zeros((len(region.keys), 2), np.int64)
        every[there[hot]] = counts[hot]
        trees = region.only(rows)
        for set_id in self._affected(trees) & {info.id for info in sets.infos()}:
            self._change_of(set_id, trees, sets, every[rows])

    def _based(self, region: Region, rows: Index) -> Index:
        """Those of some rows that have a base, whatever the set."""
        keys = {key for _, key in self.bases if len(key) == k.KEY_BYTES[region.family]}
        if not keys:
            return rows[:0]
        return rows[k.member(region.keys[rows], k.array_of(region.family, sorted(keys)))]

    def _affected(self, region: Region) -> set[int]:
        """Sets of which an entry came or went."""
        differ = region.own != region.new_own
        pairs = np.unique(region.own[differ].astype(np.int64) << 32 | region.new_own[differ])
        found: set[int] = set()
        for pair in pairs.tolist():
            found |= self._memberships.sets_of(pair >> 32) ^ self._memberships.sets_of(pair & 0xFFFFFFFF)
        return found

    def _change_of(self, set_id: int, region: Region, sets: Sets, counts: Counts) -> None:
        was, now = (_flags(self._memberships, set_id, own) for own in (region.own, region.new_own))
        owner = Ownership(*(_owners(region, flags) for flags in (was, now, was & now)))
        outer = _Outer(set_id, sets, region, self._memberships)
        self._move_bases(set_id, region, np.flatnonzero(was & ~now), owner, outer)
        differ = region.there & counts.any(axis=1) & (owner.before != owner.after)
        unowned = differ & (owner.after < 0) & ~outer.exists
        if unowned.any():
            self.add(set_id, GONE, _sum(counts[unowned]))
        fresh = np.flatnonzero(differ & (owner.after >= 0) & ~was[owner.after])
        for row, (packets, size) in _sums(owner.after[fresh], counts[fresh]):
            entry = owner.after[fresh[row]]
            self.add(set_id, k.padded(region.keys[entry], region.family), (-packets, -size))
        lost = fresh[(owner.before[fresh] >= 0) | outer.exists[fresh]]
        # Rows with the same entry around them that stays, or else with the same root.
        group = np.where(owner.kept[lost] >= 0, owner.kept[lost], -1 - outer.root[lost])
        for row, total in _sums(group, counts[lost]):
            self.add(set_id, _kept(int(lost[row]), region, owner, outer), total)

    def _move_bases(self, set_id: int, region: Region, removed: Index, owner: Ownership, outer: _Outer) -> None:
        """What the base of a removed entry says goes to the entry around it that stays."""
        based = sorted(key for of, key in self.bases if of == set_id and len(key) == k.KEY_BYTES[region.family])
        if not based:
            return
        removed = removed[k.member(region.keys[removed], k.array_of(region.family, based))]
        for row in removed.tolist():
            base = self.bases.pop((set_id, k.padded(region.keys[row], region.family)))
            self.add(set_id, _kept(row, region, owner, outer), base)

    def fold(self, sets: Sets, family: Family, keys: Keys, counts: Counts) -> None:
        """Leaves are gone: what they have counted belongs to the entries that cover them now."""
        hot = np.flatnonzero(counts.any(axis=1))
        if not len(hot):
            return
        for info in sets.infos():
            table = sets.table(info.id, family)
            if not len(table):
                continue
            covered, entries = innermost(table, family, keys[hot])
            for row, total in _sums(entries[covered], counts[hot[covered]]):
                self.add(info.id, k.padded(entries[covered][row], family), total)


def _flags(memberships: Memberships, set_id: int, own: Ids) -> Flags:
    """Which rows are entries of a set."""
    found, inverse = np.unique(own, return_inverse=True)
    return np.array([set_id in memberships.sets_of(number) for number in found.tolist()], np.bool_)[inverse]


def _owners(region: Region, flags: Flags) -> Index:
    owner = np.full(len(region.keys), -1)
    for here, parent in region.levels:
        inherited = -1 if parent[0] < 0 else owner[parent]
        owner[here] = np.where(flags[here], here, inherited)
    return owner


def _kept(row: int, region: Region, owner: Ownership, outer: _Outer) -> bytes:
    """The entry around a row that was there before and stays, or GONE."""
    kept = int(owner.kept[row])
    return k.padded(region.keys[kept], region.family) if kept >= 0 else outer.key(row) or GONE


def _sums(groups: npt.NDArray[Any], counts: Counts) -> list[tuple[int, tuple[int, int]]]:
    """For each group a row that is in it, and the sum of its rows."""
    _, rows, of = np.unique(groups, return_index=True, return_inverse=True)
    sums = np.zeros((len(rows), 2), np.int64)
    np.add.at(sums, of, counts)
    return [(row, (packets, size)) for row, (packets, size) in zip(rows.tolist(), sums.tolist(), strict=True)]


def _sum(counts: Counts) -> tuple[int, int]:
    packets, size = counts.sum(axis=0).tolist()
    return packets, size


class _Outer:
    """The entry of a set that contains a whole root of a region: whether there is one, for each row below the root;
    and which, found when it is asked for."""

    def __init__(self, set_id: int, sets: Sets, region: Region, memberships: Memberships) -> None:
        self._table, self._region = sets.table(set_id, region.family), region
        self.root = np.cumsum(region.is_root) - 1
        self.exists = _flags(memberships, set_id, region.outer_cover)[self.root]
        self._found: dict[int, bytes | None] = {}

    def key(self, row: int) -> bytes | None:
        if not self.exists[row]:
            return None
        root = int(self.root[row])
        if root not in self._found:
            key = self._region.keys[self._region.levels[0][0][root]]
            self._found[root] = innermost_around(self._table, k.prefix_of(self._region.family, key))
        return self._found[root]


def innermost_around(table: SortedTable, prefix: Prefix) -> bytes | None:
    """The longest entry that contains a prefix and is not itself."""
    if not len(table) or not prefix.length:
        return None
    wider = k.masked(np.frombuffer(prefix.address, np.uint8)[None, :], np.array([prefix.length - 1], np.uint8))
    found, entries = innermost(table, prefix.family, wider)
    return k.padded(entries[0], prefix.family) if found[0] else None


def innermost(table: SortedTable, family: Family, keys: Keys) -> tuple[Flags, Keys]:
    """For each prefix key the longest entry that contains it, or is it; and whether there is one."""
    found, entries = np.zeros(len(keys), np.bool_), np.zeros(len(keys), k.KEY[family])
    pending, probes = np.arange(len(keys)), keys
    while len(pending):
        wanted, of = np.unique(probes, return_inverse=True)
        rows, below = table.floor(c.claim_keys(wanted, 0xFFFF))
        entry = c.prefix_keys(rows["key"])
        hit = below & k.contains(entry, wanted)
        found[pending[hit[of]]] = True
        entries[pending[hit[of]]] = entry[of][hit[of]]
        # Whatever contains a probe contains the entry before it as well, for that stands between them: so it is no
        # longer than what the two have in common.
        wider = k.masked(k.octets(wanted)[:, :-1], k.common_lengths(entry, wanted))
        again = (below & ~hit)[of]
        pending, probes = pending[again], wider[of][again]
    return found, entries


def of_entries(
    universe: SortedTable, table: SortedTable, family: Family, keys: Keys, read_leaves: ReadLeaves
) -> Counts:
    """What the leaves of some entries (sorted keys) of one set have counted; nothing for what is no entry."""
    outer = k.outermost(keys)
    rows, begin, end = universe.spans(outer, k.last_keys(outer))
    rows = rows[k.ranges(begin, end)]
    claims, first, last = table.spans(c.claim_keys(outer, 0), c.claim_keys(k.last_keys(outer), 0xFFFF))
    entries = c.distinct(claims["key"][k.ranges(first, last)])
    sums = np.zeros((len(rows) + 1, 2), np.int64)
    if len(rows):
        np.cumsum(counted(read_leaves, rows["leaf"]), axis=0, out=sums[1:])
    inside = sums[k.search_any(rows["key"], k.last_keys(entries), "right")] - sums[k.search(rows["key"], entries)]
    parent = k.parents(family, entries)
    owned = inside.copy()
    nested = parent >= 0
    np.subtract.at(owned, parent[nested], inside[nested])
    found = np.zeros((len(keys), 2), np.int64)
    known = k.member(keys, entries)
    found[known] = owned[k.search(entries, keys[known])]
    return found


def of_sets(
    universe: Mapping[Family, SortedTable], memberships: Memberships, read_leaves: ReadLeaves
) -> dict[int, tuple[int, int]]:
    """What the leaves that each set covers have counted."""
    totals: dict[int, tuple[int, int]] = {}
    for rows in (part for family in FAMILIES for part in universe[family].parts()):
        counts = counted(read_leaves, rows["leaf"])
        hot = np.flatnonzero(counts[:, 0])
        cover = rows["cover"][hot]
        for row, (packets, size) in _sums(cover, counts[hot]):
            for set_id in memberships.sets_of(int(cover[row])):
                before = totals.get(set_id, (0, 0))
                totals[set_id] = before[0] + packets, before[1] + size
    return totals
