# SPDX-License-Identifier: Apache-2.0
"""A long job in pieces, with everybody else's turn in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LONGEST = 0.075
"""Seconds that a turn should take: others wait for one at most, or hardly more."""

LEAST, FIRST, MOST = 10_000, 65_536, 262_144
"""Prefixes that are inserted or deleted in one turn."""


class Turns:
    """Turns with a lock that others want too. Each says how large a piece may be, going by how long the last one
    took."""

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._size = FIRST

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[int]:
        async with self._lock:
            began = time.monotonic()
            yield self._size
            took = max(time.monotonic() - began, 1e-6)
        self._size = int(min(max(self._size * min(max(LONGEST / took, 0.5), 2), LEAST), MOST))
