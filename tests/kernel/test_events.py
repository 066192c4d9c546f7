# SPDX-License-Identifier: Apache-2.0
"""Events of the packet path: what is offered, what bounds it, and that none is lost unnoticed."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from tests import packets as p
from tests.kernel.bench import Bench
from tests.loaded import Loaded
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.event_ring import EventRings
from xdpfw.kernel.maps import event_slots, possible_cpus
from xdpfw.kernel.port import EventBatch, Wish
from xdpfw.model.feature import Feature
from xdpfw.model.policy import DEFAULT_RULES
from xdpfw.model.reason import MAX_REASONS, Reason
from xdpfw.model.rule_form import parse_rules

pytestmark = pytest.mark.kernel

UDP = p.ethernet(p.ip("192.0.2.1", p.udp(4000, 53)), pad_to=100)
TCP = p.ethernet(p.ip("203.0.113.9", p.tcp(4000, 80)), pad_to=60)


class Watched:
    """The program, its counters and its rings of events, fed by the test alone."""

    def __init__(self, loaded: Loaded) -> None:
        kernel = loaded.kernel
        assert isinstance(kernel, RealKernel)
        self.kernel, self.loaded = kernel, loaded
        kernel.use(kernel.program.features | {Feature.EVENTS})
        self.bench = Bench(kernel)
        maps = kernel.tables.maps
        self._rings = EventRings(maps["log_states"], maps["events"])

    def wish(self, **wish: object) -> None:
        self.bench.own.write_wish(Wish(**wish), 7, self.kernel.clock.hz, event_slots(possible_cpus()))  # type: ignore[arg-type]

    def read(self) -> EventBatch:
        return self._rings.read()


@pytest.fixture
def watched(loaded_kernel: Loaded) -> Iterator[Watched]:
    made = Watched(loaded_kernel)
    wait_for_a_second(made)
    yield made
    made.bench.close()


def wait_for_a_second(watched: Watched) -> None:
    """Bounds count by the second, on each CPU: begin when the last one is over."""
    states, clock = watched.kernel.tables.maps["log_states"].view, watched.kernel.clock
    while any(until > clock.jiffies() & 0xFFFFFFFF for until in states["until"].tolist()):
        time.sleep(0.005)


def sources(count: int) -> list[bytes]:
    return [p.ethernet(p.ip(f"10.1.{n >> 8}.{n & 255}", p.udp())) for n in range(count)]


def test_nothing_is_written_unless_it_is_wished(watched: Watched) -> None:
    watched.bench.run(UDP, 10)
    assert len(watched.read().rows) == 0


def test_an_event_tells_the_frame_and_what_became_of_it(watched: Watched) -> None:
    watched.loaded.add("block", ["203.0.113.0/24"])
    watched.wish(sample=True, snap=64)
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    watched.bench.run(UDP)
    watched.bench.run(TCP)
    first, second = watched.read().rows
    assert before <= first["time"] <= second["time"] <= time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    assert (first["cause"], first["drop"], first["frame_length"], first["captured"]) == (Reason.DEFAULT, 0, 100, 64)
    assert first["frame"][:64].tobytes() == UDP[:64]
    slot = watched.loaded.policy.slots.of["block"]
    assert (second["cause"], second["drop"], second["captured"]) == (MAX_REASONS + slot, 1, 60)
    assert second["frame"][:60].tobytes() == TCP
    assert (first["interface"], second["interface"]) == (7, 7)


def test_a_source_comes_once_a_second_unless_asked(watched: Watched) -> None:
    watched.wish(sample=True)
    watched.bench.run(UDP, 50)
    assert 1 <= len(watched.read().rows) <= 2
    watched.wish(sample=True, repeat=True)
    watched.bench.run(UDP, 50)
    assert len(watched.read().rows) == 50


def test_neighbours_do_not_push_each_other_out(watched: Watched) -> None:
    watched.wish(sample=True, budget=100_000)
    for _ in range(4):
        for frame in sources(200):
            watched.bench.run(frame)
    rows = watched.read().rows
    # A second of each CPU may end meanwhile, and few sources share a place.
    assert 200 <= len(rows) < 2 * 200 * possible_cpus()


def test_the_budget_bounds_all_events_of_a_cpu(watched: Watched) -> None:
    watched.wish(sample=True, budget=10)
    for frame in sources(100):
        watched.bench.run(frame)
    batch = watched.read()
    assert 10 <= len(batch.rows) <= 20 * possible_cpus()
    assert sum(batch.limited) >= 100 - len(batch.rows)
    assert sum(batch.lost) == 0


def test_a_rule_logs_at_its_own_rate_and_alone(watched: Watched) -> None:
    rules = [
        {"id": "log", "match": {"protocol": "udp"}, "action": "drop", "log": {"rate": 5}},
        {"id": "quiet", "match": {"protocol": "tcp"}, "action": "drop"},
    ]
    watched.loaded.use(rules=(*DEFAULT_RULES, *parse_rules(rules)))
    ruled = Watched(watched.loaded)
    try:
        ruled.wish()
        wait_for_a_second(ruled)
        ruled.bench.run(TCP, 5)
        for frame in sources(60):
            ruled.bench.run(frame)
        rows = ruled.read().rows
    finally:
        ruled.bench.close()
        watched.loaded.use(rules=DEFAULT_RULES)
    assert 5 <= len(rows) <= 10
    assert len(set(rows["cause"].tolist())) == 1


def test_what_nobody_read_in_time_is_counted_as_lost(watched: Watched) -> None:
    slots = event_slots(possible_cpus())
    watched.wish(sample=True, repeat=True, budget=1_000_000, snap=14)
    watched.bench.run(UDP, slots + 100)
    batch = watched.read()
    assert len(batch.rows) + sum(batch.lost) == slots + 100
    assert sum(batch.lost) <= 100
    assert (np.diff(batch.rows["time"].astype(np.int64)) >= 0).all()


@pytest.mark.alone
def test_the_cost_of_an_event_in_many(watched: Watched) -> None:
    without = watched.bench.nanoseconds(UDP)
    watched.wish(sample=True)
    offered = watched.bench.nanoseconds(UDP)
    print(f" [events compiled in, nobody wishes: {without} ns; all offered, few written: {offered} ns]", end="")
    assert len(watched.read().rows) > 0
