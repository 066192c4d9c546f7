# SPDX-License-Identifier: Apache-2.0
"""The fake kernel does what the real one does: the same operations on both, the same answers."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from tests.kernel import plain
from tests.kernel.conftest import SMALL, Host
from tests.kernel.plain import ALLOWED, BLOCKED, ids
from tests.packets import ethernet, ip, udp
from xdpfw.kernel.fake import FakeKernel
from xdpfw.kernel.port import Kernel
from xdpfw.model.errors import MapFull
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import FAMILIES
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Mode
from xdpfw.policy.ops import NEVER, Flip, Grace, Op, WriteLeaves, WriteMemberships

pytestmark = pytest.mark.kernel

PREFIXES = [
    *("0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24", "10.1.1.1", "10.1.1.2", "203.0.113.0/24"),
    *("::/0", "2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::1", "2001:db8:1::/127", "fd00::/8"),
]
ADDRESSES = [
    *("10.1.1.1", "10.1.1.2", "10.1.1.3", "10.1.2.1", "10.2.0.1", "203.0.113.9", "198.51.100.1"),
    *("2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::1", "2001:db9::1", "fd00::1", "::ffff:10.1.1.1"),
]
EXPIRED, LATER = 3, 4
"""Memberships: blocked until some time ago, then allowed; and the other way round in an hour."""


class Walk:
    """A random walk of valid changes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._leaves: dict[str, int] = {}
        self._free = list(range(1, 40))
        self.generation = 0

    def step(self) -> list[Op]:
        absent = [prefix for prefix in PREFIXES if prefix not in self._leaves]
        moves: list[Callable[[], list[Op]]] = [self._flip]
        if absent:
            moves += [lambda: self._insert(self._random.choice(absent))] * 3
        if self._leaves:
            moves += [lambda: self._delete(self._random.choice(sorted(self._leaves)))]
        return self._random.choice(moves)()

    def _insert(self, prefix: str) -> list[Op]:
        self._leaves[prefix] = self._free.pop(0)
        return plain.insert(prefix, self._leaves[prefix], self._member())

    def _delete(self, prefix: str) -> list[Op]:
        leaf = self._leaves.pop(prefix)
        self._free.append(leaf)
        return [plain.delete(prefix, leaf), Grace()]

    def _flip(self) -> list[Op]:
        self.generation ^= 1
        leaves = sorted(self._leaves.values())
        rules = Policy(default=self._random.choice(list(Verdict)), mode=self._random.choice(list(Mode)))
        members = np.array([self._member() for _ in leaves], np.uint32)
        return [
            WriteLeaves(self.generation, ids(*leaves), members),
            plain.policy(self.generation, rules),
            Flip(self.generation),
            Grace(),
        ]

    def _member(self) -> int:
        return self._random.choice((0, ALLOWED, BLOCKED, EXPIRED, LATER))


def start(kernel: Kernel) -> None:
    now = time.time_ns()
    plain.start(kernel)
    times = np.array([now - 10**9, now + 3600 * 10**9, NEVER, NEVER])
    classes, nexts = ids(BLOCKED, ALLOWED, ALLOWED, BLOCKED), ids(5, 6, 0, 0)
    kernel.execute([WriteMemberships(ids(EXPIRED, LATER, 5, 6), classes, nexts, times)], 2)


def answers(kernel: Kernel) -> list[object]:
    judged = [kernel.judge(ethernet(ip(address, udp()))) for address in ADDRESSES]
    fills = {fill.name: (fill.used, fill.size) for fill in kernel.fill()}
    return [
        fills,
        *((address, j.verdict, j.cause, j.monitored, j.leaf) for address, j in zip(ADDRESSES, judged, strict=True)),
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_walk_of_changes_and_a_restart(host: Host, seed: int) -> None:
    real, fake = host.kernel(), FakeKernel(limits=SMALL)
    kernels: tuple[Kernel, Kernel] = (real, fake)
    for kernel in kernels:
        start(kernel)
    walk = Walk(seed)
    for revision in range(3, 60):
        change = walk.step()
        for kernel in kernels:
            kernel.execute(change, revision)
        assert answers(real) == answers(fake)
    for kernel in kernels:
        kernel.stop(detach=False)
    known = [kernel.start() for kernel in (host.kernel(), fake)]
    for field in ("adopted", "revision", "generation", "reason"):
        assert getattr(known[0], field) == getattr(known[1], field)
    for family in FAMILIES:
        for part in ("keys", "leaves", "memberships"):
            assert (
                getattr(known[0].directory, part)[family].tolist() == getattr(known[1].directory, part)[family].tolist()
            )
    assert known[0].memberships.tolist() == known[1].memberships.tolist()
    assert known[0].classes.tolist() == known[1].classes.tolist()


def test_both_refuse_what_does_not_fit(host: Host) -> None:
    limits = replace(SMALL, leaves=4, hosts4=2)
    texts = []
    for kernel in (host.kernel(limits), FakeKernel(limits=limits)):
        plain.start(kernel)
        kernel.execute(plain.insert("10.1.1.1", 1), 2)
        kernel.execute(plain.insert("10.1.1.2", 2), 3)
        with pytest.raises(MapFull) as caught:
            kernel.execute(plain.insert("10.1.1.3", 3), 4)
        texts.append((caught.value.detail, answers(kernel)))
    assert texts[0] == texts[1]
