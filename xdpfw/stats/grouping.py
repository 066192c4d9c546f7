# SPDX-License-Identifier: Apache-2.0
"""Which slots of talker tables are the same talker's."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.port import TalkerTable
from xdpfw.stats.deltas import Counts, Indexes
from xdpfw.stats.ranking import Marks

_PIECE = 1 << 14

# Nobody outside can choose addresses whose digests collide.
_MULTIPLIERS = [np.uint64(secrets.randbits(64) | 1) for _ in range(2)]


@dataclass(frozen=True, slots=True)
class Grouping:
    """The n slots of one or more tables, counted through. A talker goes by one of its slots.

    `talkers`: (n,) those; `alone`: (n,) the slots of talkers that have no other; `shared`: all slots of the others,
    those of one talker together; `starts`: where in it each begins, with the slot that it goes by. `origins` and
    `tenures`: of the tables.
    """

    talkers: Marks
    alone: Marks
    shared: Indexes
    starts: Indexes
    origins: Sequence[int]
    tenures: Sequence[npt.NDArray[np.uint32]]

    @classmethod
    def of(cls, tables: Sequence[TalkerTable], like: Grouping | None = None) -> Grouping:
        """`like`: of a moment ago, which saves sorting when nobody came or went since."""
        origins, tenures = [table.origin for table in tables], [table.tenure for table in tables]
        if like and like.origins == origins and 0 not in origins and all(map(np.array_equal, like.tenures, tenures)):
            return like
        alone = talkers = joined([tenure != 0 for tenure in tenures], np.bool_)
        shared, starts = (_bucketwise if _alike(tables) else _overall)(tables, alone)
        if len(shared):
            alone, talkers = alone.copy(), alone.copy()
            alone[shared] = talkers[shared] = False
            talkers[shared[starts]] = True
        return cls(talkers, alone, shared, starts, origins, tenures)

    def slots_of(self, talkers: Indexes) -> tuple[Indexes, Indexes]:
        """All slots of these talkers, those of one together, and where each begins."""
        ends = np.append(self.starts[1:], len(self.shared))
        number = np.empty(len(self.alone), np.intp)
        number[self.shared[self.starts]] = np.arange(len(self.starts))
        parts = [
            np.array([talker]) if self.alone[talker] else self.shared[self.starts[group] : ends[group]]
            for talker, group in zip(talkers.tolist(), number[talkers].tolist(), strict=True)
        ]
        return joined(parts, np.intp), np.cumsum([0, *map(len, parts)])[: len(parts)]


def joined(arrays: Sequence[npt.NDArray[Any]], kind: Any) -> npt.NDArray[Any]:
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, kind), *arrays])


def _alike(tables: Sequence[TalkerTable]) -> bool:
    """Whether an address is in the same bucket of all of them."""
    first = tables[0] if tables else None
    if first is None or len(tables) == 1:
        return first is not None
    return bool(first.seed) and all((t.seed, t.shape[1:]) == (first.seed, first.shape[1:]) for t in tables)


def _bucketwise(tables: Sequence[TalkerTable], occupied: Marks) -> tuple[Indexes, Indexes]:
    """Slots of talkers that have several, and where each begins, given that those of one are in the same bucket: many
    small sorts take a quarter of the time of a large one. What is sorted are digests with the place in the bucket in
    their low bits."""
    _, buckets, ways = tables[0].shape
    cpus = sum(table.shape[0] for table in tables)
    place = np.arange(cpus * ways, dtype=np.uint64).reshape(cpus, 1, ways)
    bits = np.uint64(int(place.max(initial=0)).bit_length())
    numbers = joined([_digests(*table.address) for table in tables], np.uint64).reshape(cpus, buckets, ways)
    numbers >>= bits
    different = (~np.uint64(0) >> bits) - place
    np.copyto(numbers, different, where=~occupied.reshape(numbers.shape))  # of empty slots
    numbers <<= bits
    numbers |= place
    by_bucket = np.ascontiguousarray(numbers.transpose(1, 0, 2)).reshape(buckets, cpus * ways)
    by_bucket.sort(axis=1)
    at, starts = _runs(by_bucket >> bits)
    cpu, way = np.divmod(by_bucket.reshape(-1)[at] & ((np.uint64(1) << bits) - np.uint64(1)), np.uint64(ways))
    slots = (cpu.astype(np.intp) * buckets + at // (cpus * ways)) * ways + way.astype(np.intp)
    return slots, starts


def _overall(tables: Sequence[TalkerTable], occupied: Marks) -> tuple[Indexes, Indexes]:
    """The same of any tables."""
    digests = joined([_digests(*table.address) for table in tables], np.uint64)
    slots = np.flatnonzero(occupied)
    slots = slots[_sorting(digests[slots])]
    at, starts = _runs(digests[slots].reshape(1, -1))
    return slots[at], starts


def _runs(numbers: Counts) -> tuple[Indexes, Indexes]:
    """Where equal ones are in rows of sorted numbers, counted through, and where among these each run begins."""
    again = np.zeros(numbers.shape, np.bool_)
    np.equal(numbers[:, 1:], numbers[:, :-1], out=again[:, 1:])
    if not again.any():
        return np.empty(0, np.intp), np.empty(0, np.intp)
    within = again.copy()
    within[:, :-1] |= again[:, 1:]
    at = np.flatnonzero(within)
    return at, np.flatnonzero(~again.reshape(-1)[at])


def _digests(high: Counts, low: Counts) -> Counts:
    """One number for each address, made in pieces that fit into the cache."""
    digests = np.empty(len(high), np.uint64)
    for begin in range(0, len(high), _PIECE):
        at = slice(begin, begin + _PIECE)
        mixed = (high[at] ^ (high[at] >> np.uint64(32))) * _MULTIPLIERS[0]
        mixed ^= mixed >> np.uint64(29)
        mixed ^= low[at]
        mixed *= _MULTIPLIERS[1]
        np.bitwise_xor(mixed, mixed >> np.uint64(32), out=digests[at])
    return digests


def _sorting(numbers: Counts) -> Indexes:
    """Indices that sort them, by radix: for 16-bit numbers numpy has that, and comparing takes twice as long."""
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    for shift in (16, 32, 48):
        digits = (numbers >> np.uint64(shift)).astype(np.uint16)
        order = order[np.argsort(digits[order], kind="stable")]
    return order
