# SPDX-License-Identifier: Apache-2.0
"""Takes a lab down: processes, pinned programs, namespaces with their links, files.

Runs as a process of its own, in a session of its own, which waits for the end of its standard input: that comes when
the lab's owner ends it properly and also when the owner is killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

RUN = Path("/run")
NETNS = Path("/run/netns")
BPFFS = Path("/sys/fs/bpf")
SOCKET_LINK = RUN / "xdpfw-lab.sock"
PREFIX = "xdpfw-lab-"
PATIENCE = 5.0
"""Seconds that processes have to end by themselves."""


@contextmanager
def registry() -> Iterator[None]:
    """Held while a lab is entered in, or leftovers are looked for: a lab half entered must not look dead."""
    descriptor = os.open(RUN, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def claim(home: Path) -> int | None:
    """Lock a lab's directory for its owner. None: a living owner has it. The lock goes with the descriptor."""
    descriptor = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def sweep() -> list[str]:
    """Take down the labs whose owner is dead (and whose janitor did not live to see it); answers their names."""
    swept = []
    with registry():
        for home in sorted(RUN.glob(f"{PREFIX}*/")):
            descriptor = claim(home)
            if descriptor is not None:
                take_down(home.name)
                os.close(descriptor)
                swept.append(home.name)
    return swept


def take_down(name: str) -> None:
    """Remove everything of a lab. Harmless when some of it is gone already."""
    namespaces = sorted(path.name for path in NETNS.glob(f"{name}-*")) if NETNS.is_dir() else []
    _end_processes(namespaces)
    for pins in BPFFS.glob(f"xdpfw-{name}-*/"):
        shutil.rmtree(pins, ignore_errors=True)
    for namespace in namespaces:
        _remove_links(namespace)
        subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False, timeout=30)
    with suppress(OSError):
        if SOCKET_LINK.readlink().is_relative_to(RUN / name):
            SOCKET_LINK.unlink()
    shutil.rmtree(RUN / name, ignore_errors=True)


def _processes(namespaces: list[str]) -> list[int]:
    pids = []
    for namespace in namespaces:
        listed = subprocess.run(
            ["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False, timeout=30
        )
        pids += [int(pid) for pid in listed.stdout.split()]
    return pids


def _end_processes(namespaces: list[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    number = signal.SIGTERM
    while pids := _processes(namespaces):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        while time.monotonic() < deadline and set(pids) & set(_processes(namespaces)):
            time.sleep(0.05)
        if number == signal.SIGKILL and time.monotonic() > deadline + PATIENCE:
            return
        number = signal.SIGKILL


def _remove_links(namespace: str) -> None:
    """Deleting a namespace lets its links go some time later, and not while a socket holds it; this does it now."""
    listed = subprocess.run(
        ["ip", "-n", namespace, "-o", "link", "show", "type", "veth"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    for line in listed.stdout.splitlines():
        link = line.split(":")[1].strip().partition("@")[0]
        subprocess.run(["ip", "-n", namespace, "link", "delete", link], capture_output=True, check=False, timeout=30)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    take_down(sys.argv[1])


if __name__ == "__main__":
    main()
