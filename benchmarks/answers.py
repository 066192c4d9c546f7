# SPDX-License-Identifier: Apache-2.0
"""The top 100 of many talkers: what it takes in the service, and over REST. Their counts grow, and nobody comes or
goes; or every fourth does within a second, as under a flood of spoofed sources."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np

from benchmarks.figures import Figure, Point
from benchmarks.service import repeat
from benchmarks.viewers import SLOTS, TRACKED, Talkers, settle, site
from xdpfw.clock import SystemClock
from xdpfw.kernel import memory
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.instance import InterfaceMaps
from xdpfw.kernel.maps import interface_specs, possible_cpus
from xdpfw.kernel.port import Kernel, TalkerTable
from xdpfw.model.limits import Limits
from xdpfw.model.requests import TalkerQuery
from xdpfw.readings import Tally
from xdpfw.traffic import Traffic

SIZES = (1_000, 10_000, 100_000, TRACKED)
TOP = TalkerQuery(sort="bytes", limit=100)
PATH = f"interfaces/lan1/talkers?sort={TOP.sort}&limit={TOP.limit}"
ASKED = 5
PAUSE = 0.1
"""Times in each round, and seconds between them: as many people do."""
GOAL, GOAL_OVER_REST = 25, 60


@dataclass(frozen=True, slots=True)
class _Interface:
    """As much of a kernel as counters of one interface need."""

    maps: InterfaceMaps
    clock: KernelClock

    def read_talkers(self, _: str) -> TalkerTable:
        return self.maps.read_talkers(self.clock)

    def read_tally(self, _: str) -> Tally:
        return self.maps.read_tally()


def measure(rounds: int) -> Iterator[Figure]:
    for size in SIZES:
        yield from _in_service(size, rounds)
    for churn in (False, True):
        with site() as daemon, Talkers(daemon, churn=churn):
            connection = daemon.rest.open()
            time.sleep(3)
            ask = partial(daemon.rest.must, "GET", PATH, keep=connection)
            taken = repeat(rounds * ASKED, ask, partial(time.sleep, PAUSE))
            tracked = daemon.rest.get(PATH)["total"]
        who = "a quarter new every second" if churn else "the same ones"
        yield Figure(f"top 100 of {tracked:,} talkers over REST, {who}", "ms", GOAL_OVER_REST, taken)


def _in_service(size: int, rounds: int) -> Iterator[Figure]:
    memory.keep_at_hand()  # as the daemon does
    cpus, random = possible_cpus(), np.random.default_rng(1)
    slots = min(SLOTS, 1 << (size * 5 // 4).bit_length())
    maps = InterfaceMaps.create(interface_specs(Limits(talkers=slots // cpus), cpus), cpus)
    clock = KernelClock()
    try:
        with maps.maps["talkers"].mapped() as buckets:
            ways = buckets["way"].reshape(-1)
            settle(ways[:size], random)
            traffic = Traffic(cast(Kernel, _Interface(maps, clock)), SystemClock())
            traffic.sample(["lan1"])

            def count() -> None:
                ways["passed_packets"][:size] += 1
                ways["passed_bytes"][:size] += 100

            look = partial(traffic.talkers, ["lan1"], TOP, lambda _: [], show_interfaces=False)
            taken = repeat(rounds * ASKED, look, count)
    finally:
        maps.close()
        clock.close()
    goal, point = GOAL if size == SIZES[-1] else None, Point("top 100 of talkers", "in the service", size)
    yield Figure(f"top 100 of {size:,} talkers in the service", "ms", goal, taken, point)
