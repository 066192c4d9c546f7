# SPDX-License-Identifier: Apache-2.0
"""Whether a daemon grows by what it does. What it needs for work that is under way comes and goes: what counts is what
it has when everybody rests, and of that the least in the first half of the rests, and in the second."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.daemon import Daemon

EVERY = 0.25
PAGE = 256 << 10
"""Bytes of one page of the tables that grow by pages."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of the daemon's own memory and of its maps in the kernel, and its descriptors."""

    daemon: int
    maps: int
    descriptors: int

    @classmethod
    def of(cls, daemon: Daemon) -> Sizes:
        assert daemon.process is not None
        proc = Path(f"/proc/{daemon.process.pid}")
        resident = next(line for line in (proc / "status").read_text().splitlines() if line.startswith("RssAnon:"))
        shared = sum(found["memory"] for found in daemon.rest.get("interfaces/lan1/program")["maps"])
        pages = len(list(daemon.pins.glob("tables-*/*-pages/*")))
        return cls(int(resident.split()[1]) << 10, int(shared) + PAGE * pages, len(list((proc / "fd").iterdir())))

    def beyond(self, earlier: Sizes) -> Sizes:
        return Sizes(self.daemon - earlier.daemon, self.maps - earlier.maps, self.descriptors - earlier.descriptors)


FEW, MANY = Sizes(24 << 20, 4 * PAGE, 16), Sizes(6 << 20, 4 * PAGE, 2)
"""By how much rests may differ without meaning anything: the allocator keeps more at some than at others, and on a busy
machine work may last into a rest, so the fewer there are the less their least tells."""
ENOUGH = 10


def at_rest(look: Callable[[], Sizes], seconds: float) -> Sizes:
    """The least within so long: what is under way comes to its end meanwhile."""
    until, found = time.monotonic() + seconds, [look()]
    while time.monotonic() < until:
        time.sleep(EVERY)
        found.append(look())
    return least(found)


def least(found: Sequence[Sizes]) -> Sizes:
    return Sizes(
        min(each.daemon for each in found), min(each.maps for each in found), min(each.descriptors for each in found)
    )


def growth(rests: Sequence[Sizes]) -> Sizes:
    """From the first half to the second."""
    half = len(rests) // 2
    return least(rests[half:]).beyond(least(rests[:half]))


def grows(rests: Sequence[Sizes]) -> bool:
    """Whether that means anything."""
    grown, most = growth(rests), MANY if len(rests) >= ENOUGH else FEW
    return grown.daemon > most.daemon or grown.maps > most.maps or grown.descriptors > most.descriptors
