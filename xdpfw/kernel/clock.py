# SPDX-License-Identifier: Apache-2.0
"""The clocks: stored times are wall clock (ns since 1970), the packet path's are jiffies. Converted only here.

jiffies advance with CLOCK_MONOTONIC: neither a step of the wall clock nor a change of time zone moves them.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import libbpf
from xdpfw.kernel.maps import ARRAY, INDEX, Map, MapSpec
from xdpfw.policy.ops import NEVER

STEP_NS = 500_000_000
"""The wall clock is taken to have been stepped when it moved that much against the monotonic clock."""

_TRIES, _PROMPT_NS = 10, 200_000
_CLOCK_MONOTONIC_COARSE = 6
_HELPER_JIFFIES64 = 118
_ANY_FRAME = bytes(64)


def ticks_per_second() -> int:
    """The kernel's HZ: its coarse clocks have the resolution of one tick."""
    return round(1 / time.clock_getres(_CLOCK_MONOTONIC_COARSE))


class KernelClock:
    """Reads jiffies by running a program of a few instructions, 4 µs each time."""

    def __init__(self, wall: Callable[[], int] = time.time_ns) -> None:
        self.hz = ticks_per_second()
        self._tick = 1_000_000_000 / self.hz
        self._wall = wall
        self._cell = Map.create(MapSpec("clock", ARRAY, INDEX, np.dtype("u8"), 1))
        self._program, _ = libbpf.prog_load("clock", _jiffies_program(self._cell.fd), frags=False)
        self._anchor()

    def close(self) -> None:
        os.close(self._program)
        self._cell.close()

    @property
    def is_compiled(self) -> bool:
        """Whether this kernel compiles programs to machine code (net.core.bpf_jit_enable)."""
        return libbpf.prog_info(self._program).compiled

    def jiffies(self) -> int:
        libbpf.test_run(self._program, _ANY_FRAME)
        return int(self._cell.view[0])

    def deadlines(self, wall_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
        """Jiffies at which wall clock times have come, never earlier; NEVER becomes 0."""
        now, jiffies = self._now()
        # One more, because the tick that is on now began up to one tick ago.
        ticks = np.ceil((wall_ns.astype(np.float64) - now) / self._tick) + 1
        answer: npt.NDArray[np.uint64] = (np.clip(ticks, -jiffies + 1, 2.0**62) + jiffies).astype(np.uint64)
        answer[wall_ns == NEVER] = 0
        return answer

    def stamps(self, wall_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
        """The low half of jiffies at past moments."""
        now, jiffies = self._now()
        ticks = ((now - wall_ns) / self._tick).astype(np.int64)
        stamped: npt.NDArray[np.uint32] = ((jiffies - ticks) & 0xFFFFFFFF).astype(np.uint32)
        return stamped

    def wall_deadlines(self, jiffies: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Wall clock ns of moments before or after this one. Equal ones give equal times until the clock is stepped."""
        self._follow_step()
        ticks = jiffies.astype(np.int64) - self._jiffies
        return np.int64(self._wall_ns) + (ticks * self._tick).astype(np.int64)

    def wall_times(self, stamps: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Wall clock ns of past moments, given the low half of jiffies then.

        Equal stamps give equal times until the wall clock is stepped.
        """
        self._follow_step()
        now = self.jiffies()
        age = (np.uint32(now & 0xFFFFFFFF) - stamps.astype(np.uint32)).astype(np.int64)
        since_anchor = now - self._jiffies - age
        return np.int64(self._wall_ns) + (since_anchor * self._tick).astype(np.int64)

    def _follow_step(self) -> None:
        if abs(self._wall() - time.monotonic_ns() - self._offset) > STEP_NS:
            self._anchor()

    def _anchor(self) -> None:
        self._wall_ns, self._jiffies = self._now()
        self._offset = self._wall() - time.monotonic_ns()

    def _now(self) -> tuple[int, int]:
        """Wall clock ns and jiffies of one moment: of several tries the one that was interrupted least."""
        tries = []
        for _ in range(_TRIES):
            before, jiffies, after = self._wall(), self.jiffies(), self._wall()
            tries.append((abs(after - before), before, jiffies))
            if tries[-1][0] < _PROMPT_NS:
                break
        return min(tries)[1:]


def _jiffies_program(cell: int) -> bytes:
    """*cell = bpf_jiffies64(); return XDP_PASS"""
    instruction = struct.Struct("<BBhi").pack
    return b"".join(
        [
            instruction(0x85, 0x00, 0, _HELPER_JIFFIES64),  # call
            instruction(0x18, 0x21, 0, cell),  # r1 = address of the map's value (BPF_PSEUDO_MAP_VALUE)
            instruction(0x00, 0x00, 0, 0),
            instruction(0x7B, 0x01, 0, 0),  # *(u64 *)r1 = r0
            instruction(0xB7, 0x00, 0, 2),  # r0 = XDP_PASS
            instruction(0x95, 0x00, 0, 0),  # exit
        ]
    )
