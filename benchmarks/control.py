# SPDX-License-Identifier: Apache-2.0
"""Loading, changing, listing and looking up prefixes beside nftables and ipset, and what single blocks take alone and
under a flood. All take turns; ratios are between runs of one round, each side by its own command."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from benchmarks import clients, plain
from benchmarks.figures import Figure, Point, percentile, ratio
from benchmarks.flood import flooding
from benchmarks.peers import Command, Holder, Ipset, Nftables, Rest, namespace
from benchmarks.service import SECONDS_EACH, clear, files, put, repeat, settle, site
from lab import prefixes
from lab.daemon import Daemon

SIZES = (1_000, 100_000, 1_000_000)
OURS, OVER_REST, NFTABLES, IPSET = "xdpfw", "xdpfw over REST", "nftables", "ipset"
PATIENCE, PATIENT = 100_000, ("load",)
"""With more prefixes all but flushing takes nftables 20 s and more: it is asked for this alone, and once; what is
compared with nobody is done some times."""
HOST = "192.0.2.1"
OPERATIONS: dict[str, Callable[[Holder], None]] = {
    "load": lambda holder: holder.load(),
    "add one": lambda holder: holder.add(HOST),
    "look one up": lambda holder: holder.look(HOST),
    "delete one": lambda holder: holder.delete(HOST),
    "list": lambda holder: holder.list(),
}
BLOCKS, CLIENTS = 200, 16
GOALS = (2, 10)
"""p50 and p99 of one client, ms."""
FLOODED = "10.0.0.0/8"
"""Where the flood comes from (benchmarks/flood.py); blocked."""
SOURCES = 1_000_000

Times = dict[str, dict[str, list[float]]]


def operations(rounds: int, largest: int) -> Iterator[Figure]:
    """By the number of prefixes."""
    with site() as (network, daemon), namespace(f"{network.name}-peers") as space:
        holders: dict[str, Holder] = {
            OURS: Command(daemon, daemon.state / "command"),
            OVER_REST: Rest(daemon, daemon.state / "rest"),
            IPSET: Ipset(space, daemon.state / "ipset"),
            NFTABLES: Nftables(space, daemon.state / "nftables"),
        }
        for size in sorted({min(size, largest) for size in SIZES}):
            yield from _figures(size, _in_turns(holders, size, rounds))


def _in_turns(holders: dict[str, Holder], size: int, rounds: int) -> Times:
    found: Times = {name: {operation: [] for operation in OPERATIONS} for name in holders}
    listing = prefixes.make(size)
    for holder in holders.values():
        holder.write(listing)
        holder.empty()
    for number in range(rounds):
        for name, holder in holders.items():
            if number >= _times(name, size, rounds):
                continue
            for operation in PATIENT if name == NFTABLES and size > PATIENCE else OPERATIONS:
                found[name][operation] += repeat(1, partial(OPERATIONS[operation], holder))
            holder.empty()
    return found


def _times(name: str, size: int, rounds: int) -> int:
    """So often it takes its turn."""
    if size <= PATIENCE:
        return rounds
    return {NFTABLES: 1, OVER_REST: min(rounds, SECONDS_EACH)}.get(name, rounds)


def _figures(size: int, found: Times) -> Iterator[Figure]:
    for operation in OPERATIONS:
        for name in (OURS, OVER_REST, NFTABLES, IPSET):
            if not found[name][operation]:
                continue
            what = f"{size:,}: {operation}" if name == OURS else f"  {name}"
            yield Figure(what, "ms", None, tuple(found[name][operation]), Point(operation, name, size))
        for peer in (NFTABLES, IPSET):
            if found[peer][operation]:
                yield ratio(f"  against {peer}", None, found[OURS][operation], found[peer][operation])


def latency(rounds: int, count: int) -> Iterator[Figure]:
    """Single blocks over REST: by one client after the other's answer, and by many at once."""
    yield from _floor(rounds)
    with site() as (network, daemon):
        blocks = _Blocks(daemon, rounds)
        for size in sorted({min(size, count) for size in SIZES}):
            clear(daemon)
            put(daemon, files(daemon, "many", [prefixes.body(prefixes.make(size))])[0])
            settle(daemon)
            last = size == min(count, SIZES[-1])
            yield from blocks.measure(f"{size:,} loaded", GOALS if last else None, size)
        alone = blocks.found
        daemon.rest.must("PUT", f"sets/block/entries/{FLOODED}", {})
        with flooding(network, network.clients[0], SOURCES):
            time.sleep(3)
            yield from blocks.measure(f"{count:,} loaded, under a flood", None)
            yield Figure("  flood", "pps", None, (_rate(daemon),))
        for (one, before), after in zip(alone.items(), blocks.found.values(), strict=True):
            for share in (0.5, 0.99):
                pair = (percentile("", "ms", None, share, runs).values for runs in (after, before))
                yield ratio(f"  {one}, p{share * 100:.0f} against without flood", 3, *pair)


def _floor(rounds: int) -> Iterator[Figure]:
    """Below which nothing gets that stands on the same libraries and the same disk."""
    for where, database in (("on disk", plain.ON_DISK), ("in memory", plain.IN_MEMORY)):
        with plain.service(database) as socket:
            runs = [clients.block(socket, 1, BLOCKS, number * BLOCKS) for number in range(rounds)]
        for share in (0.5, 0.99):
            yield percentile(f"no firewall, stored {where}, 1 client, p{share * 100:.0f}", "ms", None, share, runs)


class _Blocks:
    """`found`: the runs of the last measurement, for one client and for many."""

    def __init__(self, daemon: Daemon, rounds: int) -> None:
        self._daemon, self._rounds = daemon, rounds
        self._hosts = itertools.count(0, BLOCKS)
        self.found: dict[str, list[tuple[float, ...]]] = {}

    def measure(self, when: str, goals: tuple[float, float] | None, size: int = 0) -> Iterator[Figure]:
        """Fewer times for a size that is there for the plot alone."""
        self.found = {"1 client": [], f"{CLIENTS} clients": []}
        for _ in range(min(self._rounds, SECONDS_EACH) if size and not goals else self._rounds):
            for count, runs in zip((1, CLIENTS), self.found.values(), strict=True):
                runs.append(clients.block(self._daemon.socket, count, BLOCKS, next(self._hosts)))
        for who, runs in self.found.items():
            for number, share in enumerate((0.5, 0.99)):
                goal, line = goals[number] if goals and who == "1 client" else None, f"{who}, p{share * 100:.0f}"
                found = percentile(f"one block, {when}, {line}", "ms", goal, share, runs)
                yield replace(found, point=Point("one block over REST", line, size))


def _rate(daemon: Daemon) -> float:
    """Packets a second that arrive."""
    totals = daemon.rest.get("interfaces/lan1/talkers?limit=1")["totals"]
    return float(sum(totals[verdict]["pps"] for verdict in ("passed", "dropped")))
