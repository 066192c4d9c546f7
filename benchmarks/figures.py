# SPDX-License-Identifier: Apache-2.0
"""What was measured, each figure with all its values."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """`values` in `unit`; `goal` is what the median shall stay under."""

    name: str
    unit: str
    goal: float | None
    values: tuple[float, ...]

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
    """Of values that were measured in turns, pair by pair."""
    return Figure(name, "x", goal, tuple(a / b for a, b in zip(ours, theirs, strict=True)))
