# SPDX-License-Identifier: Apache-2.0
"""What goes by: who is talking, what is passed and dropped and why, now and in the last minutes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xdpfw.clock import SECOND, Clock, to_datetime
from xdpfw.kernel.port import Kernel
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
    HistoryView,
    PassedDropped,
    Rated,
    RateSeries,
    ReasonView,
    TalkersView,
    TalkerView,
)
from xdpfw.readings import Reading, Readings, Tally
from xdpfw.stats import talkers as stats
from xdpfw.stats.deltas import Deltas
from xdpfw.stats.grouping import Grouping
from xdpfw.stats.history import History


@dataclass(frozen=True, slots=True)
class Measured:
    """What some interfaces counted: `talkers` of all, `tracked` and `tracked_deltas` their sums, `totals` and
    `total_deltas` the interfaces' own (4 columns each). Deltas span `seconds`. `time`: monotonic ns."""

    time: int
    seconds: float
    talkers: stats.Talkers
    tracked: Tally
    tracked_deltas: Tally
    totals: Tally
    total_deltas: Tally


class Traffic:
    """Methods block for some milliseconds: call them in a worker thread. `shared`: look at the reading that is taken
    every second, however many ask; else take one now."""

    def __init__(self, kernel: Kernel, clock: Clock) -> None:
        self._kernel = kernel
        self._clock = clock
        self._readings = Readings(kernel, clock)
        self._shared: dict[tuple[str, ...], Measured] = {}
        # Those made since the last reading, and between that and the one before.
        self._groupings: dict[tuple[str, ...], Grouping] = {}
        self._earlier: dict[tuple[str, ...], Grouping] = {}
        self.epochs: dict[str, Epoch] = {}

    @property
    def watched(self) -> bool:
        """Whether somebody asked a moment ago who talks: until then, what readings take is needed every second."""
        return self._readings.watched

    def sample(self, attached: Sequence[str]) -> bool:
        """Take a reading of each interface; forget those that are not named. Called about once a second. Answers
        whether it looked at talkers."""
        looked = self._readings.sample(attached)
        self._earlier, self._groupings = self._groupings, {}
        self._shared = {}
        return looked

    def counters(self, name: str, slots: Slots | None, *, shared: bool = False) -> CountersView:
        """`slots`: those of the rules; None leaves the reasons out. Raises NotFound unless attached."""
        if shared:
            latest = self._readings.latest_totals(name)
            now, tally = latest.time, latest.tally
        else:
            now, tally = self._clock.monotonic(), self._kernel.read_tally(name)
        before = self._readings.totals_before(name, now)
        totals = tally.sum(axis=0)
        seconds = (now - before.time) / SECOND if before else 0.0
        delta = _less(totals, before.tally.sum(axis=0)) if before else np.zeros_like(totals)
        return CountersView(
            name,
            _rated(totals[:2], delta[:2], seconds),
            _rated(totals[2:4], delta[2:4], seconds),
            _rated(totals[4:], delta[4:], seconds),
            {} if slots is None else _reasons(tally, slots),
            to_datetime(self._wall(now)),
        )

    def talkers(
        self,
        names: Sequence[str],
        query: TalkerQuery,
        sets_of: Callable[[Address], list[str]],
        *,
        show_interfaces: bool,
        shared: bool = False,
    ) -> TalkersView:
        """The talkers of these interfaces, summed by address. Raises NotFound if one is not attached."""
        self._readings.asked()
        measured = self._measure_shared(names) if shared else self._measure(names, self._readings.take)
        talkers, seconds = measured.talkers, measured.seconds
        among = talkers.within(query.family, query.within)
        first = talkers.rank(among, query.sort, query.of, descending=query.order == "desc", limit=query.limit)
        epochs = [self.epochs[name].since for name in names if name in self.epochs]
        other = _less(measured.totals, measured.tracked), _less(measured.total_deltas, measured.tracked_deltas)
        return TalkersView(
            items=_talkers(talkers.details(first), seconds, sets_of, names if show_interfaces else None),
            next=None,
            total=int(np.count_nonzero(among)),
            other=_passed_dropped(*other, seconds),
            totals=_passed_dropped(measured.totals, measured.total_deltas, seconds),
            since=to_datetime(max(epochs)) if epochs else None,
            at=to_datetime(self._wall(measured.time)),
        )

    def history(self, name: str, window: int, step: int) -> HistoryView:
        """The last `window` seconds in steps of `step`, whose ends do not move from one call to the next."""
        history = self._readings.histories.get(name)
        offset = self._clock.wall() - self._clock.monotonic()
        latest = (history.latest if history else self._clock.monotonic()) + offset
        back = np.arange(window // step, -1, -1, dtype=np.int64)
        ends = (latest // (step * SECOND) - back) * step * SECOND
        rates = (history or History()).rates(ends - offset)
        rates[:, 1::2] *= 8
        series = [RateSeries(*([_number(rate) for rate in rates[:, i + j]] for j in (0, 1))) for i in (0, 2, 4)]
        return HistoryView(name, window, step, [to_datetime(int(end)) for end in ends[1:]], *series)

    def address(self, names: Sequence[str], address: Address) -> list[AddressInterfaceView]:
        """Where an address was seen, and what became of its packets."""
        halves = np.frombuffer(stats.pack(address), np.uint64)
        seen = []
        for name in names:
            try:
                table = self._kernel.read_talkers(name)
            except NotFound:
                continue
            rows = table.rows(np.flatnonzero((halves == table.address.T).all(axis=1) & (table.tenure != 0)))
            if len(rows):
                sums = rows["counts"].sum(axis=0)
                last_seen = to_datetime(int(rows["last_seen"].max()))
                seen.append(AddressInterfaceView(name, _count(sums[:2]), _count(sums[2:]), last_seen))
        return seen

    def reset(self, name: str) -> Epoch:
        """Count the talkers afresh. The totals are read first: a packet in between shows as `other`, never twice."""
        totals = tuple(int(n) for n in self._kernel.read_tally(name).sum(axis=0)[:4])
        self._kernel.reset_talkers(name)
        self._readings.forget(name)
        epoch = Epoch(self._clock.wall(), totals)  # type: ignore[arg-type]
        self.epochs[name] = epoch
        return epoch

    def _wall(self, monotonic: int) -> int:
        return self._clock.wall() - self._clock.monotonic() + monotonic

    def _measure_shared(self, names: Sequence[str]) -> Measured:
        """Measured once, however many ask."""
        key = tuple(names)
        if key not in self._shared:
            self._shared[key] = self._measure(names, self._readings.latest)
        return self._shared[key]

    def _measure(self, names: Sequence[str], read: Callable[[str], Reading]) -> Measured:
        time, tables, deltas, spans = self._clock.monotonic(), [], [], []
        tracked, totals, total_deltas = (np.zeros(4, np.uint64) for _ in range(3))
        for name in names:
            reading = read(name)
            assert reading.table is not None
            time, before = reading.time, self._readings.before(name, reading.time)
            epoch = self.epochs.get(name)
            now_totals = reading.tally.sum(axis=0)[:4]
            totals += _less(now_totals, np.array(epoch.totals if epoch else (0, 0, 0, 0), np.uint64))
            tables.append(reading.table)
            deltas.append(Deltas(reading.table, reading.sums, (before or reading).whole(len(reading.tenure))))
            tracked += reading.sums
            if before:
                total_deltas += _less(now_totals, before.tally.sum(axis=0)[:4])
                spans.append((reading.time - before.time) / SECOND)
        key = tuple(names)
        talkers = stats.Talkers(tables, deltas, self._groupings.get(key) or self._earlier.get(key))
        self._groupings[key] = talkers.grouping
        return Measured(
            time,
            max(spans, default=0.0),
            talkers,
            tracked,
            np.sum([np.zeros(4, np.uint64), *(delta.sums() for delta in deltas)], axis=0),
            totals,
            total_deltas,
        )


def _number(rate: float) -> float | None:
    return None if math.isnan(rate) else round(float(rate), 1)


def _reasons(tally: Tally, slots: Slots) -> dict[str, ReasonView]:
    rules = {slot: id for id, slot in slots.of.items()}
    return {
        _cause_label(cause, rules): ReasonView(*(Count(int(c[i]), int(c[i + 1])) for i in (0, 2, 4)))
        for cause, c in enumerate(tally)
        if c.any() or cause - MAX_REASONS in rules
    }


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


def _talkers(
    details: stats.Details, seconds: float, sets_of: Callable[[Address], list[str]], names: Sequence[str] | None
) -> list[TalkerView]:
    views = []
    for i, address in enumerate(details.addresses):
        both = _passed_dropped(details.counts[i], details.deltas[i], seconds)
        sources = int(details.sources[i])
        views.append(
            TalkerView(
                str(address),
                both.passed,
                both.dropped,
                to_datetime(int(details.since[i])),
                to_datetime(int(details.last_seen[i])),
                sets_of(address),
                [name for bit, name in enumerate(names) if sources >> bit & 1] if names is not None else None,
            )
        )
    return views
