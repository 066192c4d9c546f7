# SPDX-License-Identifier: Apache-2.0
"""What `status` tells of the kernel and of what compiled the program."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from xdpfw.kernel import libbpf
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.program import PacketProgram

_BTF = Path("/sys/kernel/btf/vmlinux")


def describe(program: PacketProgram, clock: KernelClock, cpus: int) -> dict[str, Any]:
    return {
        "release": platform.release(),
        "architecture": platform.machine(),
        "libbpf": libbpf.version(),
        "compiler": program.compiler,
        "cpus": cpus,
        "jit": clock.is_compiled,
        "btf": _BTF.exists(),
        "multi_buffer": program.frags,
        "hz": clock.hz,
    }
