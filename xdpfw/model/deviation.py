# SPDX-License-Identifier: Apache-2.0
"""What is in the kernel and should not be, or should be and is not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Deviation:
    """`table`: the map, or `pins`, `program`. `details`: for people, of the first of the `places` that are wrong."""

    table: str
    places: int
    details: tuple[str, ...]

    def __str__(self) -> str:
        more = self.places - len(self.details)
        return f"{self.table}: {'; '.join(self.details)}" + (f"; and {more:,} more" if more > 0 else "")
