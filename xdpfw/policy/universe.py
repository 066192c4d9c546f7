# SPDX-License-Identifier: Apache-2.0
"""The union of all sets' prefixes of one family, each with its leaf and with what covers it.

`own` is the membership of the claims exactly at a prefix, `cover` the membership of all claims that contain it, which
is what its leaf holds. A change looks at the prefixes that it touches and at what lies inside them, nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy import claims as c
from xdpfw.policy import keys as k
from xdpfw.policy.keys import Flags, Index
from xdpfw.policy.memberships import Call, Combination, Memberships, directly, distinct_codes, rounded
from xdpfw.policy.ops import Ids, Keys
from xdpfw.policy.sets import Sets
from xdpfw.policy.table import Records, SortedTable

NODE: dict[Family, np.dtype[Any]] = {
    family: np.dtype(
        [("key", f"S{k.KEY_BYTES[family]}"), ("leaf", "u4"), ("own", "u4"), ("cover", "u4"), ("above", "u1")]
    )
    for family in FAMILIES
}
"""One prefix. `above`: the length of the longest other prefix of the universe that contains it, or NOTHING."""

NOTHING = 255

Levels = list[tuple[Index, Index]]
Combine = Callable[[Ids, Ids], Ids]


@dataclass(frozen=True, slots=True)
class Region:
    """The prefixes that a change touches and all inside them, in order, as they were and as they will be.

    Rows that are not there before have leaf 0, and `cover` tells what covers them before. Rows that are `gone`
    after the change are still among them; their `new_cover` tells what covers them then. `levels` are those of the
    tree that they make; `outer_cover` tells what covers each of its roots from outside, `outer_leaf` the leaf of the
    longest prefix that does.
    """

    family: Family
    keys: Keys
    leaf: Ids
    own: Ids
    cover: Ids
    new_own: Ids
    new_cover: Ids
    there: Flags
    gone: Flags
    above: npt.NDArray[np.uint8]
    old_above: npt.NDArray[np.uint8]
    levels: Levels
    outer_cover: Ids
    outer_leaf: Ids

    @property
    def is_root(self) -> Flags:
        roots = np.zeros(len(self.keys), np.bool_)
        roots[self.levels[0][0]] = True
        return roots

    @property
    def added(self) -> Flags:
        return ~self.there

    @property
    def changed(self) -> Flags:
        """Leaves in the tables whose membership becomes another one."""
        moved: Flags = self.there & (self.cover != self.new_cover)
        return moved

    @property
    def differing(self) -> Flags:
        """What is not as it was, in whatever way."""
        owned: Flags = (self.own != self.new_own) | (self.above != self.old_above)
        return owned | self.changed | self.added | self.gone

    def updated(self, table: SortedTable, leaves: Ids, *, alone: bool = True) -> SortedTable:
        """The universe after the change; `leaves` are the ids of the added rows. `alone`: nothing else of it changes
        at the same time."""
        moved = self.differing
        if alone and np.count_nonzero(self.there) == len(table) and table.is_wide(int(np.count_nonzero(moved))):
            return SortedTable.of(self._rows(leaves, ~self.gone))
        return table.merge(self._rows(leaves, moved & ~self.gone), self.keys[self.gone])

    def _rows(self, leaves: Ids, which: Flags) -> Records:
        at = slice(None) if which.all() else np.flatnonzero(which)
        ids = self.leaf.copy()
        ids[self.added] = leaves
        rows = np.empty(len(self.keys) if isinstance(at, slice) else len(at), NODE[self.family])
        rows["key"], rows["leaf"], rows["own"] = self.keys[at], ids[at], self.new_own[at]
        rows["cover"], rows["above"] = self.new_cover[at], self.above[at]
        return rows

    def announced(self, leaves: Ids) -> Region:
        """The same change once the added prefixes are in the tables, as leaves that hold what covers them."""
        ids = self.leaf.copy()
        ids[self.added] = leaves
        return replace(self, leaf=ids, there=np.ones(len(ids), np.bool_), old_above=self.above)

    def trees_of(self, rows: Index) -> Index:
        """All rows of the trees that some sorted rows are in."""
        if len(self.levels) < 2 or not len(rows):
            return rows
        tree = np.cumsum(self.is_root) - 1
        chosen = np.zeros(len(self.levels[0][0]), np.bool_)
        chosen[tree[rows]] = True
        return np.flatnonzero(chosen[tree])

    def instead(self, ids: Ids) -> Ids:
        """For each prefix that is gone, the leaf of the longest one that contains it and stays, 0 where there is none.
        `ids`: the leaves of all rows."""
        found = np.zeros(len(self.keys), np.uint32)
        for here, parent in self.levels:
            if parent[0] < 0:
                found[here] = self.outer_leaf
            else:
                found[here] = np.where(self.gone[parent], found[parent], ids[parent])
        return found[self.gone]

    def unchanged(self, rows: Index) -> Region:
        """The same change, but these rows stay as they are."""
        new_own, new_cover = self.new_own.copy(), self.new_cover.copy()
        above, gone = self.above.copy(), self.gone.copy()
        new_own[rows], new_cover[rows], above[rows] = self.own[rows], self.cover[rows], self.old_above[rows]
        gone[rows] = False
        return replace(self, new_own=new_own, new_cover=new_cover, above=above, gone=gone)

    def only(self, rows: Index) -> Region:
        """Some whole trees."""
        if len(rows) == len(self.keys):
            return self
        place = np.full(len(self.keys), -1)
        place[rows] = np.arange(len(rows))
        levels = []
        for here, parent in self.levels:
            chosen = place[here] >= 0
            if chosen.any():
                levels.append((place[here[chosen]], np.where(parent[chosen] < 0, -1, place[parent[chosen]])))
        columns = ("keys", "leaf", "own", "cover", "new_own", "new_cover", "there", "gone", "above", "old_above")
        roots = place[self.levels[0][0]] >= 0
        kept = {name: getattr(self, name).take(rows) for name in columns}
        return replace(
            self, levels=levels, outer_cover=self.outer_cover[roots], outer_leaf=self.outer_leaf[roots], **kept
        )


def owns(sets: Sets, family: Family, keys: Keys, memberships: Memberships, call: Call = directly) -> Ids:
    """The membership of the claims exactly at each of the sorted keys. Raises MapFull."""
    code = np.zeros(len(keys), np.int64)
    made: list[Combination] = [()]
    for set_id in sorted(info.id for info in sets.infos()):
        if (set_id, family) not in sets.tables:
            continue
        table = sets.tables[set_id, family]
        expires = c.until(table, keys)
        here = np.flatnonzero(expires != c.ABSENT)
        if not len(here):
            continue
        times, time_of = distinct_codes(rounded(expires[here]))
        pairs, pair_of = distinct_codes(code[here] * len(times) + time_of)
        code[here] = len(made) + pair_of
        deadlines = times.tolist()
        made += [(*made[pair // len(deadlines)], (set_id, deadlines[pair % len(deadlines)])) for pair in pairs.tolist()]
    used, code_of = distinct_codes(code)
    numbers = call(lambda: [memberships.intern(made[number]) for number in used.tolist()])
    return np.array(numbers, np.uint32)[code_of]


def around(table: SortedTable, keys: Keys) -> tuple[Records, Flags]:
    """For sorted keys, the row of the longest other prefix that contains each, and whether there is one."""
    rows, found = table.floor(_just_before(keys))
    found &= k.lengths(keys) > 0
    rows = rows.copy()
    climbing = np.flatnonzero(found)
    while len(climbing):
        climbing = climbing[~k.contains(rows["key"][climbing], keys[climbing])]
        top = rows["above"][climbing] == NOTHING
        found[climbing[top]] = False
        climbing = climbing[~top]
        if len(climbing):
            here = rows[climbing]
            upward = k.masked(k.octets(here["key"])[:, :-1], here["above"])
            order = k.order(upward)
            rows[climbing[order]] = table.find(upward[order])[0]
    return rows, found


def _just_before(keys: Keys) -> Keys:
    """A key between each of the keys and all that come before it."""
    octets = k.octets(keys).copy()
    octets[:, -1] -= octets[:, -1] > 0
    return k.from_octets(octets)


def region(
    table: SortedTable, family: Family, keys: Keys, new_own: Ids, delete: Flags, combine: Combine | None
) -> Region:
    """What a change of these sorted keys means for them and for what lies inside them.

    `delete`: keys that leave the universe. Keys that are not in it join it, whatever they own. Without `combine`,
    nobody owns the keys before and after: prefixes come and go, but nothing is covered by anything else.
    """
    if table.is_wide(len(keys)):
        return wide(table, family, keys, lambda _: new_own, delete, combine)
    roots = k.outermost(keys)
    rows, begin, end = table.spans(roots, k.last_keys(roots))
    old = rows[k.ranges(begin, end)]
    outer, found = around(table, roots)
    outer = outer.copy()
    outer["cover"][~found] = outer["leaf"][~found] = 0
    outer_length = np.where(found, k.lengths(outer["key"]), np.uint8(NOTHING))
    merged = k.together(np.ascontiguousarray(old["key"]), keys)
    return _resolved(family, old, merged, new_own, delete, combine, outer, outer_length)


def wide(
    table: SortedTable,
    family: Family,
    keys: Keys,
    new_own: Callable[[Ids], Ids],
    delete: Flags,
    combine: Combine | None,
) -> Region:
    """The region of a change of these sorted keys, looked at as one of the whole universe. `new_own`: who owns the
    keys after the change, from who does before."""
    old = table.array()
    merged = k.together(np.ascontiguousarray(old["key"]), keys)
    own = np.zeros(len(keys), np.uint32)
    own[merged.common] = old["own"][merged.among[merged.common]]
    return _resolved(family, old, merged, new_own(own), delete, combine, np.zeros(1, NODE[family]), np.array([NOTHING]))


def _resolved(
    family: Family,
    old: Records,
    merged: k.Together,
    new_own: Ids,
    delete: Flags,
    combine: Combine | None,
    outer: Records,
    outer_length: npt.NDArray[Any],
) -> Region:
    """Old rows and touched keys of a region, with what is around each of its roots, or all of them."""
    every = merged.keys
    size = len(every)
    columns = {name: np.zeros(size, np.uint32) for name in ("leaf", "own", "cover")}
    for name, column in columns.items():
        column[merged.first] = old[name]
    there, gone = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    there[merged.first] = True
    gone[merged.second] = delete
    own_after = columns["own"].copy()
    own_after[merged.second] = new_own
    old_above = np.full(size, NOTHING, np.uint8)
    old_above[merged.first] = old["above"]
    cover_after, above = np.zeros(size, np.uint32), np.full(size, NOTHING, np.uint8)
    lengths, levels = k.lengths(every), k.levels(k.subtree_ends(every))
    outer_cover, outer_leaf = (np.broadcast_to(outer[name], len(levels[0][0])) for name in ("cover", "leaf"))
    for here, parent in levels:
        if parent[0] < 0:
            cover_before = cover_now = outer_cover
            above[here] = outer_length
        else:
            cover_before, cover_now = columns["cover"][parent], cover_after[parent]
            above[here] = np.where(gone[parent], above[parent], lengths[parent])
        columns["cover"][here] = np.where(there[here], columns["cover"][here], cover_before)
        cover_after[here] = combine(own_after[here], cover_now) if combine else columns["cover"][here]
    return Region(
        family, every, **columns, new_own=own_after, new_cover=cover_after, there=there, gone=gone,
        above=above, old_above=old_above, levels=levels, outer_cover=outer_cover, outer_leaf=outer_leaf,
    )  # fmt: skip
