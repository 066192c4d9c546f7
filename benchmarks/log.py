# SPDX-License-Identifier: Apache-2.0
"""What the log costs a packet of a spoofed flood when one in 64 is written down, and whether any is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from benchmarks import mixes
from benchmarks.figures import Figure
from benchmarks.tested import FRAME, Course, Site, in_turns
from xdpfw.kernel import libbpf
from xdpfw.kernel.event_ring import EventRings
from xdpfw.kernel.maps import event_slots, possible_cpus
from xdpfw.kernel.port import Wish

EACH = 64
SOURCES = 1 << 20
PACKETS = 1 << 16
MANY = 5
"""Runs are short: so many times the rounds asked for."""


def measure(rounds: int) -> Iterator[Figure]:
    """All offered and none written, all written; one in 64 is in between. Then as many in a second as a ring holds."""
    course, ring = Course(mixes.random_any(np.random.default_rng(1), SOURCES, 4), 4), event_slots(possible_cpus())
    wishes = {
        "none": None,
        "offered": Wish(sample=True, repeat=True, budget=0),
        "written": Wish(sample=True, repeat=True, budget=(1 << 32) - 1),
        "some": Wish(sample=True, repeat=True, budget=ring),
    }
    with Site() as site, ExitStack() as opened:
        runs: dict[str, int] = {}
        for name, wish in wishes.items():
            own, flags = opened.enter_context(site.tables()), ["-DEVENTS=1"] if wish else []
            if wish:
                own.write_wish(wish, 1, site.kernel.clock.hz, ring)
            program = opened.enter_context(site.program(*flags, own=own))
            runs[name] = opened.enter_context(course.runner(program))
        some = runs.pop("some")
        ns = in_turns(runs, 4, rounds * MANY, PACKETS)
        rings = EventRings(site.kernel.tables.maps["log_states"], site.kernel.tables.maps["events"])
        missing = tuple(ring - _written(some, ring, rings) for _ in range(rounds))
    course.close()
    over = {name: np.subtract(ns[name], ns["none"]) for name in ("offered", "written")}
    logged = over["offered"] + (over["written"] - over["offered"]) / EACH
    yield Figure(f"spoofed flood, one packet in {EACH} logged, over none", "ns", 3, tuple(logged.tolist()))
    yield Figure("  all offered, none written", "ns", None, tuple(over["offered"].tolist()))
    yield Figure("  all written", "ns", None, tuple(over["written"].tolist()))
    yield Figure(f"  events lost of {ring}", "", None, missing)


def _written(program: int, ring: int, rings: EventRings) -> int:
    """Events that come out of a run in a second of its own, where one packet in 64 is written."""
    rings.read()
    time.sleep(1.1)
    libbpf.test_run(program, FRAME[4], EACH * ring)
    return len(rings.read().rows)
