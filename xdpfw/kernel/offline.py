# SPDX-License-Identifier: Apache-2.0
"""The way out when all else fails: detach what an instance has attached, with nothing but its pins.

No daemon, no store, no BCC. Unpinning detaches what nobody holds open; where libbpf is there, each link is detached
first (BPF_LINK_DETACH, Linux 5.9), whoever holds it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from xdpfw.kernel.bpffs import DEFAULT, Pins
from xdpfw.model.errors import KernelError, told_as


def attached(instance: str, bpffs: Path = DEFAULT) -> list[str]:
    """Interfaces with a pinned link of this instance. Raises NotAllowed and KernelError."""
    with told_as(KernelError):
        return Pins(instance, bpffs).linked()


def detach(instance: str, interface: str | None = None, bpffs: Path = DEFAULT) -> list[str]:
    """Detach one interface, or all of them and remove every other pin too. Answers which were released.

    Raises NotAllowed and KernelError.
    """
    with told_as(KernelError):
        pins = Pins(instance, bpffs)
        names = [name for name in pins.linked() if interface in (None, name)]
        for name in names:
            _detach_link(pins.link(name))
            pins.unpin_link(name)
            _take_off_filter(name, pins)
        if interface is None:
            pins.remove()
        return names


def _detach_link(path: Path) -> None:
    with contextlib.suppress(ImportError, KernelError):
        from xdpfw.kernel import libbpf

        fd = libbpf.get(path)
        try:
            libbpf.link_detach(fd)
        finally:
            os.close(fd)


def _take_off_filter(name: str, pins: Pins) -> None:
    """The one on the way out, which drops nothing: best effort."""
    with contextlib.suppress(ImportError, KernelError):
        from xdpfw.kernel import tc

        tc.take_off(name, pins.clsact_marks)
