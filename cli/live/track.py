# SPDX-License-Identifier: Apache-2.0
"""How traffic went while we looked: averages, peaks, and a rate for every second that has passed.

Fed with cumulative counts at irregular times; what lies between two readings is taken as even.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from cli.live.reading import Flow, Traffic

WINDOW = 40.0
"""Seconds that the longest average spans."""
SECONDS = 600
"""So many of the seconds passed are remembered."""

Counts = tuple[float, float, float, float]
"""Passed packets and bytes, dropped packets and bytes."""


@dataclass(frozen=True, slots=True)
class _Sample:
    time: float
    counts: Counts

    def rates_since(self, before: _Sample) -> Traffic:
        seconds = self.time - before.time
        packets, size, dropped, dropped_size = (
            (now - then) / seconds for now, then in zip(self.counts, before.counts, strict=True)
        )
        return Traffic(Flow(pps=packets, bps=8 * size), Flow(pps=dropped, bps=8 * dropped_size))

    def between(self, later: _Sample, time: float) -> _Sample:
        part = (time - self.time) / (later.time - self.time)
        first, second, third, fourth = (
            then + part * (now - then) for now, then in zip(later.counts, self.counts, strict=True)
        )
        return _Sample(time, (first, second, third, fourth))


@dataclass(slots=True)
class Track:
    """One interface, or all together. Times are monotonic seconds.

    `peaks`: the highest rates of passed, dropped and total traffic; `seconds`: rates of each second that is over.
    """

    peaks: tuple[Flow, Flow, Flow] = (Flow(), Flow(), Flow())
    seconds: deque[Traffic] = field(default_factory=lambda: deque(maxlen=SECONDS))
    _samples: deque[_Sample] = field(default_factory=deque)
    _second: _Sample | None = None

    def add(self, time: float, totals: Traffic) -> None:
        """A reading. Counts that went back (counted afresh, another daemon, an interface fewer) begin anew."""
        passed, dropped = totals.passed, totals.dropped
        now = _Sample(time, (passed.packets, passed.bytes, dropped.packets, dropped.bytes))
        samples = self._samples
        if samples and any(new < old for new, old in zip(now.counts, samples[-1].counts, strict=True)):
            samples.clear()
            self._second = None
        if samples:
            if time <= samples[-1].time:
                return
            self._complete_seconds(samples[-1], now)
        samples.append(now)
        while len(samples) > 2 and samples[1].time <= time - WINDOW:
            samples.popleft()
        flows = (passed, dropped, totals.total)
        one, two, three = (_higher(peak, flow) for peak, flow in zip(self.peaks, flows, strict=True))
        self.peaks = (one, two, three)

    def average(self, window: float) -> Traffic | None:
        """Rates over the last `window` seconds, or over what is known of them; None before there are two readings."""
        if len(self._samples) < 2:
            return None
        last = self._samples[-1]
        long_ago = (each for each in reversed(self._samples) if last.time - each.time >= window)
        return last.rates_since(next(long_ago, self._samples[0]))

    def _complete_seconds(self, before: _Sample, now: _Sample) -> None:
        """Rates of the seconds of the clock that ended between two readings."""
        for second in range(max(int(before.time), int(now.time) - SECONDS) + 1, int(now.time) + 1):
            end = before.between(now, float(second))
            if self._second is not None:
                self.seconds.append(end.rates_since(self._second))
            self._second = end


def _higher(peak: Flow, flow: Flow) -> Flow:
    return Flow(pps=max(peak.pps, flow.pps), bps=max(peak.bps, flow.bps))
