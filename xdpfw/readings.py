# SPDX-License-Identifier: Apache-2.0
"""Readings of the interfaces' counters: one a second, kept for some seconds so that rates can be told, and shared by
everybody who watches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from xdpfw.clock import SECOND, Clock
from xdpfw.kernel.port import Kernel, TalkerTable
from xdpfw.model.errors import NotFound
from xdpfw.stats.deltas import Counts, Earlier, sums_of
from xdpfw.stats.history import History

WINDOW = 2 * SECOND
"""Rates are measured over this long, ending now."""
_SLACK = SECOND // 4
"""By so much a reading may come too early and still be the one of two seconds ago."""
_WATCHED_FOR, _UNWATCHED = 4 * SECOND, 5 * SECOND
"""Talkers are read every second until nobody has asked for so long; from then on, so often."""
_REMEMBERED = 64
"""Interfaces whose last minutes are kept, those of detached ones included."""

Tally = npt.NDArray[np.uint64]
Look = TypeVar("Look", bound="Totals")


SPARSE = 4
"""Of a table with less than one in so many slots occupied, these alone are kept."""


@dataclass(frozen=True, slots=True)
class Totals:
    """One look at the counters of one interface, at `time` (monotonic ns)."""

    time: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class Reading(Totals):
    """And at its talkers, which found `tenure` and `counts` in `slots` of their table; None: in all of them. `sums`:
    of all slots. Of an earlier look only what rates need is kept, and no `table`."""

    table: TalkerTable | None
    tenure: npt.NDArray[np.uint32]
    counts: list[Counts]
    sums: Counts
    slots: npt.NDArray[np.intp] | None = None

    @classmethod
    def of(cls, time: int, tally: Tally, table: TalkerTable) -> Reading:
        return cls(time, tally, table, table.tenure, table.counts, sums_of(table.counts))

    def kept(self) -> Reading:
        if self.table is None:
            return self
        if np.count_nonzero(self.tenure) * SPARSE > len(self.tenure):
            return replace(self, table=None)
        at = np.flatnonzero(self.tenure)
        counts = [column[at] for column in self.counts]
        return replace(self, table=None, tenure=self.tenure[at], counts=counts, slots=at)

    def whole(self, size: int) -> Earlier:
        """What was in every slot of a table of this size."""
        if self.slots is None and len(self.tenure) == size:
            return Earlier(self.tenure, self.counts, self.sums)
        at = slice(len(self.tenure)) if self.slots is None else self.slots
        tenure, counts = np.zeros(size, np.uint32), [np.zeros(size, np.uint64) for _ in self.counts]
        tenure[at] = self.tenure
        for whole, column in zip(counts, self.counts, strict=True):
            whole[at] = column
        return Earlier(tenure, counts, self.sums)


class Readings:
    """Methods block for some milliseconds: call them in a worker thread."""

    def __init__(self, kernel: Kernel, clock: Clock) -> None:
        self._kernel = kernel
        self._clock = clock
        # Oldest first. Tuples, because others look at them meanwhile.
        self._totals: dict[str, tuple[Totals, ...]] = {}
        self._kept: dict[str, tuple[Reading, ...]] = {}
        self._asked = -_WATCHED_FOR
        self.histories: dict[str, History] = {}

    def sample(self, names: Sequence[str]) -> bool:
        """Take a reading of each interface; forget those that are not named. Answers whether it looked at talkers."""
        looked = False
        for gone in self._totals.keys() - set(names):
            self.forget(gone)
        for name in names:
            try:
                looked |= self._sample(name)
            except NotFound:  # it was detached since the caller looked
                self.forget(name)
        while len(self.histories) > _REMEMBERED:
            del self.histories[min(self.histories, key=lambda name: self.histories[name].latest)]
        return looked

    def _sample(self, name: str) -> bool:
        now, kept = self._clock.monotonic(), self._kept.get(name, ())
        look = self.watched or not kept or now - kept[-1].time >= _UNWATCHED - _SLACK
        totals: Totals
        if look:
            totals = reading = self.take(name)
            self._kept[name] = _followed([each.kept() for each in kept], reading)
        else:
            totals = Totals(now, self._kernel.read_tally(name))
        self._totals[name] = _followed(self._totals.get(name, ()), Totals(totals.time, totals.tally))
        self.histories.setdefault(name, History()).add(totals.time, totals.tally.sum(axis=0))
        return look

    def take(self, name: str) -> Reading:
        """A look of its own. Raises NotFound unless attached.

        The talkers come first and the interface's tally last; a packet is in the tally before it is in the talker
        table. So what no tracked talker sent is never negative.
        """
        table = self._kernel.read_talkers(name)
        tally = self._kernel.read_tally(name)
        return Reading.of(self._clock.monotonic(), tally, table)

    @property
    def watched(self) -> bool:
        """Whether somebody asked a moment ago who talks."""
        return self._clock.monotonic() - self._asked < _WATCHED_FOR

    def asked(self) -> None:
        """Somebody wants to know who talks, and may again."""
        self._asked = self._clock.monotonic()

    def latest(self, name: str) -> Reading:
        """The shared reading, unless that is old: then, a look of its own. Raises NotFound unless attached."""
        kept, totals = self._kept.get(name), self._totals.get(name)
        return kept[-1] if kept and totals and kept[-1].time >= totals[-1].time else self.take(name)

    def latest_totals(self, name: str) -> Totals:
        """Raises NotFound unless attached."""
        totals = self._totals.get(name)
        return totals[-1] if totals else Totals(self._clock.monotonic(), self._kernel.read_tally(name))

    def before(self, name: str, now: int) -> Reading | None:
        """The latest reading that is at least the window older than `now` (monotonic ns), else the oldest."""
        return _before(self._kept.get(name, ()), now)

    def totals_before(self, name: str, now: int) -> Totals | None:
        return _before(self._totals.get(name, ()), now)

    def forget(self, name: str) -> None:
        self._kept.pop(name, None)
        self._totals.pop(name, None)


def _followed(earlier: Sequence[Look], newest: Look) -> tuple[Look, ...]:
    """Those of them that will be asked for."""
    old = [each for each in earlier if each.time <= newest.time - WINDOW + _SLACK]
    return (*old[-1:], *earlier[len(old) :], newest)


def _before(kept: Sequence[Look], now: int) -> Look | None:
    kept = [each for each in kept if each.time < now]
    old = [each for each in kept if now - each.time >= WINDOW - _SLACK]
    return old[-1] if old else kept[0] if kept else None
