# SPDX-License-Identifier: Apache-2.0
"""Several maps' memory side by side, as one array: what the `mmap` module cannot do."""

from __future__ import annotations

import ctypes as ct
import mmap
import os
import weakref
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

_FIXED = 0x10
"""MAP_FIXED, which Python does not name."""


@cache
def _libc() -> ct.CDLL:
    library = ct.CDLL(None, use_errno=True)
    library.mmap.restype = ct.c_void_p
    library.mmap.argtypes = (ct.c_void_p, ct.c_size_t, ct.c_int, ct.c_int, ct.c_int, ct.c_long)
    library.munmap.argtypes = (ct.c_void_p, ct.c_size_t)
    return library


def _map(address: int | None, size: int, access: int, flags: int, fd: int) -> int:
    found: int = _libc().mmap(address, size, access, flags, fd, 0)
    if found == ct.c_void_p(-1).value:
        number = ct.get_errno()
        raise OSError(number, f"mapping {size} bytes: {os.strerror(number)}")
    return found


def side_by_side(descriptors: Sequence[int | None], size: int) -> npt.NDArray[np.uint8]:
    """The first `size` bytes (whole pages of memory) of each of these maps, writable, until the array is gone. None is
    zeros, and what is written there is lost."""
    total = len(descriptors) * size
    access = mmap.PROT_READ | mmap.PROT_WRITE
    start = _map(None, total, access, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)
    memory = (ct.c_uint8 * total).from_address(start)
    weakref.finalize(memory, _libc().munmap, start, total)
    for number, fd in enumerate(descriptors):
        if fd is not None:
            _map(start + number * size, size, access, mmap.MAP_SHARED | _FIXED, fd)
    return np.ctypeslib.as_array(memory)
