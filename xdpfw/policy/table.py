# SPDX-License-Identifier: Apache-2.0
"""An immutable sorted table of numpy records, in blocks that its versions share.

A change copies only the blocks that it touches (path copying; Driscoll, Sarnak, Sleator, Tarjan 1989, with a tree of
height one), so a snapshot costs nothing and one row among a million costs one block.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.policy.keys import Flags, Index, search
from xdpfw.policy.ops import Keys

Records = npt.NDArray[Any]
"""Structured array with a field `key` of fixed-width bytes, sorted by it, no key twice."""

_Digest = tuple[Keys, npt.NDArray[np.int64]]
"""First key and least `expires` of each block."""

BLOCK_ROWS = 2048
WIDE = 8
"""What concerns more than one in so many of a table's rows is done by passing over all of them."""

PART_ROWS = 32 * BLOCK_ROWS
"""So many rows are looked at together where none has to wait for another."""

SMALL_BLOCK = BLOCK_ROWS // 8
"""A block below this is joined with its neighbour when a change comes by."""


class SortedTable:
    """Sorted records of one dtype, whose field `key` orders them. Of a field `expires`, each block's least is known."""

    __slots__ = ("_blocks", "_count", "_firsts", "_lows", "_whole", "dtype")

    def __init__(
        self,
        dtype: np.dtype[Any],
        blocks: Sequence[Records],
        known: _Digest | None = None,
        whole: Records | None = None,
    ) -> None:
        """From non-empty blocks in order. `known`: their digest, if it is known. `whole`: what all of them are parts
        of, if they are."""
        self.dtype = dtype
        self._whole = whole
        self._blocks = tuple(blocks)
        self._count = sum(map(len, self._blocks))
        self._firsts, self._lows = _digest(dtype, self._blocks) if known is None else known

    @classmethod
    def empty(cls, dtype: np.dtype[Any]) -> SortedTable:
        return cls(dtype, ())

    @classmethod
    def of(cls, rows: Records) -> SortedTable:
        """From sorted rows without repeated keys (not copied)."""
        return cls(rows.dtype, _split(rows), whole=rows)

    def __len__(self) -> int:
        return self._count

    def is_wide(self, count: int) -> bool:
        """Whether so many rows are better looked at by passing over all."""
        return count * WIDE > len(self)

    def blocks(self) -> Iterator[Records]:
        return iter(self._blocks)

    def parts(self) -> Iterator[Records]:
        """All rows in order, some at a time: what an array of them all would take stays with the process."""
        if self._whole is not None:
            yield from (self._whole[first : first + PART_ROWS] for first in range(0, len(self), PART_ROWS))
            return
        step = PART_ROWS // BLOCK_ROWS
        yield from (
            self._join(first, min(first + step, len(self._blocks))) for first in range(0, len(self._blocks), step)
        )

    def array(self) -> Records:
        """All rows, one contiguous array; it is the table's own."""
        return self._join(0, len(self._blocks)) if self._whole is None else self._whole

    def get(self, key: bytes) -> Any:
        """The row of a key, as a record, or None."""
        rows = self.range(key, key)
        return rows[0] if len(rows) else None

    def range(self, first: bytes, last: bytes) -> Records:
        """Rows with first <= key <= last."""
        rows, low, high = self.spans(self._key(first), self._key(last))
        return rows[low[0] : high[0]]

    def page(self, first: bytes, limit: int) -> Records:
        """At most `limit` rows with key >= first."""
        if not self._blocks:
            return np.empty(0, self.dtype)
        key = self._key(first)
        block = max(int(np.searchsorted(self._firsts, key, "right")[0]) - 1, 0)
        row = int(search(self._blocks[block]["key"], key)[0])
        last, room = block, limit + row
        while last < len(self._blocks) and room > 0:
            room -= len(self._blocks[last])
            last += 1
        return self._join(block, last)[row : row + limit]

    def spans(self, firsts: Keys, lasts: Keys) -> tuple[Records, Index, Index]:
        """Rows that comprise all with firsts[i] <= key <= lasts[i] for some i, and where in them each range begins
        and ends. The ranges are sorted and do not overlap; only blocks that they touch are looked at."""
        if not self._blocks or not len(firsts):
            nowhere = np.zeros(len(firsts), np.int64)
            return np.empty(0, self.dtype), nowhere, nowhere
        begin = np.maximum(search(self._firsts, firsts, "right") - 1, 0)
        end = np.maximum(search(self._firsts, lasts, "right"), begin + 1)
        rows = self._collect(begin, end)
        return rows, search(rows["key"], firsts), search(rows["key"], lasts, "right")

    def find(self, keys: Keys) -> tuple[Records, Flags]:
        """For sorted keys, the rows of those that are there, elsewhere anything, and which are."""
        rows, found = self.floor(keys)
        return rows, found & (rows["key"] == keys)

    def floor(self, keys: Keys) -> tuple[Records, Flags]:
        """For sorted keys, the last row with a key at or before each, and whether there is one."""
        if not self._blocks or not len(keys):
            return np.zeros(len(keys), self.dtype), np.zeros(len(keys), np.bool_)
        block = search(self._firsts, keys, "right") - 1
        start = np.maximum(block, 0)
        rows = self._collect(start, start + 1)
        position = search(rows["key"], keys, "right") - 1
        return gather(rows, np.maximum(position, 0)), block >= 0

    def merge(self, upserts: Records, deletes: Keys) -> SortedTable:
        """A table with sorted rows put in (replacing equal keys) and sorted keys, absent ones too, taken out."""
        if not len(upserts) and not len(deletes):
            return self
        if not self._blocks:
            return SortedTable.of(upserts)
        put, take = self._assign(upserts["key"]), self._assign(deletes)
        blocks: list[Records] = []
        digests: list[_Digest] = []
        done = 0
        for begin, end in self._runs(put, take):
            new = _split(
                merged(
                    self._join(begin, end),
                    upserts[np.searchsorted(put, begin) : np.searchsorted(put, end)],
                    deletes[np.searchsorted(take, begin) : np.searchsorted(take, end)],
                )
            )
            blocks += self._blocks[done:begin]
            blocks += new
            digests += [self._digest(done, begin), _digest(self.dtype, new)]
            done = end
        blocks += self._blocks[done:]
        digests.append(self._digest(done, len(self._blocks)))
        firsts, lows = (np.concatenate(part) for part in zip(*digests, strict=True))
        return SortedTable(self.dtype, blocks, (firsts, lows))

    def expiring(self, now: int) -> Records:
        """Rows whose `expires` is `now` or earlier."""
        due = [self._blocks[block] for block in np.flatnonzero(self._lows <= now).tolist()]
        rows = [block[block["expires"] <= now] for block in due]
        return np.concatenate(rows) if rows else np.empty(0, self.dtype)

    def next_expiry(self) -> int | None:
        """The least `expires`, if there is a row."""
        return int(self._lows.min()) if self._blocks else None

    def changes_since(self, base: SortedTable) -> Records:
        """Rows that are not in `base` or differ there; blocks that both share are not looked at."""
        ours, theirs = {id(block) for block in self._blocks}, {id(block) for block in base._blocks}
        new = [block for block in self._blocks if id(block) not in theirs]
        old = [block for block in base._blocks if id(block) not in ours]
        if not new:
            return np.empty(0, self.dtype)
        rows = joined(new)
        if not old:
            return rows
        before = joined(old)
        position = np.minimum(search(before["key"], rows["key"]), len(before) - 1)
        # Records are equal when their bytes are: they have no padding.
        return chosen(rows, plain(gather(before, position)) != plain(rows))

    def missing_from(self, later: SortedTable) -> Keys:
        """Keys that are not in `later` any more; blocks that both share are not looked at."""
        keys = self.changes_since(later)["key"]
        return keys[~later.find(keys)[1]]

    def _digest(self, begin: int, end: int) -> _Digest:
        return self._firsts[begin:end], self._lows[begin:end]

    def _key(self, key: bytes) -> Keys:
        return np.array([key], self.dtype["key"])

    def _assign(self, keys: Keys) -> Index:
        """The block that each sorted key belongs into."""
        return np.maximum(search(self._firsts, keys, "right") - 1, 0)

    def _runs(self, put: Index, take: Index) -> list[tuple[int, int]]:
        """Touched blocks as ranges: neighbours go together, a small block takes its neighbour along."""
        last = len(self._blocks)
        touched = np.concatenate((put, take))
        touched = touched if len(touched) < 2 else np.unique(touched)
        if len(touched) * 4 > last:
            return [(int(touched[0]), int(touched[-1]) + 1)]
        runs: list[tuple[int, int]] = []
        for block in touched.tolist():
            end = block + 1
            if len(self._blocks[block]) < SMALL_BLOCK and end < last:
                end += 1
            if runs and block <= runs[-1][1]:
                runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
            else:
                runs.append((block, end))
        return runs

    def _collect(self, begin: Index, end: Index) -> Records:
        """Rows of the blocks in any of the sorted ranges, each block once."""
        if len(begin) == 1 or int(end[-1]) - int(begin[0]) <= 1:
            return self._join(int(begin[0]), int(end[-1]))
        marks = np.zeros(len(self._blocks) + 1, np.int64)
        np.add.at(marks, begin, 1)
        np.add.at(marks, end, -1)
        chosen = np.flatnonzero(np.cumsum(marks)[:-1])
        return joined([self._blocks[block] for block in chosen.tolist()])

    def _join(self, begin: int, end: int) -> Records:
        if end - begin == 1:
            return self._blocks[begin]
        if self._whole is not None and end - begin == len(self._blocks):
            return self._whole
        if end <= begin:
            return np.empty(0, self.dtype)
        return joined(self._blocks[begin:end])


def _digest(dtype: np.dtype[Any], blocks: Sequence[Records]) -> _Digest:
    firsts = np.array([block["key"][0] for block in blocks], dtype["key"])
    if "expires" not in (dtype.names or ()):
        return firsts, np.zeros(len(blocks), np.int64)
    return firsts, np.array([block["expires"].min() for block in blocks], np.int64)


def _split(rows: Records) -> list[Records]:
    """Blocks of about equal size; a block that is too long only by an insert stays half empty on both sides."""
    count = -(-len(rows) // BLOCK_ROWS)
    if count <= 1:
        return [rows] * count
    bounds = np.linspace(0, len(rows), count + 1).astype(np.int64).tolist()
    return [rows[first:last] for first, last in itertools.pairwise(bounds)]


def merged(rows: Records, upserts: Records, deletes: Keys) -> Records:
    """Sorted rows with changes applied, as `SortedTable.merge` does it."""
    if len(deletes) and len(rows):
        keep = np.ones(len(rows), np.bool_)
        position = np.minimum(search(rows["key"], deletes), len(rows) - 1)
        keep[position[rows["key"][position] == deletes]] = False
        rows = chosen(rows, keep)
    if not len(rows) or not len(upserts):
        return rows if len(rows) else upserts
    position = search(rows["key"], upserts["key"])
    at = np.minimum(position, len(rows) - 1)
    replaced = rows["key"][at] == upserts["key"]
    if replaced.any():
        rows = plain(rows).copy().view(rows.dtype)
        plain(rows)[at[replaced]] = plain(chosen(upserts, replaced))
        upserts, position = chosen(upserts, ~replaced), position[~replaced]
    result = np.empty(len(rows) + len(upserts), rows.dtype)
    new = position + np.arange(len(upserts))
    old = np.ones(len(result), np.bool_)
    old[new] = False
    plain(result)[new] = plain(upserts)
    plain(result)[old] = plain(rows)
    return result


# numpy copies records field by field; without their fields it moves them whole, some times faster.


def plain(rows: Records) -> npt.NDArray[np.void]:
    """The same memory without fields."""
    return rows.view(np.dtype((np.void, rows.dtype.itemsize)))


def joined(parts: Sequence[Records]) -> Records:
    return np.concatenate([plain(part) for part in parts]).view(parts[0].dtype)


def gather(rows: Records, at: Index) -> Records:
    """The rows at these positions."""
    return plain(rows).take(at).view(rows.dtype)


def chosen(rows: Records, which: Flags) -> Records:
    """The rows that are flagged."""
    return gather(rows, np.flatnonzero(which))
