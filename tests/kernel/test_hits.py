# SPDX-License-Identifier: Apache-2.0
"""Hits of entries are exact, though packets note them and many are counted together; memberships have any number."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from tests.kernel import plain
from tests.kernel.bench import Bench
from tests.kernel.plain import ids, insert
from tests.packets import ethernet, ip, udp
from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.layouts import PENDING_HITS
from xdpfw.policy.ops import ClearLeaves, Flip, Grace, InsertPrefixes, WriteLeaves, WriteMemberships

pytestmark = pytest.mark.kernel

FIRST, SECOND = (ethernet(ip(f"203.0.{number}.1", udp()), pad_to=64 + number) for number in (113, 114))


@contextmanager
def on(cpu: int) -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def hits(kernel: RealKernel, *leaves: int) -> list[list[int]]:
    return kernel.read_leaves(ids(*leaves)).tolist()


def test_every_packet_is_a_hit_at_once(kernel: RealKernel, bench: Bench) -> None:
    """Of two entries in turns, from each CPU."""
    kernel.execute([*insert("203.0.113.0/24", 1), *insert("203.0.114.0/24", 2)], 2)
    sent = 0
    for cpu in sorted(os.sched_getaffinity(0)):
        with on(cpu):
            for _ in range(PENDING_HITS + 2):
                bench.run(FIRST)
                bench.run(SECOND, 2)
                sent += 1
                assert hits(kernel, 2, 1, 3) == [
                    [2 * sent, 2 * sent * len(SECOND)], [sent, sent * len(FIRST)], [0, 0],
                ]  # fmt: skip


def test_hits_never_fall_while_packets_come(kernel: RealKernel, bench: Bench) -> None:
    """Read together with a hundred others, and alone."""
    kernel.execute([*insert("203.0.113.0/24", 1), *insert("203.0.114.0/24", 2)], 2)
    stop, sent = threading.Event(), [0, 0]

    def traffic(which: int, frame: bytes) -> None:
        while not stop.is_set():
            libbpf.test_run(bench.program, frame, 1000 + which)
            sent[which] += 1000 + which

    senders = [threading.Thread(target=traffic, args=each) for each in enumerate((FIRST, SECOND))]
    for sender in senders:
        sender.start()
    before = np.zeros((2, 2), np.uint64)
    try:
        for number in range(1500):
            asked = np.arange(100, dtype=np.uint32) if number % 2 else ids(0, 1, 2)
            found = kernel.read_leaves(asked)
            assert (found[1:3] >= before).all() and not found[0].any() and not found[3:].any()
            before = found[1:3]
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert hits(kernel, 1, 2) == [[sent[0], sent[0] * len(FIRST)], [sent[1], sent[1] * len(SECOND)]]
    assert min(sent) > 10 * PENDING_HITS


@pytest.mark.parametrize("everything", [False, True], ids=["cleared", "cleared by a restart"])
def test_what_is_noted_of_a_leaf_is_not_its_successors(kernel: RealKernel, bench: Bench, everything: bool) -> None:
    kernel.execute(insert("203.0.113.0/24", 1), 2)
    with on(min(os.sched_getaffinity(0))):
        bench.run(FIRST, 5)
        kernel.execute([plain.delete("203.0.113.0/24", 1), Grace()], 3)
        if everything:
            kernel.tables.clear_free_counts()
        else:
            kernel.execute([ClearLeaves(ids(1))], 4)
        assert hits(kernel, 1) == [[0, 0]]
        kernel.execute(insert("203.0.114.0/24", 1), 5)
        for number in range(1, 2 * PENDING_HITS):
            bench.run(SECOND)
            assert hits(kernel, 1) == [[number, number * len(SECOND)]]


def test_memberships_of_any_number_hold(kernel: RealKernel, bench: Bench) -> None:
    """Those that are short, those that are not, and from one to the other by a flip."""
    numbers = ids(3, 13, 254, 255, 256, 300, 9_999)
    classes = np.where(np.arange(len(numbers)) % 2, plain.ALLOWED, plain.BLOCKED).astype(np.uint32)
    nothing = np.zeros(len(numbers), np.uint32)
    kernel.execute([WriteMemberships(numbers, classes, nothing, np.full(len(numbers), plain.NEVER, np.int64))], 2)
    frames = [ethernet(ip(f"198.51.100.{leaf}", udp())) for leaf in range(1, len(numbers) + 1)]
    leaves = ids(*range(1, len(numbers) + 1))
    for leaf, member in zip(leaves.tolist(), numbers.tolist(), strict=True):
        kernel.execute(insert(f"198.51.100.{leaf}", leaf, member), 3)
    passes = (classes == plain.ALLOWED).tolist()
    assert [bench.run(frame) for frame in frames] == passes
    for generation, turned in ((1, True), (0, False)):
        wanted = np.roll(numbers, 1 if turned else 0)
        kernel.execute([WriteLeaves(generation, leaves, wanted), Flip(generation)], 4)
        assert [bench.run(frame) for frame in frames] == np.roll(passes, 1 if turned else 0).tolist()


def test_what_leaves_have_in_common_follows_each_change(kernel: RealKernel, bench: Bench) -> None:
    """Blocks that all belong to one set, then one leaf of which does not, then all again, in both generations."""
    nets = plain.many4(200, length=24)
    leaves = ids(*range(64, 264))
    blocked = [WriteLeaves(generation, leaves, np.full(200, plain.BLOCKED, np.uint32)) for generation in (0, 1)]
    kernel.execute([*blocked, InsertPrefixes(4, nets, leaves)], 2)
    frames = [ethernet(ip(f"10.0.{number}.1", udp())) for number in range(200)]

    def shared() -> list[int]:
        generation = kernel.tables.generation
        return np.ascontiguousarray(kernel.tables.maps["brief"].view["membership"][:2, generation]).reshape(-1).tolist()

    assert shared()[:5] == [0, plain.BLOCKED, plain.BLOCKED, plain.BLOCKED, layouts.BRIEF_ASK]
    assert [at for at, frame in enumerate(frames) if bench.run(frame)] == []
    for generation, member in ((1, plain.ALLOWED), (0, plain.BLOCKED)):
        kernel.execute([WriteLeaves(generation, ids(130), ids(member)), Flip(generation)], 3)
        assert [at for at, frame in enumerate(frames) if bench.run(frame)] == [66] * (member == plain.ALLOWED)
        kind = layouts.BRIEF_ASK if member == plain.ALLOWED else plain.BLOCKED
        assert shared()[:5] == [0, plain.BLOCKED, kind, plain.BLOCKED, layouts.BRIEF_ASK]
