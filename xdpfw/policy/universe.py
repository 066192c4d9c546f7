# SPDX-License-Identifier: Apache-2.0
"""The union of all sets' prefixes of one family, each with its leaf and with what covers it.

`own` is the membership of the claims exactly at a prefix, `cover` the membership of all claims that contain it, which
is what its leaf holds. A change looks at the prefixes that it touches and at what lies inside them, nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy import claims as c
from xdpfw.policy import keys as k
from xdpfw.policy.keys import Flags, Index
from xdpfw.policy.memberships import Combination, Memberships, distinct_codes, rounded
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
    tree that they make; `outer_cover` tells what covers each of its roots from outside.
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

    def updated(self, table: SortedTable, leaves: Ids) -> SortedTable:
        """The universe after the change; `leaves` are the ids of the added rows."""
        kept = ~self.gone
        moved = self.changed | (self.own != self.new_own) | (self.above != self.old_above)
        written = kept & (moved | self.added)
        rows = np.empty(len(self.keys), NODE[self.family])
        rows["key"], rows["leaf"], rows["own"] = self.keys, self.leaf, self.new_own
        rows["cover"], rows["above"] = self.new_cover, self.above
        rows["leaf"][self.added] = leaves
        if np.count_nonzero(self.there) == len(table):
            return SortedTable.of(rows[kept])
        return table.merge(rows[written], self.keys[self.gone])


def owns(sets: Sets, family: Family, keys: Keys, memberships: Memberships, *, every: bool = False) -> Ids:
    """The membership of the claims exactly at each of the sorted keys. Raises MapFull. `every`: no other prefix is
    claimed."""
    code = np.zeros(len(keys), np.int64)
    made: list[Combination] = [()]
    for set_id in sorted(info.id for info in sets.infos()):
        if (set_id, family) not in sets.tables:
            continue
        table = sets.tables[set_id, family]
        expires = c.effective(table.array() if every else c.on(table, keys), keys)
        here = np.flatnonzero(expires != c.ABSENT)
        if not len(here):
            continue
        times, time_of = distinct_codes(rounded(expires[here]))
        pairs, pair_of = distinct_codes(code[here] * len(times) + time_of)
        code[here] = len(made) + pair_of
        deadlines = times.tolist()
        made += [(*made[pair // len(deadlines)], (set_id, deadlines[pair % len(deadlines)])) for pair in pairs.tolist()]
    used, code_of = distinct_codes(code)
    return np.array([memberships.intern(made[number]) for number in used.tolist()], np.uint32)[code_of]


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
    roots = k.outermost(keys)
    rows, begin, end = table.spans(roots, k.last_keys(roots))
    old = rows[k.ranges(begin, end)]
    outer, found = around(table, roots)
    outer_cover = np.where(found, outer["cover"], np.uint32(0))
    outer_length = np.where(found, k.lengths(outer["key"]), np.uint8(NOTHING))
    return _resolved(family, old, keys, new_own, delete, combine, outer_cover, outer_length)


def whole(table: SortedTable, family: Family, new_own: Ids, combine: Combine) -> Region:
    """The region of a change that gives every prefix of the universe another owner."""
    old = table.array()
    keys = np.ascontiguousarray(old["key"])
    nothing = np.uint32(0), np.uint8(NOTHING)
    return _resolved(family, old, keys, new_own, np.zeros(len(keys), np.bool_), combine, *map(np.asarray, nothing))


def _resolved(
    family: Family,
    old: Records,
    keys: Keys,
    new_own: Ids,
    delete: Flags,
    combine: Combine | None,
    outer_cover: npt.NDArray[np.uint32],
    outer_length: npt.NDArray[np.uint8],
) -> Region:
    """Old rows and touched keys of a region, with what is around each of its roots."""
    every, at_old, at_keys = _together(old["key"], keys)
    size = len(every)
    columns = {name: np.zeros(size, np.uint32) for name in ("leaf", "own", "cover")}
    for name, column in columns.items():
        column[at_old] = old[name]
    there, gone = np.zeros(size, np.bool_), np.zeros(size, np.bool_)
    there[at_old] = True
    gone[at_keys] = delete
    own_after = columns["own"].copy()
    own_after[at_keys] = new_own
    old_above = np.full(size, NOTHING, np.uint8)
    old_above[at_old] = old["above"]
    cover_after, above = np.zeros(size, np.uint32), np.full(size, NOTHING, np.uint8)
    lengths, levels = k.lengths(every), k.levels(k.subtree_ends(every))
    outer_cover = np.broadcast_to(outer_cover, len(levels[0][0]))
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
        above=above, old_above=old_above, levels=levels, outer_cover=outer_cover,
    )  # fmt: skip


def _together(old: Keys, keys: Keys) -> tuple[Keys, Index | slice, Index | slice]:
    """Sorted union of sorted keys, and where both are in it."""
    if not len(old):
        return keys, slice(0), slice(None)
    if len(old) == len(keys) and (old == keys).all():
        return keys, slice(None), slice(None)
    every = k.union(old, keys)
    return every, k.search(every, old), k.search(every, keys)
