# SPDX-License-Identifier: Apache-2.0
"""The one clock. Stored times are wall clock; durations are measured on the monotonic clock.

A ttl is a duration. When the wall clock is stepped (by hand, or by NTP after a boot without a clock), what is stored
moves along by the same amount, so that a ban of an hour stays a ban of an hour. The anchor tells a restarted daemon
whether the clock was stepped while it was away: within one boot, wall clock minus monotonic clock is constant but
for such steps.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

SECOND = 1_000_000_000
STEP = SECOND // 4
"""A jump of the wall clock by more than this is a step, not slewing."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    def wall(self) -> int:
        """Nanoseconds since 1970."""

    def monotonic(self) -> int:
        """Nanoseconds since some moment of this boot (CLOCK_MONOTONIC)."""


class SystemClock:
    def wall(self) -> int:
        return time.time_ns()

    def monotonic(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class ClockAnchor:
    """`offset`: wall clock minus monotonic clock in ns, to the microsecond, during boot `boot`."""

    boot: str
    offset: int

    @classmethod
    def take(cls, clock: Clock) -> ClockAnchor:
        return cls(boot_id(), (clock.wall() - clock.monotonic()) // 1000 * 1000)

    def step_since(self, earlier: ClockAnchor | None) -> int:
        """By how much (ns) the wall clock was stepped since; 0 across boots, where it cannot be told."""
        if earlier is None or earlier.boot != self.boot:
            return 0
        step = self.offset - earlier.offset
        return step if abs(step) > STEP else 0


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def to_datetime(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ns // 1000)


def from_datetime(moment: datetime) -> int:
    return (moment.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1) * 1000
