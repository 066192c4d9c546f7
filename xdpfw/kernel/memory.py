# SPDX-License-Identifier: Apache-2.0
"""Give memory back. glibc keeps large freed blocks for later use once it has seen one freed (mallopt(3), dynamic
mmap threshold); after an import of a million prefixes that would be hundreds of megabytes for the rest of the day."""

from __future__ import annotations

import contextlib
import ctypes

_M_MMAP_THRESHOLD = -3
_LARGE = 1 << 20


def return_large_blocks() -> None:
    """From now on, blocks of a megabyte and more go back to the system when they are freed. Once, at start."""
    with contextlib.suppress(AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def trim() -> None:
    """Give back what is free now; some milliseconds."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
