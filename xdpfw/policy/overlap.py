# SPDX-License-Identifier: Apache-2.0
"""Whether sets have addresses in common, with one another or with a prefix: two prefixes either nest or are disjoint,
so it is enough to look for an entry of one inside an entry of the other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xdpfw.model.prefix import FAMILIES, Family, Prefix
from xdpfw.policy import claims, keys
from xdpfw.policy.ops import Keys
from xdpfw.policy.sets import Sets


def overlap(sets: Sets, one: str, other: str) -> Prefix | None:
    """An entry of set `one` that shares addresses with set `other`, or None. Vectorised; sorted arrays throughout."""
    counts = sets.count(one), sets.count(other)
    for family in (family for family in FAMILIES if counts[0][family] and counts[1][family]):
        a, b = _all_keys(sets, one, family), _all_keys(sets, other, family)
        if (found := _first_overlap(a, b)) is not None:
            return keys.prefix_of(family, found)
    return None


def covering(sets: Sets, name: str, prefix: Prefix) -> Prefix | None:
    """The most specific entry of a set that contains all of a prefix, which may be itself."""
    table = sets.table(sets.info(name).id, prefix.family)
    if len(claims.exactly(table, prefix)):
        return prefix
    around = claims.around(prefix)
    _, begin, end = claims.spans(table, around)
    there = np.flatnonzero(begin < end)
    return keys.prefix_of(prefix.family, around[there[-1]]) if len(there) else None


def _all_keys(sets: Sets, name: str, family: Family) -> Keys:
    parts = [part for of, part in sets.iter_keys(name) if of == family]
    return np.concatenate(parts) if parts else keys.empty(family)


def _first_overlap(a: Keys, b: Keys) -> bytes | None:
    both = keys.union(a, b)
    in_a, in_b = keys.member(both, a), keys.member(both, b)
    starts, ends = np.arange(len(both)), keys.subtree_ends(both)
    holds_b = in_a & (_inside(in_b, starts, ends) > 0)
    if holds_b.any():
        return bytes(both[np.argmax(holds_b)])
    holds_a = in_b & (_inside(in_a, starts, ends) > 0)
    if holds_a.any():
        first = int(np.argmax(holds_a))
        return bytes(both[first + int(np.argmax(in_a[first:]))])
    return None


def _inside(flags: npt.NDArray[np.bool_], starts: keys.Index, ends: keys.Index) -> keys.Index:
    """How many flags are set in each range of indices."""
    sums = np.concatenate(([0], np.cumsum(flags)))
    return np.asarray(sums[ends] - sums[starts])
