# SPDX-License-Identifier: Apache-2.0
"""Where things are pinned, so that filtering outlives the daemon.

::

    <bpffs>/xdpfw-<instance>/links/<interface>              the link: while it is pinned, the program stays attached
    <bpffs>/xdpfw-<instance>/tables-<n>/<map>               tables shared by all interfaces
    <bpffs>/xdpfw-<instance>/tables-<n>/on-<interface>/...  an interface's program and its own maps
    <bpffs>/xdpfw-<instance>/flows-<layout>-<size>          the table of flows, of all interfaces
    <bpffs>/xdpfw-<instance>/learner-<...>                  the program that fills it with what leaves
    <bpffs>/xdpfw-<instance>/clsact/<index>/                an empty directory: the qdisc there is ours to remove

A number `n` stands for one layout and one set of sizes. New tables are made beside the old ones; a link moves over
in place, and the old number goes last. This module needs neither libbpf nor BCC, so that detaching works without them.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import stat
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
        raise KernelError(
            f"cannot mount a BPF file system at {root}: {done.stderr.strip()}; as root: mount -t bpf bpf {root}"
        )


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
        """Raises KernelError."""
        try:
            ensure_mounted(self.root)
            self.links.mkdir(parents=True, exist_ok=True)
            owner = self.base.stat().st_uid
        except OSError as error:
            who = user_name(os.geteuid())
            raise KernelError(
                f"{error.filename}: {error.strerror}: {who} cannot pin there; run the daemon as root, or have root run "
                f"`xdpfw prepare {who}` before it starts"
            ) from error
        if owner != os.geteuid():  # root's pins in there could not be opened by the next daemon of that user
            who = user_name(owner)
            raise KernelError(f"{self.base} belongs to {who}: run the daemon as {who}, or first chown -R {self.base}")

    def hand_over(self, uid: int, gid: int) -> None:
        """Mount bpffs if need be, and make a daemon of that user able to use this instance's directory in it.

        What is in there changes hands only where it is root's so far: in a directory that the user owned already, there
        might be links to what is somebody else's. Raises KernelError.
        """
        try:
            ensure_mounted(self.root)
            mode = stat.S_IMODE(self.root.stat().st_mode)
            self.root.chmod(mode | 0o111)  # to be passed through; systemd mounts it for root alone
            with contextlib.suppress(FileExistsError):
                self.base.mkdir(mode=0o700)
            owner = self.base.lstat().st_uid
            if owner not in (0, uid):
                raise KernelError(
                    f"{self.base} belongs to {user_name(owner)}; it is left alone: look what is in it, remove it, or "
                    "choose another --instance"
                )
            if owner != uid:
                _give(self.base, uid, gid)
        except OSError as error:
            raise KernelError(f"{error.filename or self.base}: {error.strerror}; be root") from error

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

    @property
    def clsact_marks(self) -> Path:
        return self.base / "clsact"

    def others_like(self, pin: Path, beginning: str) -> list[Path]:
        """Further pins beside this one whose name begins like that."""
        return [path for path in _children(self.base) if path.name.startswith(beginning) and path != pin]

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
        """Everything of this instance, the links first. A directory that root made for a daemon of another user
        stays, empty: that user could not make it again."""
        for name in self.linked():
            self.unpin_link(name)
        for child in _children(self.base):
            remove_tree(child)
        if self.base.is_dir() and self.base.stat().st_uid == self.root.stat().st_uid:
            self.base.rmdir()


def _give(path: Path, uid: int, gid: int) -> None:
    """The directory last: until then its contents are out of the user's reach."""
    for child in _children(path):
        if child.is_symlink():
            continue
        if child.is_dir():
            _give(child, uid, gid)
        else:
            os.lchown(child, uid, gid)
    os.lchown(path, uid, gid)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def remove_tree(path: Path) -> None:
    """A directory of bpffs with all that is in it, or a pin."""
    if path.is_dir() and not path.is_symlink():
        for child in _children(path):
            remove_tree(child)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _children(path: Path) -> Iterator[Path]:
    return iter(sorted(path.iterdir())) if path.is_dir() else iter(())
