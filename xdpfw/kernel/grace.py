# SPDX-License-Identifier: Apache-2.0
"""Wait until every packet that was on its way is done.

An update of a map of maps returns only after all programs that might still see the old inner map have finished
(kernel/bpf/syscall.c, maybe_wait_bpf_programs): a grace period that needs no more than what is in use anyway.
"""

from __future__ import annotations

import os

import numpy as np

from xdpfw.kernel import libbpf
from xdpfw.kernel.maps import ARRAY, ARRAY_OF_MAPS, INDEX, Map, MapSpec


class Grace:
    def __init__(self) -> None:
        self._inner = Map.create(MapSpec("grace_inner", ARRAY, INDEX, np.dtype("u8"), 1))
        self._outer = libbpf.map_create(ARRAY_OF_MAPS, "grace", 4, 4, 1, 0, self._inner.fd)

    def wait(self) -> None:
        libbpf.map_update(self._outer, libbpf.u32(0), libbpf.u32(self._inner.fd))

    def close(self) -> None:
        os.close(self._outer)
        self._inner.close()
