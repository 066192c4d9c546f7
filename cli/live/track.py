# SPDX-License-Identifier: Apache-2.0
"""How traffic went while we looked: averages, peaks, and a rate for every second that has passed.

Fed with cumulative counts at irregular times; what lies between two readings is taken as even.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from cli.live.reading import Flow, Past, Traffic

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

    def is_before(self, other: _Sample) -> bool:
        return self.time < other.time or any(a < b for a, b in zip(self.counts, other.counts, strict=True))

    def reckoned_back(self, rates: Traffic, time: float) -> _Sample:
        """What the counts must have been at an earlier time, if these were the rates since."""
        gap = self.time - time
        packets, size, dropped, dropped_size = self.counts
        return _Sample(
            time,
            (
                packets - gap * rates.passed.pps,
                size - gap * rates.passed.bps / 8,
                dropped - gap * rates.dropped.pps,
                dropped_size - gap * rates.dropped.bps / 8,
            ),
        )

    def between(self, later: _Sample, time: float) -> _Sample:
        part = (time - self.time) / (later.time - self.time)
        first, second, third, fourth = (
            then + part * (now - then) for now, then in zip(later.counts, self.counts, strict=True)
        )
        return _Sample(time, (first, second, third, fourth))


@dataclass(slots=True)
class Track:
    """One interface, or all together. Times are seconds by the daemon's clock.

    `peaks`: the highest rates of passed, dropped and total traffic; `seconds`: rates of each second that is over.
    """

    peaks: tuple[Flow, Flow, Flow] = (Flow(), Flow(), Flow())
    seconds: deque[Traffic] = field(default_factory=lambda: deque(maxlen=SECONDS))
    _samples: deque[_Sample] = field(default_factory=deque)
    _second: _Sample | None = None

    def add(self, time: float, totals: Traffic) -> None:
        """A reading. Counts or times that went back (counted afresh, another daemon, an interface less) begin anew."""
        passed, dropped = totals.passed, totals.dropped
        now = _Sample(time, (passed.packets, passed.bytes, dropped.packets, dropped.bytes))
        samples = self._samples
        if samples and now.is_before(samples[-1]):
            samples.clear()
            self._second = None
        if samples:
            if time == samples[-1].time:
                return
            self._complete_seconds(samples[-1], now)
        samples.append(now)
        while len(samples) > 2 and samples[1].time <= time - WINDOW:
            samples.popleft()
        self._raise_peaks(totals)

    def remember(self, past: Past) -> None:
        """What the daemon knows of the time before the first reading. It is put before what is known already."""
        if not self._samples:
            return
        earliest = self._samples[0]
        seconds: list[Traffic] = []
        for end, rates in zip(reversed(past.ends), reversed(past.rates), strict=True):
            if rates is None or len(seconds) + len(self.seconds) >= SECONDS:
                break
            if end > earliest.time:
                continue
            seconds.append(rates)
            self._raise_peaks(rates)
            earliest = earliest.reckoned_back(rates, end - 1.0)
            if self._samples[-1].time - end <= WINDOW:
                self._samples.appendleft(earliest)
        self.seconds.extendleft(seconds)

    def _raise_peaks(self, rates: Traffic) -> None:
        flows = (rates.passed, rates.dropped, rates.total)
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
