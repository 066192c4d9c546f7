# SPDX-License-Identifier: Apache-2.0
"""Requests without a valid token, counted by source.

Secrets have 256 random bits, so guessing is hopeless with and without this; it is the log and the processor that are
spared. A request with a valid token is always let in: otherwise whoever shares an address with others (a proxy's, the
loopback's) could lock them out.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from xdpfw.model.errors import XdpfwError

BURST = 10
"""Failures at once that are answered by 401."""
SECONDS_EACH = 6.0
"""After so long one failure is forgotten."""
SOURCES = 4096
"""Sources that are remembered; beyond that the one that failed longest ago is forgotten."""

log = logging.getLogger("xdpfw.api")


class TooManyFailures(XdpfwError):
    """`retry_after`: seconds."""

    status, title = 429, "Too many failures"

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests without a valid token; try again in {retry_after} s with one")
        self.retry_after = retry_after


class Failures:
    """A leaky bucket for each source."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # level, when it was so high, whether it was told
        self._sources: OrderedDict[str, tuple[float, float, bool]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sources)

    def count(self, source: str) -> None:
        """Raises TooManyFailures once there are too many."""
        now = self._clock()
        level, at, told = self._sources.pop(source, (0.0, now, False))
        level = max(0.0, level - (now - at) / SECONDS_EACH)
        told = told and level > 1
        over = level + 1 > BURST
        self._sources[source] = (level if over else level + 1, now, told or over)
        if len(self._sources) > SOURCES:
            self._sources.popitem(last=False)
        if over:
            if not told:
                log.warning("many requests without a valid token from %s: they are answered by 429 for now", source)
            raise TooManyFailures(int((level + 1 - BURST) * SECONDS_EACH) + 1)
