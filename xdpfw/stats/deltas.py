# SPDX-License-Identifier: Apache-2.0
"""What the slots of a talker table counted since an earlier reading of it, worked out for those that are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.port import TalkerTable

Counts = npt.NDArray[np.uint64]
Columns = Sequence[Counts]
Indexes = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Sums:
    """(4,) each, of all slots of a table, and of those that take up what others counted."""

    all: Counts
    spilled: Counts

    @classmethod
    def of(cls, table: TalkerTable) -> Sums:
        first = table.shape[-1] - table.spilled
        spilled = [column.reshape(table.shape)[:, :, first:].sum() for column in table.counts]
        return cls(np.array([column.sum() for column in table.counts], np.uint64), np.array(spilled, np.uint64))


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an earlier reading of a table found in its slots."""

    tenure: npt.NDArray[np.uint32]
    counts: Columns
    sums: Sums


class Deltas:
    """A slot that was given to another talker since starts at 0. What spilled counted before, elsewhere."""

    def __init__(self, table: TalkerTable, sums: Sums, before: Earlier) -> None:
        self._table, self._sums, self._before = table, sums, before
        same = np.array_equal(table.tenure, before.tenure)  # mostly, and soon told
        self._changed = np.empty(0, np.intp) if same else np.flatnonzero(table.tenure != before.tenure)

    def column(self, number: int, at: Indexes | slice = slice(None)) -> Counts:
        """What these slots counted; of a slice, whole buckets."""
        now, before = self._table.counts[number][at], self._before.counts[number][at]
        if len(self._changed):
            before = before * (self._table.tenure[at] == self._before.tenure[at])
        counted: Counts = np.subtract(now, np.minimum(before, now))
        ways, spilled = self._table.shape[-1], self._table.spilled
        if not isinstance(at, slice):
            counted[at % ways >= ways - spilled] = 0
        elif spilled:
            counted.reshape(-1, ways)[:, ways - spilled :] = 0
        return counted

    def sums(self) -> Counts:
        """(4,) of all slots."""
        ways, before = self._table.shape[-1], self._before.sums
        gone = self._changed[self._changed % ways < ways - self._table.spilled]
        left = np.array([column[gone].sum() for column in self._before.counts], np.uint64)
        counted: Counts = self._sums.all - self._sums.spilled - (before.all - before.spilled - left)
        return counted
