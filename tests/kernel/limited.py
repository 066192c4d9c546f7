# SPDX-License-Identifier: Apache-2.0
"""A kernel whose rules have limits, and its live program, which a test alone feeds."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests import packets as p
from tests.kernel.bench import Bench
from tests.loaded import Loaded
from xdpfw.kernel import libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.model.limits import Limits
from xdpfw.model.reason import MAX_REASONS
from xdpfw.model.rule import Rule
from xdpfw.model.rule_form import parse_rules


def limit(rate: int, burst: int, id: str = "limited", match: Any = None, mode: str = "enforce", **more: Any) -> Rule:
    document = {"id": id, "action": "limit", "match": match or {}, "mode": mode}
    [rule] = parse_rules([{**document, "limit": {"rate": rate, "burst": burst, **more}}])
    return rule


def frame(source: str = "192.0.2.1", size: int = 60) -> bytes:
    return p.ethernet(p.ip(source, p.udp()), pad_to=size)


@dataclass
class Counted:
    """What became of frames, and how long they took, in seconds; `busy`: of which the program was running; `ended`:
    when, by the monotonic clock."""

    passed: int
    dropped: int
    seconds: float
    busy: float = 0.0
    ended: float = 0.0


class Limited:
    def __init__(self, kernel: RealKernel, limits: Limits) -> None:
        self.kernel = kernel
        self.loaded = Loaded(kernel, limits)
        self.bench = Bench(kernel)

    def use(self, *rules: Rule, **changes: Any) -> None:
        """These rules; counters begin at zero."""
        self.bench.close()
        self.loaded.use(rules=rules, **changes)
        self.bench = Bench(self.kernel)

    def close(self) -> None:
        self.bench.close()

    def cause(self, id: str = "limited") -> int:
        return MAX_REASONS + self.loaded.policy.slots.of[id]

    def send(self, frames: Iterable[bytes], times: int = 1) -> Counted:
        """One by one."""
        began, verdicts = time.monotonic(), []
        for each in frames:
            verdicts += [self.bench.run(each) for _ in range(times)]
        return Counted(verdicts.count(True), verdicts.count(False), time.monotonic() - began)

    def burst(self, frame: bytes, times: int, id: str = "limited") -> Counted:
        """As fast as the kernel can, one CPU."""
        before, began = self.bench.tally()[self.cause(id)], time.monotonic()
        _, each = libbpf.test_run(self.bench.program, frame, times)
        ended = time.monotonic()
        passed, _, dropped, *_ = (self.bench.tally()[self.cause(id)] - before).tolist()
        return Counted(passed, dropped, ended - began, each * times / 1e9, ended)
