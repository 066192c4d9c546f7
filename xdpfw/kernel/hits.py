# SPDX-License-Identifier: Apache-2.0
"""Hits of leaves: what their counters say, and what packets have noted that is not added to these yet (bpf/account.h).

A CPU may add what it has noted at any time. So a reader looks at the notes before and after it reads counters, and
reads those again of which it cannot tell; a leaf's hits are never fewer than any reader before was told.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts
from xdpfw.kernel.maps import Map, View
from xdpfw.policy.ops import Ids

Counts = npt.NDArray[np.uint64]
"""(n, 2): packets and bytes"""

_LEAF, _LENGTH_SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)


class Hits:
    """`counters` have a part of `ids` records for each CPU, or for several of them; `pending` is what each CPU noted,
    None in tables of versions that added at once."""

    def __init__(self, counters: Map, pending: Map | None, ids: int) -> None:
        self._counters, self._pending, self._ids = counters, pending, ids
        self._shards = counters.spec.entries // ids

    def read(self, leaves: Ids) -> Counts:
        """Of each of these leaves, on all CPUs."""
        begin = self._noted()
        moved = np.zeros(len(begin), np.bool_)
        counts = self._counted(leaves)
        while True:
            now = self._noted()
            on = (now["drained"] != begin["drained"]) & ~moved
            if not on.any():
                break
            moved |= on
            again = np.flatnonzero(np.isin(leaves, _flat(begin[moved])[0]))
            counts[again] = self._counted(leaves[again])
        return counts + _sums(now[~moved], leaves)

    def clear(self, leaves: Ids) -> None:
        """Of leaves at which no packet counts any more. What is noted of them still will be added: they begin so far
        below zero."""
        begin = [_sums(part, leaves) for part in self._by_shard()]
        while True:
            for shard, noted in enumerate(begin):
                self._write(shard, leaves, np.uint64(0) - noted)
            now = [_sums(part, leaves) for part in self._by_shard()]
            if all(np.array_equal(*both) for both in zip(begin, now, strict=True)):
                return
            begin = now

    def clear_all(self, free: npt.NDArray[np.bool_]) -> None:
        """The same, by a flag for each leaf."""
        used = np.zeros(self._ids, np.bool_)
        used[_flat(self._noted())[0]] = True
        with self._counters.mapped() as live:
            for part in live.reshape(-1, self._ids):
                used |= part["packets"] != 0
        self.clear(np.flatnonzero(free & used).astype(np.uint32))

    def preload(self, leaves: Ids, counts: Counts) -> None:
        """Counts to go on from, for leaves that no packet counts at yet."""
        self._write(0, leaves, counts)

    def _counted(self, leaves: Ids) -> Counts:
        summed = np.zeros((len(leaves), 2), np.uint64)
        for shard in range(self._shards):
            summed += self._counters.read(self._at(shard, leaves)).view("u8").reshape(-1, 2)
        return summed

    def _write(self, shard: int, leaves: Ids, counts: Counts) -> None:
        records = np.ascontiguousarray(counts, np.uint64).view(layouts.LEAF_COUNTER).reshape(-1)
        self._counters.write(self._at(shard, leaves), records)

    def _at(self, shard: int, leaves: Ids) -> npt.NDArray[np.int64]:
        return shard * self._ids + leaves.astype(np.int64)

    def _by_shard(self) -> Iterator[View]:
        noted = self._noted()
        return (noted[shard :: self._shards] for shard in range(self._shards))

    def _noted(self) -> View:
        """Of each CPU, at a moment at which it was not adding."""
        live = self._pending.view if self._pending else np.empty(0, layouts.PENDING)
        rows = live.copy()
        unsure = np.arange(len(rows))
        while True:
            drained = rows["drained"][unsure]
            unsure = unsure[(drained & 1 != 0) | (live["drained"][unsure] != drained)]
            if not len(unsure):
                return rows
            rows[unsure] = live[unsure]


def _flat(rows: View) -> tuple[Ids, Counts]:
    """The leaf of every hit, and what it adds."""
    there = np.arange(layouts.PENDING_HITS) < rows["count"][:, None]
    hits = rows["hit"][there]
    return (hits & _LEAF).astype(np.uint32), np.stack((np.ones(len(hits), np.uint64), hits >> _LENGTH_SHIFT), 1)


def _sums(rows: View, leaves: Ids) -> Counts:
    """What these notes add to each of these leaves."""
    noted, adds = _flat(rows)
    which, at = np.unique(noted, return_inverse=True)
    summed = np.zeros((len(which) + 1, 2), np.uint64)
    np.add.at(summed, at, adds)
    if not len(which):
        return np.zeros((len(leaves), 2), np.uint64)
    place = np.minimum(np.searchsorted(which, leaves), len(which) - 1)
    return summed[np.where(which[place] == leaves, place, len(which))]
