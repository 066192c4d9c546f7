# SPDX-License-Identifier: Apache-2.0
"""What this machine's memory takes, below which no packet path gets that has to look something up: lines of tables of
several sizes, in turn and many at once, inside the kernel; and what frames over a veth pair cost, if their receiver
reads one such line for each and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np

from benchmarks import mixes
from benchmarks.figures import Figure, ratio
from benchmarks.live import BARE_DROP, LOOKING, Receivers
from benchmarks.tested import SOURCES, Course, compiled_once, in_turns, verdict
from benchmarks.veth import Wire
from xdpfw.kernel import libbpf
from xdpfw.kernel.maps import ARRAY, INDEX, Map, MapSpec
from xdpfw.kernel.source import inline

SIZES = (1, 4, 16, 64)
"""Megabytes."""
LINE = np.dtype([("next", "u4"), ("reserved", "u4", 15)])
STEPS, PACKETS = 33, 20_000
CHAINED = "-DCHAINED"


def measure(rounds: int) -> Iterator[Figure]:
    with ExitStack() as opened:
        tables = {size: opened.enter_context(_table(size)) for size in SIZES}
        yield from _inside(tables, rounds)
        yield from _on_a_wire(tables, rounds)


def _inside(tables: dict[int, Map], rounds: int) -> Iterator[Figure]:
    """One line more: of so many steps, less the first."""
    course = Course(mixes.random_any(np.random.default_rng(1), 1 << 14, 4), 4)
    try:
        with ExitStack() as opened:
            runs = {
                f"{size} {steps} {flag}": opened.enter_context(
                    course.runner(opened.enter_context(_reading(table, steps, flag)))
                )
                for size, table in tables.items()
                for steps, flag in ((1, CHAINED), (STEPS, CHAINED), (STEPS, "-DAPART"))
            }
            values = in_turns(runs, 4, rounds, PACKETS)
    finally:
        course.close()
    for size in tables:
        first = values[f"{size} 1 {CHAINED}"]
        for flag, how in ((CHAINED, "one after the other"), ("-DAPART", "many at once")):
            taken = zip(values[f"{size} {STEPS} {flag}"], first, strict=True)
            each = tuple((many - one) / (STEPS - 1) for many, one in taken)
            yield Figure(f"a line of {size} MB, {how}", "ns", None, each)


def _on_a_wire(tables: dict[int, Map], rounds: int) -> Iterator[Figure]:
    with Wire() as wire, ExitStack() as opened:
        receivers = Receivers(wire, opened, 4)
        flood = receivers.flood((mixes.random_any(np.random.default_rng(2), 1 << 18, 4), 1))
        receivers.add(BARE_DROP, verdict("XDP_DROP"), flood)
        receivers.add(LOOKING, verdict("XDP_DROP", looks=True), flood)
        for size, table in tables.items():
            receivers.add(_after(size), _reading(table, 1, CHAINED), flood)
        values = receivers.in_turns(rounds)
    cpu = {name: tuple(each.cpu for each in received) for name, received in values.items()}
    for name, spent in cpu.items():
        yield Figure(name, "ns", None, spent)
        if name != BARE_DROP:
            yield ratio(f"  against {BARE_DROP}", None, spent, cpu[BARE_DROP])


def _after(size: int) -> str:
    return f"XDP_DROP after one line of {size} MB"


@contextmanager
def _table(size: int) -> Iterator[Map]:
    """Each line leads to another one, at random, and all of them make one circle."""
    made = Map.create(MapSpec("lines", ARRAY, INDEX, LINE, (size << 20) // LINE.itemsize))
    try:
        order = np.random.default_rng(size).permutation(made.spec.entries)
        with made.mapped() as lines:
            lines["next"][order] = np.roll(order, 1)
        yield made
    finally:
        made.close()


@contextmanager
def _reading(table: Map, steps: int, flag: str) -> Iterator[int]:
    log = table.spec.entries.bit_length() - 1
    flags = f"-DLOG={log}", f"-DSTEPS={steps}", flag
    made = compiled_once(inline(SOURCES / "lines.c"), "read_lines", ("lines",), flags)
    fd, _ = libbpf.prog_load("read_lines", made.link({"lines": table.fd}), frags=True)
    try:
        yield fd
    finally:
        os.close(fd)
