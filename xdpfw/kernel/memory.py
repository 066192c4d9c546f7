# SPDX-License-Identifier: Apache-2.0
"""Memory of long changes: kept at hand while they run, given back when they are done.

glibc's defaults (mallopt(3)) do neither for arrays of tens of megabytes: some are mapped and unmapped for each
operation, which clears their pages every time, others stay with the process for the rest of the day.
"""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MAPPED_FROM = 32 << 20  # the most that glibc takes
_KEPT = 512 << 20


def keep_at_hand() -> None:
    """From now on all threads take large blocks from one heap, which does not shrink by itself. Once, at start."""
    with contextlib.suppress(AttributeError):  # another C library than glibc
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)


def give_back() -> None:
    """Return to the system what is free now: some milliseconds, for when a long change is done."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
