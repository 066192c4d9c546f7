# SPDX-License-Identifier: Apache-2.0
"""What somebody else changed in the kernel, as it was noticed, and whether it could be mended."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from xdpfw.clock import SECOND, Clock

log = logging.getLogger("xdpfw.drift")

REMEMBERED = 10
SHOWN_FOR = 3600 * SECOND
"""How long status tells of what was mended."""

SHARE, LEAST = 25, 5.0
"""A whole look may take that part of one processor's time, and comes no sooner than after so many seconds."""


@dataclass(frozen=True, slots=True)
class Drifted:
    """`at`: wall clock ns, when it was noticed."""

    at: int
    found: tuple[str, ...]
    mended: bool


class Drift:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last: deque[Drifted] = deque(maxlen=REMEMBERED)
        self._whole_at = 0
        self.problems: tuple[str, ...] = ()
        """What is not mended."""

    def noticed(self, found: Sequence[str]) -> None:
        """Until `settled`, it is a reason not to be ready."""
        if new := [told for told in found if told not in self.problems]:
            log.error("the kernel does not hold what it should: %s", "; ".join(new))
        self.problems = tuple(found)

    def settled(self, left: Sequence[str] = ()) -> None:
        """What could be mended was. `left`: what is still wrong."""
        if self.problems and not left:
            log.warning("it was written again, and is as it should be")
        if self.problems and self.problems != tuple(left):
            self._last.append(Drifted(self._clock.wall(), self.problems, not left))
        self.problems = tuple(left)

    def lately(self) -> list[Drifted]:
        return [each for each in self._last if self._clock.wall() - each.at < SHOWN_FOR]

    @property
    def whole_is_due(self) -> bool:
        """Whether to look at everything, not only at what takes milliseconds."""
        return self._clock.monotonic() >= self._whole_at

    def looked(self, spent: float) -> None:
        """A whole look took so many seconds."""
        self._whole_at = self._clock.monotonic() + round(max(LEAST, spent * SHARE) * SECOND)
