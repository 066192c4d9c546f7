# SPDX-License-Identifier: Apache-2.0
"""Which of the capabilities that are needed this process lacks (capabilities(7))."""

from __future__ import annotations

from pathlib import Path

from xdpfw.model.errors import KernelError

NEEDED = {12: "CAP_NET_ADMIN", 38: "CAP_PERFMON", 39: "CAP_BPF"}
_SYS_ADMIN = 21
MEND = "Run as root, or give the service these capabilities (AmbientCapabilities= in its unit)."


def missing() -> list[str]:
    held = _held()
    instead = {"CAP_PERFMON", "CAP_BPF"} if held >> _SYS_ADMIN & 1 else set()
    return sorted(name for bit, name in NEEDED.items() if not held >> bit & 1 and name not in instead)


def check() -> None:
    """Raises KernelError, which names them."""
    if lacking := missing():
        raise KernelError(f"missing {', '.join(lacking)}: programs cannot be loaded and attached. {MEND}")


def _held() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff":
            return int(value, 16)
    return 0
