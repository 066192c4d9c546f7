# SPDX-License-Identifier: Apache-2.0
"""What each piece of the packet path costs a clean packet, as shares of what all of xdp-filter costs it: programs that
go one piece further each, in turns (BPF_PROG_TEST_RUN). Of few sources hardly anything has to come from memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from benchmarks import mixes
from benchmarks.figures import Figure, ratio
from benchmarks.packets import ACTIVE, FLOOR, OURS, PEERS, SILENT, SIZES, TABLE, Values, run
from benchmarks.tested import Site, verdict, xdp_filter

FEW = 10
"""Sources."""
PARSED, DECIDED, COUNTED = "parsing", "verdict", "counting"
"""In the order of bpf/pieces.c."""
GOAL = 0.5
MANY = 3
"""Differences are small and runs are short: so many times the rounds asked for."""


def measure(rounds: int) -> Iterator[Figure]:
    random, full = np.random.default_rng(4), mixes.prefixes(SIZES[-1], 4)
    clean = full.outside(random, ACTIVE)
    with Site() as site, ExitStack() as opened:
        site.block(full)
        programs = {FLOOR: opened.enter_context(verdict("XDP_DROP"))}
        for number, name in enumerate((PARSED, DECIDED, COUNTED), 1):
            program = site.program("-DTALKERS=0", f"-DPIECES={number}", main="pieces.c")
            programs[name] = opened.enter_context(program)
        programs[SILENT] = opened.enter_context(site.program("-DTALKERS=0"))
        programs[OURS] = opened.enter_context(site.program())
        peer = opened.enter_context(xdp_filter("alw_all"))
        if peer is None:
            return
        programs[PEERS[0]] = peer
        for count in (ACTIVE, FEW):
            addresses = mixes.blend(random, TABLE, (clean[:count], 1))
            yield from _figures(count, run(programs, addresses, 4, rounds * MANY))


def _figures(count: int, values: Values) -> Iterator[Figure]:
    theirs = values[PEERS[0]]

    def share(name: str, more: str, less: str) -> Figure:
        """What the one costs more than the other."""
        apart = zip(values[more], values[less], theirs, strict=True)
        return Figure(f"  {name}", "x", None, tuple((most - least) / all_ for most, least, all_ in apart))

    goal = GOAL if count == ACTIVE else None
    yield ratio(f"clean, {count:,} sources, against {PEERS[0]}", goal, values[OURS], theirs)
    yield ratio(f"  of that, {FLOOR} and measuring it", None, values[FLOOR], theirs)
    yield share(PARSED, PARSED, FLOOR)
    yield share(DECIDED, DECIDED, PARSED)
    yield share(COUNTED, COUNTED, DECIDED)
    yield share("talkers, each with what is known of its source", OURS, COUNTED)
    yield share("or, without talkers, finding the source in the tiers", SILENT, COUNTED)
