# SPDX-License-Identifier: Apache-2.0
"""What was measured, each figure with all its values."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """Where a figure is in a plot: which plot, which line, and how large what it was measured with is."""

    plot: str
    line: str
    size: int


@dataclass(frozen=True, slots=True)
class Figure:
    """`values` in `unit`; `goal` is what the median shall stay under."""

    name: str
    unit: str
    goal: float | None
    values: tuple[float, ...]
    point: Point | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def line(self) -> str:
        goal = f"< {self.goal:g}" if self.goal else ""
        reached = "" if self.goal is None else ("ok" if self.median < self.goal else "MISSED")
        spread = f"{min(self.values):.4g} … {max(self.values):.4g}"
        measured = f"{self.median:>9.4g} {self.unit:3} {spread:>20}  n={len(self.values):<4}"
        return f"{self.name:54} {measured} {goal:>8} {reached}"

    def document(self) -> dict[str, object]:
        return asdict(self) | {"median": self.median}


def ratio(name: str, goal: float | None, ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Of values that were measured in turns, pair by pair; of as many pairs as there are."""
    return Figure(name, "x", goal, tuple(a / b for a, b in zip(ours, theirs, strict=False)))


def percentile(name: str, unit: str, goal: float | None, share: float, runs: Sequence[Sequence[float]]) -> Figure:
    """Of each run's values, that below which so large a share of them lies (0 to 1)."""
    return Figure(name, unit, goal, tuple(sorted(run)[int(share * (len(run) - 1))] for run in runs))
