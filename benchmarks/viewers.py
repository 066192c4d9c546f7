# SPDX-License-Identifier: Apache-2.0
"""What watching costs: the daemon's processor time while 0, 1 and 50 viewers follow what the live page shows, with a
million talkers tracked on two interfaces.

Their tables are filled, and then written into all the time, by this process through the tables' own memory, as the
packet path would: in the quiet case the talkers stay and their counts grow, in the other one a quarter of them is
replaced every second, as under a flood of spoofed sources.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure
from lab.daemon import Daemon
from lab.network import Network
from xdpfw.kernel import libbpf
from xdpfw.kernel.maps import Map, View, interface_specs, possible_cpus
from xdpfw.model.limits import Limits

SLOTS = 1 << 20
TRACKED = 1_000_000
VIEWERS = (0, 1, 50)
GOAL = 10.0
"""Per cent of a core."""
SECONDS, ROUNDS = 2.0, 3
ONE, TWO = ("lan1",), ("lan1", "lan2")
QUERY = "/api/v1/live/stream?limit=100&sort=bps"
"""What the live page follows: talkers and counters every second, status and reasons every three."""
PIECE = 1 << 16


@contextmanager
def site(interfaces: Sequence[str] = ONE) -> Iterator[Daemon]:
    """A daemon whose tables of talkers are as large as they may be."""
    with Network(len(interfaces)) as network:
        settings = network.home / "xdpfw.toml"
        settings.write_text(f"[limits]\ntalkers = {SLOTS // possible_cpus()}\nleaves = 1000\n")
        attach = [word for name in interfaces for word in ("--attach", f"{name}:native")]
        arguments = ("--config", str(settings), "--listen", "none", *attach)
        daemon = Daemon(network.firewall, network.home, arguments=arguments)
        try:
            yield daemon.start()
        finally:
            daemon.kill()


def settle(slots: View, random: np.random.Generator) -> None:
    """New tenants of a talker table's slots."""
    slots["sequence"] += 1
    octets = random.integers(0, 256, (len(slots), 16), dtype=np.uint8)
    octets[:, :10], octets[:, 10:12] = 0, 255
    slots["address"], slots["epoch"] = octets, 1
    slots["passed_packets"] = random.zipf(1.5, len(slots)) % 10_000
    slots["passed_bytes"] = slots["passed_packets"] * 100
    slots["dropped_packets"] = slots["dropped_bytes"] = 0
    slots["sequence"] += 1


class Talkers:
    """An interface's talker table, written into by a thread."""

    def __init__(
        self, daemon: Daemon, slots: int = SLOTS, *, churn: bool, interface: str = ONE[0], tracked: int = TRACKED
    ) -> None:
        limits = Limits(talkers=slots // possible_cpus())
        spec = next(spec for spec in interface_specs(limits, possible_cpus()) if spec.name == "talkers")
        [pin] = daemon.pins.rglob(f"on-{interface}/talkers-*")
        self._map = Map(spec, libbpf.get(pin))
        self._random = np.random.default_rng(TWO.index(interface))
        self._tracked = tracked
        self._churn = churn
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Talkers:
        with self._map.mapped() as buckets:
            slots = buckets["way"].reshape(-1)
            for begin in range(0, min(self._tracked, len(slots)), PIECE):
                settle(slots[begin : min(begin + PIECE, self._tracked)], self._random)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._map.close()

    def _write(self) -> None:
        """All counts grow about once a second, a piece at a time."""
        with self._map.mapped() as buckets:
            slots = buckets["way"].reshape(-1)
            number = 0
            while not self._ended.wait(PIECE / SLOTS):
                begin = number * PIECE % min(self._tracked, len(slots))
                piece = slots[begin : min(begin + PIECE, self._tracked)]
                if self._churn:
                    settle(piece[: len(piece) // 4], self._random)
                piece["passed_packets"] += 1
                piece["passed_bytes"] += 100
                number += 1


class Viewers:
    """Streams that are read by one thread each."""

    def __init__(self, daemon: Daemon, count: int) -> None:
        self._daemon, self._count = daemon, count
        self.events = [0] * count
        self._stack = ExitStack()

    def __enter__(self) -> Viewers:
        for number in range(self._count):
            connection = self._daemon.rest.open()
            connection.request("GET", QUERY)
            reader = threading.Thread(target=self._read, args=(number, connection.getresponse()))
            reader.start()
            self._stack.callback(reader.join)
            # Ends the reader's read; the response may hold the socket still.
            self._stack.callback(connection.sock.shutdown, socket.SHUT_RDWR)
        return self

    def _read(self, number: int, response: Iterator[bytes]) -> None:
        try:
            for line in response:
                self.events[number] += line.startswith(b"event: talkers")
        except (OSError, ValueError):
            return

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def spent(daemon: Daemon) -> float:
    """Seconds of processor time that the daemon has used so far."""
    assert daemon.process is not None
    fields = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share(daemon: Daemon, count: int, seconds: float) -> float:
    """Per cent of a core while so many watch."""
    with Viewers(daemon, count) as viewers:
        time.sleep(1)
        before, events, began = spent(daemon), sum(viewers.events), time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - began
        used, told = spent(daemon) - before, sum(viewers.events) - events
        if count and told < 0.6 * count * (passed - 1):
            raise SystemExit(f"{count} viewers saw {told} events in {passed:.0f} s: the daemon does not keep up")
    return 100 * used / passed


def measure() -> Iterator[Figure]:
    for churn, what in ((False, "the same talkers"), (True, "a quarter new every second")):
        with site(TWO) as daemon, ExitStack() as writing:
            for name in TWO:
                talkers = Talkers(daemon, churn=churn, interface=name, tracked=TRACKED // len(TWO))
                writing.enter_context(talkers)
            total = daemon.rest.get("talkers?limit=1")["total"]
            found: dict[int, list[float]] = {count: [] for count in VIEWERS}
            for _ in range(ROUNDS):
                for count in VIEWERS:
                    found[count].append(share(daemon, count, SECONDS))
        yield Figure(f"talkers tracked, {what}", "", None, (total,))
        for count, values in found.items():
            yield Figure(f"  share of a core with {count} viewers", "%", GOAL if count else None, tuple(values))
