# SPDX-License-Identifier: Apache-2.0
"""One thing that is not as it should be, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdpfw.model.deviation import Deviation

SHOWN = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """`tell` says what is wrong at one of the `places`, by number."""

    table: str
    places: int
    tell: Callable[[int], str]
    mend: Callable[[], None]

    @classmethod
    def one(cls, table: str, told: str, mend: Callable[[], None] = lambda: None) -> Finding:
        return cls(table, 1, lambda _: told, mend)

    def told(self) -> Deviation:
        return Deviation(self.table, self.places, tuple(self.tell(at) for at in range(min(self.places, SHOWN))))
