# SPDX-License-Identifier: Apache-2.0
"""What goes by: readings of the interfaces' counters, kept for a few seconds so that rates can be told.

A reading takes the talkers first and the interface's tally last; a packet is in the tally before it is in the
talker table. So what no tracked talker sent (`other`) is never negative.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.clock import SECOND, Clock, to_datetime
from xdpfw.kernel.port import TALKER, Kernel
from xdpfw.model.errors import NotFound
from xdpfw.model.interface import Epoch
from xdpfw.model.prefix import Address
from xdpfw.model.reason import MAX_REASONS, Reason
from xdpfw.model.requests import TalkerQuery
from xdpfw.model.rule import Slots
from xdpfw.model.views import (
    AddressInterfaceView,
    Count,
    CountersView,
    PassedDropped,
    Rated,
    ReasonView,
    TalkersView,
    TalkerView,
)
from xdpfw.stats import talkers as stats

WINDOW = 2 * SECOND
"""Rates are measured over this long, ending now."""

Tally = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at one interface at `time` (monotonic ns)."""

    time: int
    rows: npt.NDArray[Any]
    tally: Tally


class Traffic:
    """Readings of every attached interface. Methods block for some milliseconds: call them in a worker thread."""

    def __init__(self, kernel: Kernel, clock: Clock) -> None:
        self._kernel = kernel
        self._clock = clock
        self._readings: dict[str, deque[Reading]] = {}
        self.epochs: dict[str, Epoch] = {}

    def sample(self, names: Sequence[str]) -> None:
        """Take a reading of each interface; forget those that are not named. Called about once a second."""
        for gone in self._readings.keys() - set(names):
            del self._readings[gone]
        for name in names:
            try:
                reading = self._read(name)
            except NotFound:  # it was detached since the caller looked
                self._readings.pop(name, None)
                continue
            kept = self._readings.setdefault(name, deque())
            kept.append(reading)
            while len(kept) > 2 and kept[1].time <= reading.time - WINDOW:
                kept.popleft()

    def counters(self, name: str, slots: Slots) -> CountersView:
        """Raises NotFound unless attached."""
        now = self._clock.monotonic()
        tally = self._kernel.read_tally(name)
        before = self._before(name, now)
        totals = tally.sum(axis=0)
        seconds = (now - before.time) / SECOND if before else 0.0
        delta = totals - np.minimum(before.tally.sum(axis=0), totals) if before else np.zeros_like(totals)
        rules = {slot: id for id, slot in slots.of.items()}
        reasons = {
            _cause_label(cause, rules): ReasonView(*(Count(int(c[i]), int(c[i + 1])) for i in (0, 2, 4)))
            for cause, c in enumerate(tally)
            if c.any() or cause - MAX_REASONS in rules
        }
        return CountersView(
            name,
            _rated(totals[:2], delta[:2], seconds),
            _rated(totals[2:4], delta[2:4], seconds),
            Count(int(totals[4]), int(totals[5])),
            reasons,
        )

    def talkers(
        self,
        names: Sequence[str],
        query: TalkerQuery,
        sets_of: Callable[[Address], list[str]],
        *,
        show_interfaces: bool,
    ) -> TalkersView:
        """The talkers of these interfaces, summed by address. Raises NotFound if one is not attached."""
        readings, seconds, totals, total_deltas = self._measure(names)
        everyone = stats.gather(readings)
        tracked = everyone.counts.sum(axis=0, dtype=np.uint64)
        tracked_deltas = everyone.deltas.sum(axis=0, dtype=np.uint64)
        chosen = stats.within(everyone, query.family, query.within)
        order = stats.rank(chosen, query.sort, query.of, query.order == "desc", query.limit)
        epochs = [self.epochs[name].since for name in names if name in self.epochs]
        return TalkersView(
            items=[_talker(chosen, i, seconds, sets_of, names if show_interfaces else None) for i in order],
            next=None,
            total=len(chosen),
            other=_passed_dropped(_less(totals, tracked), _less(total_deltas, tracked_deltas), seconds),
            totals=_passed_dropped(totals, total_deltas, seconds),
            since=to_datetime(max(epochs)) if epochs else None,
        )

    def address(self, names: Sequence[str], address: Address) -> list[AddressInterfaceView]:
        """Where an address was seen, and what became of its packets."""
        packed = np.frombuffer(stats.pack(address), np.uint8)
        seen = []
        for name in names:
            try:
                rows = self._kernel.read_talkers(name)
            except NotFound:
                continue
            rows = rows[(rows["address"] == packed).all(axis=1)]
            if len(rows):
                sums = rows["counts"].sum(axis=0)
                last_seen = to_datetime(int(rows["last_seen"].max()))
                seen.append(AddressInterfaceView(name, _count(sums[:2]), _count(sums[2:]), last_seen))
        return seen

    def reset(self, name: str) -> Epoch:
        """Count the talkers afresh. The totals are read first: a packet in between shows as `other`, never twice."""
        totals = tuple(int(n) for n in self._kernel.read_tally(name).sum(axis=0)[:4])
        self._kernel.reset_talkers(name)
        self._readings.pop(name, None)
        epoch = Epoch(self._clock.wall(), totals)  # type: ignore[arg-type]
        self.epochs[name] = epoch
        return epoch

    def _read(self, name: str) -> Reading:
        rows = self._kernel.read_talkers(name)
        tally = self._kernel.read_tally(name)
        return Reading(self._clock.monotonic(), rows, tally)

    def _before(self, name: str, now: int) -> Reading | None:
        """The latest reading that is at least the window old, else the oldest."""
        kept = self._readings.get(name)
        if not kept:
            return None
        return next((reading for reading in reversed(kept) if now - reading.time >= WINDOW), kept[0])

    def _measure(self, names: Sequence[str]) -> tuple[list[tuple[stats.Rows, stats.Counts]], float, Tally, Tally]:
        """Per interface rows and deltas; then seconds that the deltas span, the totals and their deltas."""
        readings, spans = [], []
        totals, total_deltas = np.zeros(4, np.uint64), np.zeros(4, np.uint64)
        for name in names:
            reading = self._read(name)
            before = self._before(name, reading.time)
            epoch = self.epochs.get(name)
            since = np.array(epoch.totals if epoch else (0, 0, 0, 0), np.uint64)
            now_totals = reading.tally.sum(axis=0)[:4]
            totals += _less(now_totals, since)
            if before:
                readings.append((reading.rows, stats.deltas(reading.rows, before.rows)))
                total_deltas += _less(now_totals, before.tally.sum(axis=0)[:4])
                spans.append((reading.time - before.time) / SECOND)
            else:
                readings.append((reading.rows, np.zeros_like(reading.rows["counts"])))
        if not readings:
            readings = [(np.empty(0, TALKER), np.empty((0, 4), np.uint64))]
        return readings, max(spans, default=0.0), totals, total_deltas


def _cause_label(cause: int, rules: Mapping[int, str]) -> str:
    """A rule that went a moment ago has no name any more, like all that are gone."""
    name = rules.get(cause - MAX_REASONS)
    if name is not None:
        return f"rule:{name}"
    return Reason(cause if cause < MAX_REASONS else Reason.RULE).label


def _less(counts: Tally, part: Tally) -> Tally:
    return counts - np.minimum(part, counts)


def _count(pair: npt.NDArray[np.uint64]) -> Count:
    return Count(int(pair[0]), int(pair[1]))


def _rated(pair: npt.NDArray[np.uint64], delta: npt.NDArray[np.uint64], seconds: float) -> Rated:
    if seconds <= 0:
        return Rated(int(pair[0]), int(pair[1]))
    return Rated(int(pair[0]), int(pair[1]), round(int(delta[0]) / seconds, 1), round(int(delta[1]) * 8 / seconds, 1))


def _passed_dropped(counts: Tally, delta: Tally, seconds: float) -> PassedDropped:
    return PassedDropped(_rated(counts[:2], delta[:2], seconds), _rated(counts[2:], delta[2:], seconds))


def _talker(
    chosen: stats.Talkers,
    index: int,
    seconds: float,
    sets_of: Callable[[Address], list[str]],
    names: Sequence[str] | None,
) -> TalkerView:
    address = chosen.address(index)
    both = _passed_dropped(chosen.counts[index], chosen.deltas[index], seconds)
    sources = int(chosen.sources[index])
    return TalkerView(
        str(address),
        both.passed,
        both.dropped,
        to_datetime(int(chosen.since[index])),
        to_datetime(int(chosen.last_seen[index])),
        sets_of(address),
        [name for i, name in enumerate(names) if sources >> i & 1] if names is not None else None,
    )
