# SPDX-License-Identifier: Apache-2.0
"""What watching costs under a flood of spoofed sources: `xdpfw top` on a terminal, with its answers to keys, and what
is left of the packets while somebody follows the events."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.flood import LOUD, flooding
from lab.daemon import XDPFW, Daemon
from lab.network import Network
from lab.terminal import Terminal, terminal

SOURCES = 1_000_000
BLOCKED = "10.0.0.0/8"
"""Where the flood comes from."""
WIDTH, HEIGHT = 120, 40
SETTLE, SECONDS, KEYS = 6.0, 4.0, 8
TURN = 1.0
_ANSWERS = (("3", "packets▾"), ("1", "pps▾"))


@dataclass(frozen=True, slots=True)
class Watched:
    """`packets`: the flood, a second; `tracked`: talkers; `share`: of a core, in per cent; `answers`: ms per key."""

    packets: float
    tracked: float
    share: float
    answers: tuple[float, ...]


def watch(network: Network, daemon: Daemon, rounds: int) -> Iterator[Watched]:
    daemon.rest.must("PUT", f"sets/block/entries/{BLOCKED}", {})
    command = (str(XDPFW), "top", "lan1", "--socket", str(daemon.socket))
    with flooding(network, network.clients[0], SOURCES), terminal(*command, width=WIDTH, height=HEIGHT) as screen:
        screen.until("198.18.0.1")
        _look(screen, SETTLE)
        for number in range(rounds):
            before = _used(screen.process.pid)
            _look(screen, SECONDS)
            share = 100 * (_used(screen.process.pid) - before) / SECONDS
            answers = tuple(_answers(screen, number * KEYS))
            talkers = daemon.rest.get("interfaces/lan1/talkers")
            rate = sum(talkers["totals"][verdict]["pps"] for verdict in ("passed", "dropped"))
            yield Watched(rate, talkers["total"], share, answers)


def tail(network: Network, daemon: Daemon, rounds: int) -> Iterator[tuple[float, float]]:
    """Packets a second that arrive while nobody follows the events, and while somebody follows a sample of all traffic
    at the default budget. The receiver has a core of its own, and drops all."""
    for blocked in (BLOCKED, LOUD):
        daemon.rest.must("PUT", f"sets/block/entries/{blocked}", {})
    # A kernel thread receives, which the scheduler puts on the core that does not send.
    threaded = "mount -t sysfs none /sys && echo 1 >/sys/class/net/lan1/threaded"
    network.firewall.run("unshare", "--mount", "sh", "-ec", threaded)
    with flooding(network, network.clients[0], SOURCES):
        time.sleep(SETTLE)
        for number in range(rounds):
            values = [0.0, 0.0]
            for turn in (number % 2, 1 - number % 2):  # whoever is first has no advantage
                with _following(daemon) if turn else _nobody(daemon):
                    values[turn] = _arriving(daemon)
            yield values[0], values[1]


@contextmanager
def _following(daemon: Daemon) -> Iterator[None]:
    command = daemon.command("events", "--follow", "--sample", "--json")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            _until_watchers(daemon, 1)
            yield
        finally:
            process.terminate()


@contextmanager
def _nobody(daemon: Daemon) -> Iterator[None]:
    _until_watchers(daemon, 0)
    yield


def _until_watchers(daemon: Daemon, count: int) -> None:
    """The program for it is in force a moment later."""
    while daemon.rest.get("status")["events"]["watchers"] != count:
        time.sleep(0.05)
    time.sleep(TURN / 2)


def _arriving(daemon: Daemon) -> float:
    before, began = _counted(daemon)
    time.sleep(TURN)
    after, ended = _counted(daemon)
    return (after - before) / (ended - began)


def _counted(daemon: Daemon) -> tuple[int, float]:
    """Packets so far, and when."""
    counters = daemon.rest.get("interfaces/lan1/counters?reasons=false")
    return sum(counters[verdict]["packets"] for verdict in ("passed", "dropped")), time.perf_counter()


def _look(screen: Terminal, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        screen.read(0.1)
        screen.written.clear()


def _answers(screen: Terminal, first: int) -> Iterator[float]:
    """At moments that drift against the two updates a second."""
    for number in range(first, first + KEYS):
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
