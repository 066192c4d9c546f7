# SPDX-License-Identifier: Apache-2.0
"""What `xdpfw top` costs and how quickly it answers a key, on a terminal, under a flood of spoofed sources."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.flood import flooding
from lab.daemon import XDPFW, Daemon
from lab.network import Network
from lab.terminal import Terminal, terminal

SOURCES = 1_000_000
BLOCKED = "10.0.0.0/8"
"""Where the flood comes from."""
WIDTH, HEIGHT = 120, 40
SETTLE, SECONDS, KEYS = 10.0, 15.0, 40
_ANSWERS = (("3", "packets▾"), ("1", "pps▾"))


@dataclass(frozen=True, slots=True)
class Watched:
    """`packets`: the flood, a second; `tracked`: talkers; `share`: of a core, in per cent; `answers`: ms per key."""

    packets: float
    tracked: float
    share: float
    answers: tuple[float, ...]


def watch(network: Network, daemon: Daemon) -> Watched:
    daemon.rest.must("PUT", f"sets/block/entries/{BLOCKED}", {})
    command = (str(XDPFW), "top", "lan1", "--socket", str(daemon.socket))
    with flooding(network, network.clients[0], SOURCES), terminal(*command, width=WIDTH, height=HEIGHT) as screen:
        screen.until("198.18.0.1")
        _look(screen, SETTLE)
        before = _used(screen.process.pid)
        _look(screen, SECONDS)
        share = 100 * (_used(screen.process.pid) - before) / SECONDS
        answers = tuple(_answers(screen))
        talkers = daemon.rest.get("interfaces/lan1/talkers")
    rate = sum(talkers["totals"][verdict]["pps"] for verdict in ("passed", "dropped"))
    return Watched(rate, talkers["total"], share, answers)


def _look(screen: Terminal, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        screen.read(0.1)
        screen.written.clear()


def _answers(screen: Terminal) -> Iterator[float]:
    """At moments that drift against the two updates a second."""
    for number in range(KEYS):
        _look(screen, 0.2 + 0.013 * (number % 37))
        key, shown = _ANSWERS[number % 2]
        began = time.perf_counter()
        screen.press(key)
        screen.until(shown)
        yield (time.perf_counter() - began) * 1000


def _used(pid: int) -> float:
    """Seconds of processor time, all threads."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
