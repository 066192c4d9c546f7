# SPDX-License-Identifier: Apache-2.0
"""Waiting for what must come true, up to a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(probe: Callable[[], T], what: str, within: float = 10.0, every: float = 0.02) -> T:
    """Ask again and again until the answer is true, and give it.

    Raises:
        TimeoutError: it never was; says `what` was waited for.
    """
    deadline = time.monotonic() + within
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within:g} s in vain: {what} (last answer: {answer!r})")
        time.sleep(every)
