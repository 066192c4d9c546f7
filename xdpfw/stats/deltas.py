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
class Earlier:
    """What an earlier reading of a table found in its slots; `sums`: (4,) of all of them."""

    tenure: npt.NDArray[np.uint32]
    counts: Columns
    sums: Counts


class Deltas:
    """A slot that was given to another talker since starts at 0. What spilled counted before, elsewhere."""

    def __init__(self, table: TalkerTable, sums: Counts, before: Earlier) -> None:
        """`sums`: of the table, like those of the earlier reading."""
        self._table, self._sums, self._before = table, sums, before
        same = np.array_equal(table.tenure, before.tenure)  # mostly, and soon told
        self._changed = np.empty(0, np.intp) if same else np.flatnonzero(table.tenure != before.tenure)

    def column(self, numbers: Sequence[int], at: Indexes | slice) -> Counts:
        """What these slots counted in these columns together; of a slice, whole buckets."""
        now, before = together(self._table.counts, numbers, at), together(self._before.counts, numbers, at)
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
        """(4,) of all slots. Where nobody came, nothing spilled."""
        ways, spilled = self._table.shape[-1], self._table.spilled
        gone = self._changed[self._changed % ways < ways - spilled]
        buckets = self._changed // ways
        ends = (buckets[np.flatnonzero(np.diff(buckets, prepend=-1))] + 1) * ways
        spill = np.concatenate([ends[:0], *(ends - back for back in range(1, spilled + 1))])
        pairs = zip(self._table.counts, self._before.counts, strict=True)
        apart = [before[gone].sum() + before[spill].sum() - now[spill].sum() for now, before in pairs]
        counted: Counts = self._sums - self._before.sums + np.array(apart, np.uint64)
        return counted


def sums_of(counts: Columns) -> Counts:
    return np.array([column.sum() for column in counts], np.uint64)


def together(counts: Columns, numbers: Sequence[int], at: Indexes | slice) -> Counts:
    """Some columns added up."""
    first, *more = numbers
    found = counts[first][at]
    for number in more:
        found = found + counts[number][at]
    return found
