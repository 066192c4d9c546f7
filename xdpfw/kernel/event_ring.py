# SPDX-License-Identifier: Apache-2.0
"""The rings of events, one of each CPU, read through mmap: no system call for an event, and none to be woken.

A CPU writes its events around its ring and counts them in `head`. The reader knows how far it came; what was written
over meanwhile is lost to it, and counted. An event that was being written while it was copied has another number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.maps import Map
from xdpfw.kernel.port import EventBatch


class EventRings:
    """One reader. What is in the rings when it begins is not read."""

    def __init__(self, states: Map, events: Map) -> None:
        self._states, self._events = states, events
        self._cpus = len(states.view)
        self._slots = events.spec.entries // self._cpus
        self._tails = self._heads()
        self._lost = np.zeros(self._cpus, np.uint64)

    def _heads(self) -> npt.NDArray[np.uint64]:
        return self._states.view["head"].copy()

    def read(self) -> EventBatch:
        """What was written since the last call, in the order of time."""
        heads = self._heads()
        found: list[npt.NDArray[Any]] = []
        for cpu, (head, tail) in enumerate(zip(heads.tolist(), self._tails.tolist(), strict=True)):
            begin = max(tail, head - self._slots)
            self._lost[cpu] += np.uint64(begin - tail)
            if head > begin:
                found.append(self._copied(cpu, begin, head))
        self._tails = heads
        rows = np.concatenate(found) if found else np.zeros(0, self._events.spec.value)
        return EventBatch(rows[np.argsort(rows["time"], kind="stable")], self._lost.tolist(), self._limited())

    def _copied(self, cpu: int, begin: int, head: int) -> npt.NDArray[Any]:
        numbers = np.arange(begin, head, dtype=np.uint64)
        at = cpu * self._slots + (numbers % np.uint64(self._slots)).astype(np.int64)
        with self._events.mapped() as live:
            rows = live[at]
            # Written over while it was copied: then its number has changed by now.
            whole = (rows["number"] == numbers + 1) & (live["number"][at] == numbers + 1)
        self._lost[cpu] += np.uint64(len(rows) - np.count_nonzero(whole))
        kept: npt.NDArray[Any] = rows[whole]
        return kept

    def _limited(self) -> list[int]:
        return [int(count) for count in self._states.view["limited"]]
