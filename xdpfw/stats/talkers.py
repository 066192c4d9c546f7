# SPDX-License-Identifier: Apache-2.0
"""From copies of talker tables to talkers: what each slot counted of late, CPUs summed, filtered and ranked.

Everything works on columns of a million slots and touches as few of them as it can: an answer needs every talker's
rank, but all about the first few only. What has to be seen of all is seen in pieces that fit into a core's cache.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.port import TALKER, TalkerTable
from xdpfw.model.prefix import Address, Family, Prefix
from xdpfw.stats.deltas import Counts, Deltas, Indexes, together
from xdpfw.stats.grouping import Grouping, joined
from xdpfw.stats.ranking import Best, Marks, Values, first

MAPPED = bytes(10) + b"\xff\xff"
"""What precedes an IPv4 address in its IPv6 spelling (RFC 4291, 2.5.5.2)."""

_PIECE = 1 << 12
"""Buckets."""


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


class Talkers:
    """The talkers of one or more interfaces, at most 64, each with what its slots counted within the measured interval
    (`deltas`). A talker goes by the number of one of its slots."""

    def __init__(self, tables: Sequence[TalkerTable], deltas: Sequence[Deltas], like: Grouping | None = None) -> None:
        self._tables, self._deltas = tables, deltas
        self._offsets = np.cumsum([0, *(len(table.tenure) for table in tables)])
        self.grouping = Grouping.of(tables, like)

    def within(self, family: Family | None, prefix: Prefix | None) -> Marks:
        """Those of this family and inside this prefix, by number."""
        if family is None and prefix is None:
            return self.grouping.talkers
        marks = [_matching(table.address, family, prefix) for table in self._tables]
        return np.asarray(self.grouping.talkers & joined(marks, np.bool_))

    def rank(self, among: Marks, sort: str, of: str, *, descending: bool, limit: int) -> Indexes:
        """The first `limit` of these talkers. Ties are broken by address, so that a list does not flicker; where very
        many tie for the last places, as under a flood of spoofed sources, their places in the table decide who is
        among those."""
        best = Best(limit)
        single = among & self.grouping.alone if len(self.grouping.shared) else among
        for begin, values in self._pieces(sort, of):
            best.offer(begin, values if descending else -values, single[begin : begin + len(values)])
        several, values = self.grouping.shared[self.grouping.starts], self._several(sort, of)
        for begin in range(0, len(several), _PIECE):
            numbers, piece = several[begin : begin + _PIECE], values[begin : begin + _PIECE]
            best.offer(numbers, piece if descending else -piece, among[numbers])
        at, value = best.result()
        keys = [lambda i: -value[i], lambda i: self._half(0, at[i]), lambda i: self._half(1, at[i])]
        return at[first(np.arange(len(at)), keys, limit)]

    def _pieces(self, sort: str, of: str) -> Iterator[tuple[int, Values]]:
        """What slots are ranked by, some at a time, and the number of the first."""
        for number, (offset, table) in enumerate(zip(self._offsets.tolist(), self._tables, strict=False)):
            step = _PIECE * max(table.shape[-1], 1)
            for begin in range(0, len(table.tenure), step):
                column = partial(self._column, number, sort, at=slice(begin, begin + step))
                yield offset + begin, _value(sort, of, column)

    def _several(self, sort: str, of: str) -> Values:
        """What talkers with several slots are ranked by."""
        grouping = self.grouping

        def column(numbers: Sequence[int]) -> Counts:
            found = np.empty(len(grouping.shared), np.uint64)
            for number, mine, at in self._by_table(grouping.shared):
                found[mine] = self._column(number, sort, numbers, at)
            return np.add.reduceat(found, grouping.starts) if len(found) else found

        return _value(sort, of, column)

    def _column(self, number: int, sort: str, numbers: Sequence[int], at: Indexes | slice) -> Counts:
        """Of some slots of one table, these columns together."""
        if sort in ("bps", "pps", "share_now"):
            return self._deltas[number].column(numbers, at)
        return together(self._tables[number].counts, numbers, at)

    def _by_table(self, slots: Indexes) -> Iterator[tuple[int, Marks | slice, Indexes]]:
        """Each table's number, which of these slots are its, and their numbers there."""
        if len(self._tables) == 1:
            yield 0, slice(None), slots
            return
        where = np.searchsorted(self._offsets, slots, side="right") - 1
        for number, offset in enumerate(self._offsets[:-1]):
            mine = where == number
            yield number, mine, slots[mine] - offset

    def _half(self, half: int, at: Indexes) -> Counts:
        """Half of these talkers' addresses, as numbers."""
        words = np.empty(len(at), np.uint64)
        for number, mine, local in self._by_table(at):
            words[mine] = self._tables[number].address[half, local]
        return np.asarray(words.view(">u8"), np.uint64)

    def details(self, talkers: Indexes) -> Details:
        slots, firsts = self.grouping.slots_of(talkers)
        rows, deltas = np.empty(len(slots), TALKER), np.empty((len(slots), 4), np.uint64)
        sources = np.empty(len(slots), np.uint64)
        for number, mine, at in self._by_table(slots):
            rows[mine], sources[mine] = self._tables[number].rows(at), 1 << number
            deltas[mine] = np.stack([self._deltas[number].column([column], at) for column in range(4)], 1)
        if not len(talkers):
            return Details([], rows["counts"], deltas, rows["since"], rows["last_seen"], sources)
        return Details(
            [unpack(rows["address"][first].tobytes()) for first in firsts],
            np.add.reduceat(rows["counts"], firsts),
            np.add.reduceat(deltas, firsts),
            np.minimum.reduceat(rows["since"], firsts),
            np.maximum.reduceat(rows["last_seen"], firsts),
            np.bitwise_or.reduceat(sources, firsts),
        )


def _value(sort: str, of: str, column: Callable[[Sequence[int]], Counts]) -> Values:
    """What is ranked by, of columns of counts."""
    if sort in ("share", "share_now"):
        return _share(column([2]).view(np.int64), column([0, 2]).view(np.int64))
    unit = sort in ("bytes", "bps")
    return column([number + unit for number in {"passed": [0], "dropped": [2], "total": [0, 2]}[of]]).view(np.int64)


def _share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Ranks by the share, to one in 2^20; equal shares are told apart by how many."""
    return ((part / np.maximum(whole, 1) * (1 << 20)).astype(np.int64) << 40) + np.minimum(part, (1 << 40) - 1)


def _matching(address: Counts, family: Family | None, prefix: Prefix | None) -> Marks:
    """Which addresses are of this family and inside this prefix."""
    high, low = address
    is_ipv4 = _inside(high, low, MAPPED + bytes(4), 96)
    keep = np.ones(len(high), np.bool_)
    if family is not None:
        keep &= is_ipv4 == (family == 4)
    if prefix is not None:
        network = MAPPED + prefix.address if prefix.family == 4 else prefix.address
        keep &= _inside(high, low, network, prefix.length + (96 if prefix.family == 4 else 0))
        if prefix.family == 6:
            keep &= ~is_ipv4
    return keep


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
