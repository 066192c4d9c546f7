# SPDX-License-Identifier: Apache-2.0
"""Events of the fake kernel: those that a test says were written."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.layouts import EVENT
from xdpfw.kernel.port import EventBatch, Wish


class FakeEvents:
    """`wished` is what was wished last; `pending_events` (arrays of EVENT) are read once."""

    def __init__(self) -> None:
        self.wished = Wish()
        self.pending_events: list[npt.NDArray[Any]] = []

    def wish(self, wish: Wish) -> None:
        self.wished = wish

    def read_events(self) -> EventBatch:
        rows, self.pending_events = self.pending_events, []
        return EventBatch(np.concatenate(rows) if rows else np.zeros(0, EVENT), [0], [0])
