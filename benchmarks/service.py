# SPDX-License-Identifier: Apache-2.0
"""How fast the control plane is: times and memory, each measured several times, in a lab of its own."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

from benchmarks import captures, clients, limits, rules, viewers
from benchmarks.figures import Figure
from benchmarks.leftovers import DISK
from benchmarks.watching import KEYS, tail, watch
from lab import prefixes
from lab.daemon import XDPFW, Daemon
from lab.network import Network
from lab.stall import asking

SMALL = 100_000
BLOCKS = 200
START_UPS = 10
SECONDS_EACH = 3
"""So often at most is done what takes seconds and is compared with nothing."""
REPLACEMENTS = 21
SAMPLES, SAMPLED_EVERY = 27, 0.21
"""Of memory, over more than the five seconds between two looks at talkers that nobody asks for."""
IDLE = 15
"""Seconds after which a daemon counts as idle."""
ATTACH = ("--listen", "none", "--attach", "lan1:native")


class Bench:
    """The measurements. Each makes its own lab and takes it down."""

    def __init__(self, count: int, repeat: int) -> None:
        self.count, self.repeat = count, repeat
        self.few = min(repeat, SECONDS_EACH)

    @cached_property
    def lists(self) -> list[bytes]:
        """Two lists that share half of their prefixes: every replacement changes half of what is there."""
        pool = prefixes.make(self.count * 3 // 2)
        return [prefixes.body(pool[: self.count]), prefixes.body(pool[self.count // 2 :])]

    def all(self) -> dict[str, Callable[[], Iterator[Figure]]]:
        return {
            "rules": self.rules,
            "limits": self.limits,
            "replay": self.replay,
            "cli": self.cli,
            "start": self.start,
            "replace": self.replace,
            "verify": self.verify,
            "top": self.top,
            "events": self.events,
            "viewers": viewers.measure,
        }

    def rules(self) -> Iterator[Figure]:
        """What ordered rules cost a packet; replacing a thousand of them beside many prefixes."""
        with site() as (_, daemon):
            leisure = time.monotonic() + 2 * IDLE  # by then it has compiled what it does when nobody waits
            put(daemon, files(daemon, "many", self.lists[:1])[0])
            settle(daemon)
            for name, values in rules.measure().items():
                yield Figure(name, "x", rules.goal_of(name), values)
            time.sleep(max(0, leisure - time.monotonic()))
            turns, connection = itertools.count(), daemon.rest.open()

            def replace(more: dict[str, object]) -> None:
                body = rules.replacement(1000, next(turns), more)
                daemon.rest.must("PUT", "rules?force=true", body, keep=connection)

            replace({})
            plain = repeat(REPLACEMENTS, lambda: replace({}))
            yield Figure(f"replace 1,000 rules beside {self.count:,} prefixes", "ms", 100, plain)
            asked = iter(rules.NEW_DIMENSIONS)
            compiled = repeat(len(rules.NEW_DIMENSIONS), lambda: replace(next(asked)))
            yield Figure("  with fields that no rule looked at before", "ms", 600, compiled)

    def limits(self) -> Iterator[Figure]:
        """What limits and bans cost a packet, against a rule that passes, and the latter in the same flood."""
        for name, values in limits.ratios().items():
            yield Figure(name, "x", limits.GOALS[name], values)

    def replay(self) -> Iterator[Figure]:
        """A capture of many small packets, by the command line."""
        with site() as (_, daemon):
            packets = self.count // 4
            for kind, make, *options in (("pcap", captures.pcap), ("pcapng", captures.pcapng, "--packets")):
                path = daemon.state / f"many.{kind}"
                make(path, packets)
                command = daemon.command("replay", str(path), "--timeout", "120", *options)
                name = " ".join([f"replay {packets:,} packets, {kind}", *options])
                yield Figure(name, "ms", 15_000 / 4, repeat(self.few, partial(run, *command)))

    def cli(self) -> Iterator[Figure]:
        """Start-up of the command line."""
        with site() as (_, daemon):
            hosts = (f"192.0.2.{n}" for n in itertools.count(1))
            yield Figure("xdpfw --help", "ms", 150, repeat(START_UPS, lambda: run(str(XDPFW), "--help")))
            block = repeat(START_UPS, lambda: run(*daemon.command("block", next(hosts))))
            yield Figure("xdpfw block, process start to answer", "ms", 150, block)

    def start(self) -> Iterator[Figure]:
        """From nothing to attached and enforcing; memory when idle."""
        with site() as (_, daemon):

            def cold() -> None:
                daemon.stop()
                shutil.rmtree(daemon.pins)
                shutil.rmtree(daemon.state)

            empty = repeat(self.few, daemon.start, before=cold)
            yield Figure("cold serve to attached and enforcing, empty", "ms", 2000, empty)
            time.sleep(IDLE)
            yield from memory(daemon, "idle and empty", 120)

    def replace(self) -> Iterator[Figure]:
        """Bulk replaces, single blocks beside many, starting with many. Every file is read as part of the time."""
        with site() as (_, daemon):
            few = files(daemon, "few", [b"\n".join(text.split(b"\n")[:SMALL]) for text in self.lists])
            many = files(daemon, "many", self.lists)
            yield from self._bulk(daemon, f"{SMALL:,}", few, 700)
            yield from self._bulk(daemon, f"{self.count:,} (half are other ones)", many, 6000)
            yield self._stall(daemon, many)
            yield Figure(f"one block with {self.count:,} loaded", "ms", 5, clients.block(daemon.socket, 1, BLOCKS, 0))
            yield from memory(daemon, f"with {self.count:,}", 400)
            yield Figure(f"daemon's peak memory with {self.count:,}", "MB", None, (resident(daemon, "VmHWM"),))
            yield from self._starts(daemon)

    def verify(self) -> Iterator[Figure]:
        """Comparing all of the kernel's tables with the policy."""
        with site() as (_, daemon):
            put(daemon, files(daemon, "many", self.lists[:1])[0])
            settle(daemon)
            looks = repeat(self.few, lambda: daemon.rest.get("verification"))
        yield Figure(f"compare all tables with the policy, {self.count:,}", "ms", 5000, looks)

    def top(self) -> Iterator[Figure]:
        """The live view under a flood: what it takes, and how soon a key shows."""
        with site() as (network, daemon):
            seen = list(watch(network, daemon, self.few))
        yield Figure("flood", "pps", None, tuple(each.packets for each in seen))
        yield Figure("  talkers tracked, of a million sources", "", None, tuple(each.tracked for each in seen))
        yield Figure("xdpfw top, share of a core", "%", 10, tuple(each.share for each in seen))
        yield Figure("xdpfw top, key to screen", "ms", None, tuple(ms for each in seen for ms in each.answers))
        yield Figure(f"  slowest of {KEYS} keys", "ms", 200, tuple(max(each.answers) for each in seen))

    def events(self) -> Iterator[Figure]:
        """What is left of a flood's packets while somebody follows the events."""
        with site() as (network, daemon):
            seen = list(tail(network, daemon, self.repeat))
        yield Figure("flood, all dropped", "pps", None, tuple(without for without, _ in seen))
        yield Figure("packets lost to events", "%", 3, tuple(100 * (1 - followed / rate) for rate, followed in seen))

    def _stall(self, daemon: Daemon, paths: list[Path]) -> Figure:
        """What an import costs whoever asks something that takes no time."""
        longest = []
        for number in range(self.few):
            settle(daemon)
            with asking(daemon.socket) as answers:
                put(daemon, paths[number % 2])
            longest.append(max(answers))
        return Figure(f"longest GET /healthz while {self.count:,} are replaced", "ms", 50, tuple(longest))

    def _bulk(self, daemon: Daemon, what: str, paths: list[Path], goal: float) -> Iterator[Figure]:
        def emptied() -> None:
            clear(daemon)
            settle(daemon)

        empty = repeat(self.few, lambda: put(daemon, paths[0]), before=emptied)
        yield Figure(f"load {what.partition(' ')[0]} into an empty set, file to enforced", "ms", goal, empty)
        turns = itertools.cycle(paths[::-1])
        yield Figure(
            f"replace {what}",
            "ms",
            goal,
            repeat(self.few, lambda: put(daemon, next(turns)), before=lambda: settle(daemon)),
        )

    def _starts(self, daemon: Daemon) -> Iterator[Figure]:
        def cold() -> None:
            daemon.stop()
            shutil.rmtree(daemon.pins)

        adopting = repeat(self.few, daemon.start, before=lambda: daemon.kill())
        yield Figure(f"serve adopting pinned state, {self.count:,}", "ms", 2000, adopting)
        stored = repeat(self.few, daemon.start, before=cold)
        yield Figure(f"cold serve with {self.count:,} stored", "ms", 6000, stored)


def repeat(
    times: int,
    action: Callable[[], object],
    before: Callable[[], object] | None = None,
) -> tuple[float, ...]:
    """Milliseconds that each run of the action took."""
    values = []
    for _ in range(times):
        if before:
            before()
        began = time.perf_counter()
        action()
        values.append((time.perf_counter() - began) * 1000)
    return tuple(values)


@contextmanager
def site(wrapped: tuple[str, ...] = (), arguments: tuple[str, ...] = ()) -> Iterator[tuple[Network, Daemon]]:
    """A daemon that filters one interface, its state on disk. `wrapped`: the command that starts it."""
    with Network(1) as network:
        daemon = Daemon(network.firewall, network.home, arguments=(*ATTACH, *arguments), wrapped=wrapped)
        daemon.state = DISK / network.name
        daemon.rest.timeout = 120
        try:
            yield network, daemon.start()
        finally:
            daemon.kill()
            shutil.rmtree(daemon.state, ignore_errors=True)


def run(*command: str) -> None:
    """To its end, whatever it says. Waiting with a timeout would look only every 50 ms."""
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)


def put(daemon: Daemon, path: Path) -> None:
    daemon.rest.must("PUT", "sets/block/entries?force=true", path.read_bytes(), kind="text/plain")


def clear(daemon: Daemon) -> None:
    daemon.rest.must("PUT", "sets/block/entries?force=true", b"", kind="text/plain")


def settle(daemon: Daemon, calm: float = 1.0) -> None:
    """Until nothing is left over of the change before: the tables hold what the sets hold; then for so many seconds."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = daemon.rest.get("status")
        held = sum(status["maps"][f"{kind}{family}"]["used"] for kind in ("hosts", "trie") for family in (4, 6))
        if held == sum(view["entries"] for view in status["sets"]):
            time.sleep(calm)
            return
        time.sleep(0.05)
    raise SystemExit("the tables do not settle")


def files(daemon: Daemon, name: str, lists: list[bytes]) -> list[Path]:
    paths = [daemon.state / f"{name}{number}" for number in range(len(lists))]
    for path, listing in zip(paths, lists, strict=True):
        path.write_bytes(listing)
    return paths


def resident(daemon: Daemon, field: str = "VmRSS") -> float:
    """Megabytes (10^6 bytes)."""
    assert daemon.process is not None
    for line in Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"no {field}")


def mapped_tables(daemon: Daemon) -> float:
    """Megabytes of the packet path's tables that the daemon has mapped: the kernel's, which stay when it ends."""
    assert daemon.process is not None
    total, table = 0, False
    for line in Path(f"/proc/{daemon.process.pid}/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            table = line.endswith("bpf-map")
        elif table and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total * 1024 / 1e6


def memory(daemon: Daemon, when: str, goal: float) -> Iterator[Figure]:
    """Several samples: now and then it takes more for a moment."""
    found = []
    for _ in range(SAMPLES):
        found.append(resident(daemon))
        time.sleep(SAMPLED_EVERY)
    yield Figure(f"daemon's memory, {when}", "MB", goal, tuple(found))
    yield Figure("  of that, tables of the packet path", "MB", None, (mapped_tables(daemon),))
