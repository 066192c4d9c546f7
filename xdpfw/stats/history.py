# SPDX-License-Identifier: Apache-2.0
"""The last minutes of an interface: its totals at each second, in a ring of fixed size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xdpfw.clock import SECOND

SPAN = 15 * 60
"""Seconds that are kept."""
COLUMNS = 6
"""Passed, dropped and monitored packets and bytes, as in kernel.port.TALLY_COLUMNS."""

_APART = SECOND * 9 // 10
"""Readings may come more often than once a second; the ring takes one a second, give or take the loop's delay."""


class History:
    """About 50 KB."""

    def __init__(self) -> None:
        size = SPAN + 3  # both ends of the first second, a reading that came early, and the one that is written next
        self._times = np.zeros(size, np.int64)
        self._totals = np.zeros((size, COLUMNS), np.uint64)
        self._added = 0

    @property
    def latest(self) -> int:
        """When the last totals were added (monotonic ns)."""
        return int(self._times[(self._added - 1) % len(self._times)])

    def add(self, time: int, totals: npt.NDArray[np.uint64]) -> None:
        """`time`: monotonic ns, later than all before; `totals`: (COLUMNS,) counts that grow."""
        if self._added and time - self.latest < _APART:
            return
        at = self._added % len(self._times)
        self._times[at], self._totals[at] = time, totals
        self._added += 1

    def rates(self, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """(n, COLUMNS): per second from each of n + 1 ascending moments (monotonic ns) to the next; NaN where nothing
        is known. Totals are interpolated between readings, so that the rates sum up to what was counted."""
        count = min(self._added, len(self._times) - 1)
        if count < 2:
            return np.full((len(ends) - 1, COLUMNS), np.nan)
        order = np.arange(self._added - count, self._added) % len(self._times)
        times = self._times[order]
        grown = np.cumsum(_growth(self._totals[order]), axis=0)
        # Relative to the first, which floats can tell apart also when a machine has been up for years.
        readings, moments = ((each - times[0]) / SECOND for each in (times, ends))
        totals = np.stack([np.interp(moments, readings, column, np.nan, np.nan) for column in grown.T], 1)
        return np.asarray(np.diff(totals, axis=0) / np.diff(moments)[:, None])


def _growth(totals: npt.NDArray[np.uint64]) -> npt.NDArray[np.float64]:
    """From one reading to the next, 0 at first. Where counts went back, the interface was detached and began anew."""
    before, after = totals[:-1], totals[1:]
    growth = np.zeros(totals.shape)
    growth[1:] = np.where(after < before, after, after - before)
    return growth
