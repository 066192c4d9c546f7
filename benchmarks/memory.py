# SPDX-License-Identifier: Apache-2.0
"""What daemon and kernel maps take in memory, by the number of prefixes and of talkers. A memory cgroup of the
daemon's own tells: the kernel charges maps to whoever makes them (Documentation/admin-guide/cgroup-v1/memory.rst and
cgroup-v2.rst)."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, Point
from benchmarks.service import files, put, resident, settle, site
from benchmarks.tables import COUNTERS, held
from benchmarks.viewers import Talkers
from lab import prefixes
from lab.daemon import Daemon
from xdpfw.kernel.maps import possible_cpus

GROUPS = Path("/sys/fs/cgroup")
SIZES = (1_000, 100_000, 1_000_000)
CALM = 8
"""Seconds after which a daemon has given back what it does not need."""
FEW = 1 << 6
SLOTS = (1 << 10, 1 << 17, 1 << 20)
"""Of the talker tables."""
GOAL = 250
"""MB of daemon and maps with a million prefixes, talkers and counters of entries apart."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Megabytes (10^6 bytes). `process`: memory of the daemon alone; `kernel`: maps, and the little that the kernel
    keeps for any process."""

    process: float
    kernel: float


class Group:
    """What is started through `command` belongs to it."""

    def __init__(self, path: Path, *, unified: bool) -> None:
        self._path, self._unified = path, unified

    @property
    def command(self) -> tuple[str, ...]:
        return ("/bin/sh", "-c", f'echo $$ >{self._path}/cgroup.procs && exec "$@"', "sh")

    def usage(self) -> Usage:
        fields = dict(line.split() for line in (self._path / "memory.stat").read_text().splitlines())
        if self._unified:
            return Usage(int(fields["anon"]) / 1e6, int(fields["kernel"]) / 1e6)
        kernel = int((self._path / "memory.kmem.usage_in_bytes").read_text())
        return Usage(int(fields["rss"]) / 1e6, kernel / 1e6)


@contextmanager
def group() -> Iterator[Group]:
    """The daemon has to be gone at the end."""
    unified = not (GROUPS / "memory").is_dir()
    if unified:
        (GROUPS / "cgroup.subtree_control").write_text("+memory")
    path = (GROUPS if unified else GROUPS / "memory") / f"xdpfw-bench-{os.getpid()}"
    path.mkdir()
    try:
        yield Group(path, unified=unified)
    finally:
        path.rmdir()


def measure(count: int) -> Iterator[Figure]:
    yield from _by_prefixes(count)
    yield from _by_talkers()


def _by_prefixes(count: int) -> Iterator[Figure]:
    """After an import into an empty daemon with hardly any talkers, and with nothing loaded."""
    for size in (0, *sorted({min(size, count) for size in SIZES})):
        with _daemon(FEW) as (measured, daemon):
            if size:
                put(daemon, files(daemon, "list", [prefixes.body(prefixes.make(size))])[0])
                settle(daemon)
            time.sleep(CALM)
            used, peak = measured.usage(), resident(daemon, "VmHWM")
            tables = held(daemon.pins, used.kernel)
        counters = tables.pop(COUNTERS)
        rest, goal = used.process + used.kernel - counters, GOAL if size == SIZES[-1] else None
        point = partial(Point, "memory by prefixes", size=size)
        yield Figure(f"{size:,} prefixes, few talkers: daemon", "MB", None, (used.process,), point("daemon"))
        yield Figure("  kernel", "MB", None, (used.kernel,), point("kernel"))
        yield Figure(f"  of that, {COUNTERS}", "MB", None, (counters,))
        for kind, taken in tables.items() if size in (0, SIZES[-1]) else ():
            yield Figure(f"  of that, {kind}", "MB", None, (taken,))
        yield Figure(f"  daemon and kernel without {COUNTERS}", "MB", goal, (rest,))
        yield Figure("  the daemon's peak, what it has mapped included", "MB", None, (peak,), point("daemon's peak"))


def _by_talkers() -> Iterator[Figure]:
    """Of one interface; what the daemon needs to tell rates included."""
    before = Usage(0, 0)
    for slots in (FEW, *SLOTS):
        with _daemon(slots) as (measured, daemon), Talkers(daemon, slots, churn=False):
            time.sleep(CALM)
            used = measured.usage()
            tracked = daemon.rest.get("interfaces/lan1/talkers?limit=1")["total"]
        if slots == FEW:
            before = used
            continue
        point = partial(Point, "memory by talkers", size=tracked)
        process, kernel = used.process - before.process, used.kernel - before.kernel
        yield Figure(f"{tracked:,} talkers: daemon", "MB", None, (process,), point("daemon"))
        yield Figure("  kernel", "MB", None, (kernel,), point("kernel"))


@contextmanager
def _daemon(talkers: int) -> Iterator[tuple[Group, Daemon]]:
    """With room for so many on each interface."""
    with group() as measured, tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
        settings.write(f"[limits]\ntalkers = {talkers // possible_cpus()}\n")
        settings.flush()
        with site(measured.command, ("--config", settings.name)) as (_, daemon):
            yield measured, daemon
