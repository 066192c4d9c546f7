# SPDX-License-Identifier: Apache-2.0
"""Where things are pinned, so that filtering outlives the daemon.

::

    <bpffs>/xdpfw-<instance>/links/<interface>              the link: while it is pinned, the program stays attached
    <bpffs>/xdpfw-<instance>/tables-<n>/<map>               tables shared by all interfaces
    <bpffs>/xdpfw-<instance>/tables-<n>/on-<interface>/...  an interface's program and its own maps

A number `n` stands for one layout and one set of sizes. New tables are made beside the old ones; a link moves over
in place, and the old number goes last. This module needs neither libbpf nor BCC, so that detaching works without them.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from xdpfw.model.errors import KernelError

DEFAULT = Path("/sys/fs/bpf")
_INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TABLES = re.compile(r"tables-(\d+)")


def ensure_mounted(root: Path = DEFAULT) -> None:
    """Mount a BPF file system at `root` unless one is there.

    Raises:
        KernelError: it cannot be mounted.
    """
    if is_mounted(root):
        return
    root.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "bpf", "bpf", str(root)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"cannot mount a BPF file system at {root}: {done.stderr.strip()}")


def is_mounted(root: Path = DEFAULT) -> bool:
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return any(fields[1] == str(root) and fields[2] == "bpf" for fields in map(str.split, mounts))


def encode(interface: str) -> str:
    """An interface's name as a file name: bpffs allows no dots."""
    return interface.replace("%", "%25").replace(".", "%2E")


def decode(name: str) -> str:
    return name.replace("%2E", ".").replace("%25", "%")


class Pins:
    """The pins of one instance."""

    def __init__(self, instance: str, root: Path = DEFAULT) -> None:
        if not _INSTANCE.fullmatch(instance):
            raise KernelError(f"{instance!r} cannot name an instance: letters, digits, - and _ only")
        self.root = root
        self.base = root / f"xdpfw-{instance}"

    def prepare(self) -> None:
        ensure_mounted(self.root)
        self.links.mkdir(parents=True, exist_ok=True)

    @property
    def links(self) -> Path:
        return self.base / "links"

    def link(self, interface: str) -> Path:
        return self.links / encode(interface)

    def linked(self) -> list[str]:
        """Interfaces with a pinned link."""
        return sorted(decode(path.name) for path in _children(self.links))

    def tables(self) -> dict[int, Path]:
        """Table directories by number."""
        found = ((_TABLES.fullmatch(path.name), path) for path in _children(self.base))
        return {int(match[1]): path for match, path in found if match}

    def tables_of(self, number: int) -> Path:
        return self.base / f"tables-{number}"

    @staticmethod
    def interface(tables: Path, interface: str) -> Path:
        return tables / f"on-{encode(interface)}"

    def rename(self, tables: Path, old: str, new: str) -> None:
        """Pins of an interface take its new name, and the place of what was pinned under it. The maps first: a link
        without its maps would lose its counters."""
        remove_tree(self.interface(tables, new))
        self.interface(tables, old).rename(self.interface(tables, new))
        self.link(old).replace(self.link(new))

    def unpin_link(self, interface: str) -> bool:
        """Without its pin the link detaches. False if there was none."""
        path = self.link(interface)
        if not path.exists():
            return False
        path.unlink()
        return True

    def remove(self) -> None:
        """Everything of this instance, the links first."""
        for name in self.linked():
            self.unpin_link(name)
        remove_tree(self.base)


def remove_tree(path: Path) -> None:
    """bpffs holds nothing but directories and pins."""
    for child in _children(path):
        if child.is_dir():
            remove_tree(child)
        else:
            child.unlink()
    if path.is_dir():
        path.rmdir()


def _children(path: Path) -> Iterator[Path]:
    return iter(sorted(path.iterdir())) if path.is_dir() else iter(())
