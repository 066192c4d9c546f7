# SPDX-License-Identifier: Apache-2.0
"""From copies of talker tables to talkers: what each slot counted of late, CPUs summed, filtered and ranked.

Everything works on columns of a million slots and touches as few of them as it can: an answer needs every talker's
rank, but all about the first few only.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.port import TALKER, TalkerTable
from xdpfw.model.prefix import Address, Family, Prefix
from xdpfw.stats.deltas import Counts, Deltas, Indexes

MAPPED = bytes(10) + b"\xff\xff"
"""What precedes an IPv4 address in its IPv6 spelling (RFC 4291, 2.5.5.2)."""

_MOST_TIES = 1 << 16
_BLOCK = 64

# Nobody outside can choose addresses whose digests collide.
_MULTIPLIERS = [np.uint64(secrets.randbits(64) | 1) for _ in range(2)]


@dataclass(frozen=True, slots=True)
class Details:
    """All about k talkers. `counts`, `deltas`: (k, 4) passed packets, bytes, dropped packets, bytes since `since` (wall
    clock ns) and within the measured interval; `sources`: bit i = interface i."""

    addresses: list[Address]
    counts: Counts
    deltas: Counts
    since: npt.NDArray[np.int64]
    last_seen: npt.NDArray[np.int64]
    sources: npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Grouping:
    """The occupied slots of one or more tables, counted through: `order` brings those of one address together, `starts`
    says where in it each address begins. `address`: (2, slots); `tenure`: (slots,)"""

    address: Counts
    tenure: npt.NDArray[np.uint32]
    order: Indexes
    starts: Indexes

    @classmethod
    def of(cls, tables: Sequence[TalkerTable], like: Grouping | None = None) -> Grouping:
        """`like`: of the same interfaces a moment ago, which saves sorting when nobody came or went since."""
        address = tables[0].address if len(tables) == 1 else _side_by_side(tables)
        tenure = _joined([table.tenure for table in tables])
        if like and np.array_equal(like.tenure, tenure) and np.array_equal(like.address, address):
            return cls(address, tenure, like.order, like.starts)
        digests = _digests(address[0], address[1])
        order = _bucketwise(digests, [table.shape for table in tables]) if _alike(tables) else _sorting(digests)
        occupied = tenure[order] != 0
        if not occupied.all():
            order = order[occupied]
        return cls(address, tenure, order, _starts(digests[order]))


class Talkers:
    """The talkers of one or more interfaces, at most 64, each with what its slots counted within the measured interval
    (`deltas`)."""

    def __init__(self, tables: Sequence[TalkerTable], deltas: Sequence[Deltas], like: Grouping | None = None) -> None:
        self._tables, self._deltas = tables, deltas
        self._offsets = np.cumsum([0, *(len(table.tenure) for table in tables)])
        self.grouping = Grouping.of(tables, like)
        self._order, self._starts = self.grouping.order, self.grouping.starts

    def __len__(self) -> int:
        return len(self._starts)

    def within(self, family: Family | None, prefix: Prefix | None) -> Indexes:
        """Indices of the talkers of this family and inside this prefix."""
        if family is None and prefix is None:
            return np.arange(len(self))
        high, low = self.grouping.address[:, self._order[self._starts]]
        is_ipv4 = _inside(high, low, MAPPED + bytes(4), 96)
        keep = np.ones(len(self), bool)
        if family is not None:
            keep &= is_ipv4 == (family == 4)
        if prefix is not None:
            network = MAPPED + prefix.address if prefix.family == 4 else prefix.address
            keep &= _inside(high, low, network, prefix.length + (96 if prefix.family == 4 else 0))
            if prefix.family == 6:
                keep &= ~is_ipv4
        return np.flatnonzero(keep)

    def rank(self, among: Indexes, sort: str, of: str, *, descending: bool, limit: int) -> Indexes:
        """The first `limit` of these talkers. Ties are broken by address, so that a list does not flicker; where very
        many tie for the last places, as under a flood of spoofed sources, their places in the table decide who is
        among those."""
        value = self._values(sort, of)
        if descending:
            np.negative(value, out=value)

        def value_of(at: Indexes) -> npt.NDArray[np.int64]:
            return value if len(at) == len(value) else value[at]  # all of them, in their order

        return _first(among, [value_of, partial(self._half, 0), partial(self._half, 1)], limit)

    def _values(self, sort: str, of: str) -> npt.NDArray[np.int64]:
        """Per talker, what it is ranked by: the caller's own array."""
        now = sort in ("bps", "pps", "share_now")
        parts: Sequence[Sequence[Counts]] = self._deltas if now else [table.counts for table in self._tables]
        if sort in ("share", "share_now"):
            dropped = self._summed(parts, 2)
            return _share(dropped, dropped + self._summed(parts, 0))
        columns = {"passed": (0,), "dropped": (2,), "total": (0, 2)}[of]
        return self._summed(parts, *(column + (sort in ("bytes", "bps")) for column in columns))

    def _summed(self, parts: Sequence[Sequence[Counts]], first: int, *more: int) -> npt.NDArray[np.int64]:
        """Per talker, these columns of all its slots together."""
        slots = _joined([sum((part[column] for column in more), part[first]) for part in parts])[self._order]
        shared = len(self._starts) < len(slots)
        return (np.add.reduceat(slots, self._starts) if shared else slots).view(np.int64)

    def _half(self, half: int, at: Indexes) -> Counts:
        """Half of these talkers' addresses, as numbers."""
        words = self.grouping.address[half, self._order[self._starts[at]]]
        return np.asarray(words.view(">u8"), np.uint64)

    def details(self, at: Indexes) -> Details:
        ends = np.append(self._starts[1:], len(self._order))
        lengths = (ends - self._starts)[at]
        firsts = np.cumsum(lengths) - lengths
        slots = self._order[np.repeat(self._starts[at] - firsts, lengths) + np.arange(lengths.sum())]
        where = np.searchsorted(self._offsets, slots, side="right") - 1
        rows, deltas = np.empty(len(slots), TALKER), np.empty((len(slots), 4), np.uint64)
        for number, (table, delta) in enumerate(zip(self._tables, self._deltas, strict=True)):
            mine = where == number
            local = slots[mine] - self._offsets[number]
            rows[mine], deltas[mine] = table.rows(local), delta.rows(local)
        if not len(at):
            return Details([], rows["counts"], deltas, rows["since"], rows["last_seen"], np.empty(0, np.uint64))
        return Details(
            [unpack(rows["address"][first].tobytes()) for first in firsts],
            np.add.reduceat(rows["counts"], firsts),
            np.add.reduceat(deltas, firsts),
            np.minimum.reduceat(rows["since"], firsts),
            np.maximum.reduceat(rows["last_seen"], firsts),
            np.bitwise_or.reduceat(np.uint64(1) << where.astype(np.uint64), firsts),
        )


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Ranks by the share, to one in 2^20; equal shares are told apart by how many."""
    return ((part / np.maximum(whole, 1) * (1 << 20)).astype(np.int64) << 40) + np.minimum(part, (1 << 40) - 1)


def _starts(numbers: Counts) -> Indexes:
    """Where runs of equal numbers begin."""
    begins = np.ones(len(numbers), bool)
    np.not_equal(numbers[1:], numbers[:-1], out=begins[1:])
    return np.flatnonzero(begins)


def _alike(tables: Sequence[TalkerTable]) -> bool:
    """Whether an address is in the same bucket of all of them."""
    first = tables[0] if tables else None
    if first is None or len(tables) == 1:
        return first is not None
    return bool(first.seed) and all((t.seed, t.shape[1:]) == (first.seed, first.shape[1:]) for t in tables)


def _bucketwise(digests: Counts, shapes: Sequence[tuple[int, int, int]]) -> Indexes:
    """Indices that bring equal digests together, given that they are in the same bucket: many small sorts take a
    quarter of the time of a large one."""
    _, buckets, ways = shapes[0]
    cpus = sum(shape[0] for shape in shapes)
    shape = (cpus, buckets, ways)
    slots = np.arange(len(digests)).reshape(shape).transpose(1, 0, 2).reshape(buckets, cpus * ways)
    within = np.argsort(digests.reshape(shape).transpose(1, 0, 2).reshape(slots.shape), axis=1)
    return np.take_along_axis(slots, within, 1).reshape(-1)


def _digests(high: Counts, low: Counts) -> Counts:
    """One number for each address."""
    mixed = (high ^ (high >> np.uint64(32))) * _MULTIPLIERS[0]
    mixed ^= mixed >> np.uint64(29)
    mixed ^= low
    mixed *= _MULTIPLIERS[1]
    return np.asarray(mixed ^ (mixed >> np.uint64(32)))


def _sorting(numbers: Counts) -> Indexes:
    """Indices that sort them, by radix: for 16-bit numbers numpy has that, and comparing takes twice as long."""
    order = np.argsort(numbers.astype(np.uint16), kind="stable")
    for shift in (16, 32, 48):
        digits = (numbers >> np.uint64(shift)).astype(np.uint16)
        order = order[np.argsort(digits[order], kind="stable")]
    return order


def _first(among: Indexes, keys: Sequence[Callable[[Indexes], npt.NDArray[Any]]], limit: int) -> Indexes:
    """The first `limit` in the order of the keys. A later key is asked for only about what the earlier ones leave
    open, and only about the first so many of those."""
    chosen: list[Indexes] = []
    candidates, room = among, limit
    for key in keys:
        if len(candidates) <= room:
            break
        values = key(candidates)
        last = _smallest(values, room)
        chosen.append(candidates[values < last])
        room -= len(chosen[-1])
        candidates = candidates[values == last][: room + _MOST_TIES]
    picked = np.concatenate([*chosen, candidates[:room]])
    return picked[np.lexsort([key(picked) for key in reversed(keys)])]


def _smallest(values: npt.NDArray[Any], count: int) -> Any:
    """The largest of the `count` smallest. To partition a million values of which many are equal takes long; fewer
    blocks than `count` hold anything below the bound that the blocks' own smallest values give."""
    blocks = values[: len(values) // _BLOCK * _BLOCK].reshape(-1, _BLOCK)
    if len(blocks) >= count:
        bound = np.partition(blocks.min(axis=1), count - 1)[count - 1]
        values = values[values < bound]
        if len(values) < count:
            return bound
    return np.partition(values, count - 1)[count - 1]


def _side_by_side(tables: Sequence[TalkerTable]) -> Counts:
    return np.concatenate([np.empty((2, 0), np.uint64), *(table.address for table in tables)], 1)


def _joined(columns: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    return columns[0] if len(columns) == 1 else np.concatenate([np.empty(0, np.uint32), *columns])


def _inside(high: Counts, low: Counts, network: bytes, length: int) -> npt.NDArray[np.bool_]:
    mask = ((1 << 128) - (1 << (128 - length))).to_bytes(16)
    (high_mask, low_mask), (high_wanted, low_wanted) = (np.frombuffer(each, np.uint64) for each in (mask, network))
    return np.asarray(((high & high_mask) == high_wanted) & ((low & low_mask) == low_wanted))


def pack(address: Address) -> bytes:
    return MAPPED + address.packed if address.version == 4 else address.packed


def unpack(packed: bytes) -> Address:
    if packed.startswith(MAPPED):
        return ipaddress.IPv4Address(packed[12:])
    return ipaddress.IPv6Address(packed)
