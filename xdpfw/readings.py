# SPDX-License-Identifier: Apache-2.0
"""Readings of the interfaces' counters: one a second, kept for some seconds so that rates can be told, and shared by
everybody who watches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from xdpfw.clock import SECOND, Clock
from xdpfw.kernel.port import Kernel, TalkerTable
from xdpfw.model.errors import NotFound
from xdpfw.stats.deltas import Counts
from xdpfw.stats.history import History

WINDOW = 2 * SECOND
"""Rates are measured over this long, ending now."""
_SLACK = SECOND // 4
"""By so much a reading may come too early and still be the one of two seconds ago."""
_REMEMBERED = 64
"""Interfaces whose last minutes are kept, those of detached ones included."""

Tally = npt.NDArray[np.uint64]


SPARSE = 4
"""Of a table with less than one in so many slots occupied, these alone are kept."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at one interface at `time` (monotonic ns), which found `tenure` and `counts` in `slots` of its talker
    table; None: in all of them. Of an earlier look only what rates need is kept, and no `table`."""

    time: int
    tally: Tally
    table: TalkerTable | None
    tenure: npt.NDArray[np.uint32]
    counts: list[Counts]
    slots: npt.NDArray[np.intp] | None = None

    def kept(self) -> Reading:
        if self.table is None:
            return self
        at = np.flatnonzero(self.tenure)
        if len(at) * SPARSE > len(self.tenure):
            return replace(self, table=None)
        counts = [column[at] for column in self.counts]
        return Reading(self.time, self.tally, None, self.tenure[at], counts, slots=at)

    def whole(self, size: int) -> tuple[npt.NDArray[np.uint32], list[Counts]]:
        """Tenure and counts of every slot of a table of this size."""
        if self.slots is None:
            return self.tenure, self.counts
        tenure, counts = np.zeros(size, np.uint32), [np.zeros(size, np.uint64) for _ in self.counts]
        tenure[self.slots] = self.tenure
        for whole, column in zip(counts, self.counts, strict=True):
            whole[self.slots] = column
        return tenure, counts


class Readings:
    """Methods block for some milliseconds: call them in a worker thread."""

    def __init__(self, kernel: Kernel, clock: Clock) -> None:
        self._kernel = kernel
        self._clock = clock
        # Oldest first. Tuples, because others look at them meanwhile.
        self._kept: dict[str, tuple[Reading, ...]] = {}
        self.histories: dict[str, History] = {}

    def sample(self, names: Sequence[str]) -> None:
        """Take a reading of each interface; forget those that are not named."""
        for gone in self._kept.keys() - set(names):
            self._kept.pop(gone, None)
        for name in names:
            try:
                reading = self.take(name)
            except NotFound:  # it was detached since the caller looked
                self._kept.pop(name, None)
                continue
            earlier = [each.kept() for each in self._kept.get(name, ())]
            old = [each for each in earlier if each.time <= reading.time - WINDOW + _SLACK]
            self._kept[name] = (*old[-1:], *earlier[len(old) :], reading)
            self.histories.setdefault(name, History()).add(reading.time, reading.tally.sum(axis=0))
        while len(self.histories) > _REMEMBERED:
            del self.histories[min(self.histories, key=lambda name: self.histories[name].latest)]

    def take(self, name: str) -> Reading:
        """A look of its own. Raises NotFound unless attached.

        The talkers come first and the interface's tally last; a packet is in the tally before it is in the talker
        table. So what no tracked talker sent is never negative.
        """
        table = self._kernel.read_talkers(name)
        tally = self._kernel.read_tally(name)
        return Reading(self._clock.monotonic(), tally, table, table.tenure, table.counts)

    def latest(self, name: str) -> Reading:
        """The shared reading; before the first one, a look of its own. Raises NotFound unless attached."""
        kept = self._kept.get(name)
        return kept[-1] if kept else self.take(name)

    def before(self, name: str, now: int) -> Reading | None:
        """The latest reading that is at least the window older than `now` (monotonic ns), else the oldest."""
        kept = [reading for reading in self._kept.get(name, ()) if reading.time < now]
        old = [reading for reading in kept if now - reading.time >= WINDOW - _SLACK]
        return old[-1] if old else kept[0] if kept else None

    def forget(self, name: str) -> None:
        self._kept.pop(name, None)
