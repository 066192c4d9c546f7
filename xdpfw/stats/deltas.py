# SPDX-License-Identifier: Apache-2.0
"""What the slots of a talker table counted since an earlier reading of it, worked out for those that are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.port import TalkerTable

Counts = npt.NDArray[np.uint64]
Columns = Sequence[Counts]
Indexes = npt.NDArray[np.intp]


class Deltas(Sequence[Counts]):
    """Four columns, as `counts` of the table.

    A slot that was given to another talker since starts at 0. What spilled counted before, elsewhere. `tenure`,
    `counts`: those that the earlier reading found; without one nothing counted.
    """

    def __init__(self, table: TalkerTable, tenure: npt.NDArray[np.uint32], counts: Columns) -> None:
        same = tenure == table.tenure
        self._table, self._before = table, counts
        self._same = None if same.all() else same
        self._columns: dict[int, Counts] = {}

    def __len__(self) -> int:
        return len(self._table.counts)

    def __getitem__(self, column: int) -> Counts:  # type: ignore[override]
        if column not in self._columns:
            counted = self._counted(column)
            self._spill(counted)[...] = 0
            self._columns[column] = counted
        return self._columns[column]

    def __iter__(self) -> Iterator[Counts]:
        return (self[column] for column in range(len(self)))

    def rows(self, at: Indexes) -> Counts:
        """(k, 4) of these slots."""
        ways = self._table.shape[-1]
        counted = np.stack([self._counted(column, at) for column in range(len(self))], 1)
        counted[at % ways >= ways - self._table.spilled] = 0
        return counted

    def sums(self) -> Counts:
        """(4,) of all slots."""
        counted, sums = np.empty_like(self._table.counts[0]), np.zeros(len(self), np.uint64)
        for column in range(len(self)):
            self._counted(column, out=counted)
            sums[column] = counted.sum() - self._spill(counted).sum()
        return sums

    def _counted(self, column: int, at: Indexes | slice = slice(None), out: Counts | None = None) -> Counts:
        """By the slot itself, spilled or not."""
        now, before = self._table.counts[column][at], self._before[column][at]
        if self._same is not None:
            before = before * self._same[at]
        counted: Counts = np.minimum(before, now, out=out)
        return np.subtract(now, counted, out=counted)

    def _spill(self, column: Counts) -> Counts:
        """Its slots that take up what others counted."""
        ways = self._table.shape[-1]
        return column.reshape(self._table.shape)[:, :, ways - self._table.spilled :]
