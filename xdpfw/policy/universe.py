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
        return table.merge(rows[written], self.keys[self.gone])


def owns(sets: Sets, family: Family, keys: Keys, memberships: Memberships) -> Ids:
    """The membership of the claims exactly at each of the sorted keys. Raises MapFull."""
    code = np.zeros(len(keys), np.int64)
    made: list[Combination] = [()]
    for set_id in sorted(info.id for info in sets.infos()):
        if (set_id, family) not in sets.tables:
            continue
        expires = c.effective(c.on(sets.tables[set_id, family], keys), keys)
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
    table: SortedTable,
    family: Family,
    keys: Keys,
    new_own: Ids,
    delete: Flags,
    combine: Callable[[Ids, Ids], Ids] | None,
) -> Region:
    """What a change of these sorted keys means for them and for what lies inside them.

    `delete`: keys that leave the universe. Keys that are not in it join it, whatever they own. Without `combine`,
    nobody owns the keys before and after: prefixes come and go, but nothing is covered by anything else.
    """
    roots = k.outermost(keys)
    rows, begin, end = table.spans(roots, k.last_keys(roots))
    old = rows[k.ranges(begin, end)]
    every = k.union(old["key"], keys) if len(old) else keys
    size = len(every)
    at_old, at_keys = k.search(every, old["key"]), k.search(every, keys)
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
    levels = k.levels(k.subtree_ends(every))
    outer, found = around(table, every[levels[0][0]])
    outer_cover = np.where(found, outer["cover"], np.uint32(0))
    cover_after = np.zeros(size, np.uint32)
    above = np.full(size, NOTHING, np.uint8)
    lengths = k.lengths(every)
    for here, parent in levels:
        if parent[0] < 0:
            cover_before = cover_now = outer_cover
            above[here] = np.where(found, k.lengths(outer["key"]), np.uint8(NOTHING))
        else:
            cover_before, cover_now = columns["cover"][parent], cover_after[parent]
            above[here] = np.where(gone[parent], above[parent], lengths[parent])
        columns["cover"][here] = np.where(there[here], columns["cover"][here], cover_before)
        cover_after[here] = combine(own_after[here], cover_now) if combine else columns["cover"][here]
    return Region(
        family, every, **columns, new_own=own_after, new_cover=cover_after, there=there, gone=gone,
        above=above, old_above=old_above, levels=levels, outer_cover=outer_cover,
    )  # fmt: skip
