# SPDX-License-Identifier: Apache-2.0
"""What daemon and kernel maps take in memory, by the number of prefixes and of talkers. A memory cgroup of the
daemon's own tells: the kernel charges maps to whoever makes them (Documentation/admin-guide/cgroup-v1/memory.rst and
cgroup-v2.rst)."""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

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
SAMPLES, EVERY = 9, 0.35
"""And seconds between them."""
FEW = 1 << 6
SLOTS = (1 << 10, 1 << 17, 1 << 20)
"""Of the talker tables."""
_numbers = itertools.count()
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

    @property
    def alone(self) -> bool:
        """Whether there is one process: no compiler is at work."""
        return len((self._path / "cgroup.procs").read_text().split()) == 1

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
    path = (GROUPS if unified else GROUPS / "memory") / f"xdpfw-bench-{os.getpid()}-{next(_numbers)}"
    path.mkdir()
    try:
        yield Group(path, unified=unified)
    finally:
        path.rmdir()


def measure(count: int) -> Iterator[Figure]:
    least = yield from _by_prefixes(count)
    yield from _by_talkers(least)


def _by_prefixes(count: int) -> Generator[Figure, None, Usage]:
    """After an import into an empty daemon with hardly any talkers, and with nothing loaded; answers the latter."""
    with ExitStack() as opened:
        sizes = (0, *sorted({min(size, count) for size in SIZES}))
        daemons = [opened.enter_context(_daemon(FEW)) for _ in sizes]
        for size, (_, daemon) in zip(sizes[1:], daemons[1:], strict=True):
            put(daemon, files(daemon, "list", [prefixes.body(prefixes.make(size))])[0])
            settle(daemon)
        usages = _sampled([measured for measured, _ in daemons])
        for size, used, (_, daemon) in zip(sizes, usages, daemons, strict=True):
            tables = held(daemon.pins, _middle(used).kernel)
            yield from _figures(size, used, tables, resident(daemon, "VmHWM"))
    return _middle(usages[0])


def _figures(size: int, used: Sequence[Usage], tables: dict[str, float], peak: float) -> Iterator[Figure]:
    counters = tables.pop(COUNTERS)
    process, kernel = tuple(each.process for each in used), tuple(each.kernel for each in used)
    rest = tuple(each.process + each.kernel - counters for each in used)
    point = partial(Point, "memory by prefixes", size=size)
    yield Figure(f"{size:,} prefixes, few talkers: daemon", "MB", None, process, point("daemon"))
    yield Figure("  kernel", "MB", None, kernel, point("kernel"))
    yield Figure(f"  of that, {COUNTERS}", "MB", None, (counters,))
    for kind, taken in tables.items() if size in (0, SIZES[-1]) else ():
        yield Figure(f"  of that, {kind}", "MB", None, (taken,))
    goal = GOAL if size == SIZES[-1] else None
    yield Figure(f"  daemon and kernel without {COUNTERS}", "MB", goal, rest)
    yield Figure("  the daemon's peak, what it has mapped included", "MB", None, (peak,), point("daemon's peak"))


def _by_talkers(least: Usage) -> Iterator[Figure]:
    """Of one interface, beside what is needed without any; what the daemon needs to tell rates included."""
    with ExitStack() as opened:
        groups, told = [], []
        for slots in SLOTS:
            measured, daemon = opened.enter_context(_daemon(slots))
            opened.enter_context(Talkers(daemon, slots, churn=False))
            groups.append(measured)
            told.append(daemon.rest.get("interfaces/lan1/talkers?limit=1")["total"])
        usages = _sampled(groups)
    for tracked, used in zip(told, usages, strict=True):
        point = partial(Point, "memory by talkers", size=tracked)
        process = tuple(each.process - least.process for each in used)
        kernel = tuple(each.kernel - least.kernel for each in used)
        yield Figure(f"{tracked:,} talkers: daemon", "MB", None, process, point("daemon"))
        yield Figure("  kernel", "MB", None, kernel, point("kernel"))


def _sampled(groups: Sequence[Group]) -> list[tuple[Usage, ...]]:
    """What each takes, when all are calm: now and then it is more for a moment."""
    time.sleep(CALM)
    found: list[list[Usage]] = []
    while len(found) < SAMPLES:
        time.sleep(EVERY)
        if all(group.alone for group in groups):
            found.append([group.usage() for group in groups])
    return list(zip(*found, strict=True))


def _middle(used: Sequence[Usage]) -> Usage:
    return Usage(median(each.process for each in used), median(each.kernel for each in used))


@contextmanager
def _daemon(talkers: int) -> Iterator[tuple[Group, Daemon]]:
    """With room for so many on each interface."""
    with group() as measured, tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
        settings.write(f"[limits]\ntalkers = {talkers // possible_cpus()}\n")
        settings.flush()
        with site(measured.command, ("--config", settings.name)) as (_, daemon):
            yield measured, daemon
