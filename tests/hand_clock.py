# SPDX-License-Identifier: Apache-2.0
"""A clock that moves when a test says so."""

from __future__ import annotations

from dataclasses import dataclass

from xdpfw.clock import SECOND


@dataclass
class HandClock:
    """`advance` lets time pass; `step` moves the wall clock alone, as an operator or NTP does."""

    now: int = 5_000 * SECOND
    offset: int = 1_800_000_000 * SECOND

    def wall(self) -> int:
        return self.now + self.offset

    def monotonic(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)

    def step(self, seconds: float) -> None:
        self.offset += int(seconds * SECOND)
