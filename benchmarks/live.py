# SPDX-License-Identifier: Apache-2.0
"""What frames cost their receiver over a veth pair, and how many a second it takes, beside a bare program, xdp-filter,
nftables and builds of our own that go without. All receivers take turns; ratios are between runs of one round."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import numpy as np

from benchmarks import mixes
from benchmarks.figures import Figure, Point, ratio
from benchmarks.mixes import Addresses
from benchmarks.tested import Site, verdict, xdp_filter
from benchmarks.veth import Flood, Received, Wire
from xdpfw.kernel import libbpf
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Family
from xdpfw.model.reason import Verdict

PREFIXES, HOSTS = 1_000_000, 900_000
SOURCES, FEW, TABLE = 200_000, 10_000, 1 << 18
FEW_ROUNDS = 3
"""Of what is compared with nothing."""
NFTABLES, XDP_FILTER = 100_000, 10_000
"""Prefixes and hosts that the peers have."""
BARE_DROP, BARE_PASS, LOOKING = "bare XDP_DROP", "bare XDP_PASS", "XDP_DROP that looked at the source"
PEER, TABLES = "xdp-filter, all features", "nftables"
OURS, SILENT, TRIES, TRIES_LRU = "xdpfw", "xdpfw, no talkers", "xdpfw, tries only", "xdpfw, tries and LRU only"

UNCOUNTED = "xdpfw, no talkers, no hits of entries"
DROPPED = "packets a second, dropped"
"""A plot."""

Values = dict[str, tuple[Received, ...]]


@dataclass(frozen=True, slots=True)
class Receiver:
    """`active` is something at the receiver's end, `program` if it is one; the flood is what it meets."""

    active: Callable[[], AbstractContextManager[None]]
    flood: Flood
    program: int | None = None


def measure(rounds: int) -> Iterator[Figure]:
    with Wire() as wire:
        for part in (_ipv4, _nftables, _ipv6):
            yield from part(wire, rounds)


class Receivers:
    """What takes its turn at the receiver's end, and the flood that each of them meets."""

    def __init__(self, wire: Wire, opened: ExitStack, family: Family) -> None:
        self._wire, self._opened, self._family = wire, opened, family
        self._random = np.random.default_rng(family)
        self._all: dict[str, Receiver] = {}

    def flood(self, *parts: tuple[Addresses, float]) -> Flood:
        addresses = mixes.blend(self._random, TABLE, *parts)
        return self._opened.enter_context(self._wire.flood(addresses, self._family))

    def add(self, name: str, program: AbstractContextManager[int | None], flood: Flood) -> None:
        """What is not installed does not take part."""
        if (fd := self._opened.enter_context(program)) is not None:
            self._all[name] = Receiver(lambda: self._wire.program(fd), flood, fd)

    def add_chain(self, name: str, table: str, flood: Flood) -> None:
        self._all[name] = Receiver(lambda: self._wire.chain(table), flood)

    def in_turns(self, rounds: int) -> Values:
        found: dict[str, list[Received]] = {name: [] for name in self._all}
        for number in range(rounds + 1):
            for name, receiver in self._all.items():
                with receiver.active():
                    received = self._wire.received(receiver.flood)
                if number:  # the first one warms up
                    found[name].append(received)
        return {name: tuple(values) for name, values in found.items()}

    def counted(self, rounds: int) -> dict[str, tuple[float, ...]]:
        """ns of each program's runs alone, as the kernel counts them; counting is part of it."""
        programs = {name: each for name, each in self._all.items() if each.program is not None}
        found: dict[str, list[float]] = {name: [] for name in programs}
        statistics = libbpf.count_runs()
        try:
            for _ in range(rounds):
                for name, receiver in programs.items():
                    found[name].append(self._counted(receiver))
        finally:
            os.close(statistics)
        return {name: tuple(values) for name, values in found.items()}

    def _counted(self, receiver: Receiver) -> float:
        assert receiver.program is not None
        before = libbpf.prog_info(receiver.program)
        with receiver.active():
            self._wire.received(receiver.flood)
        after = libbpf.prog_info(receiver.program)
        return (after.run_ns - before.run_ns) / (after.runs - before.runs)


def _ipv4(wire: Wire, rounds: int) -> Iterator[Figure]:
    """Beside a million prefixes and almost as many hosts. What no row matches is dropped, so that no part of what it
    costs is the stack's; then it is passed, so that it is."""
    full, hosts, listed = mixes.prefixes(PREFIXES, 4), mixes.hosts(HOSTS), mixes.hosts(XDP_FILTER, seed=3)
    random = np.random.default_rng(1)
    clean, inside = full.outside(random, SOURCES // 2), full.inside(random, SOURCES)
    with Site(policy=Policy(default=Verdict.DROP)) as site:
        site.block(full)
        site.block(hosts)
        with ExitStack() as opened:
            receivers = Receivers(wire, opened, 4)
            mixed = receivers.flood(
                (clean, 0.5), (inside[: SOURCES // 4], 0.25), (hosts.inside(random, SOURCES // 4), 0.25)
            )
            prefixes, theirs = receivers.flood((inside, 1)), receivers.flood((listed.inside(random, SOURCES), 1))
            few = receivers.flood((inside[:FEW], 1))
            receivers.add(BARE_DROP, verdict("XDP_DROP"), prefixes)
            receivers.add(LOOKING, verdict("XDP_DROP", looks=True), prefixes)
            receivers.add(f"{OURS}, mixed", site.program(), mixed)
            receivers.add(f"{TRIES_LRU}, mixed", site.program("-DTRIES_ONLY", lru=True), mixed)
            receivers.add(f"{OURS}, by prefix", site.program(), prefixes)
            receivers.add(f"{SILENT}, by prefix", site.program("-DTALKERS=0"), prefixes)
            bare = site.program("-DTALKERS=0", "-DENTRY_COUNTERS=0")
            receivers.add(f"{UNCOUNTED}, by prefix", bare, prefixes)
            receivers.add(_of(f"{SILENT}, by prefix", FEW), site.program("-DTALKERS=0"), few)
            receivers.add(f"{PEER}, its hosts", xdp_filter("alw_all", listed), theirs)
            receivers.add("xdp-filter, IPv4 only, its hosts", xdp_filter("alw_ip", listed), theirs)
            values, counted = receivers.in_turns(rounds), receivers.counted(min(rounds, FEW_ROUNDS))
        yield from _figures("IPv4, dropped", values, counted)
        yield from _ratio(f"mixed, against {PEER}", 0.8, values, f"{OURS}, mixed", f"{PEER}, its hosts")
        yield from _ratio("mixed, against tries and LRU only", 0.1, values, f"{OURS}, mixed", f"{TRIES_LRU}, mixed")
        silent = f"{SILENT}, by prefix"
        yield from _ratio(f"by prefix, no talkers, against {BARE_DROP}", 1.25, values, silent, BARE_DROP)
        yield from _ratio("the same, uncounted", None, values, f"{UNCOUNTED}, by prefix", BARE_DROP)
        yield from _ratio(_of("the same", FEW), None, values, _of(silent, FEW), BARE_DROP)
        site.decide(Policy())
        yield from _passed(wire, rounds, site, clean[:FEW])


def _passed(wire: Wire, rounds: int, site: Site, clean: Addresses) -> Iterator[Figure]:
    with ExitStack() as opened:
        receivers = Receivers(wire, opened, 4)
        flood = receivers.flood((clean, 1))
        receivers.add(BARE_PASS, verdict("XDP_PASS"), flood)
        receivers.add(OURS, site.program(), flood)
        receivers.add(PEER, xdp_filter("alw_all"), flood)
        values, counted = receivers.in_turns(rounds), receivers.counted(min(rounds, FEW_ROUNDS))
    yield from _figures("IPv4, passed", values, counted)
    yield from _ratio("passed, against bare XDP_PASS", 1.08, values, OURS, BARE_PASS)
    yield from _ratio(f"passed, against {PEER}", None, values, OURS, PEER)


def _nftables(wire: Wire, rounds: int) -> Iterator[Figure]:
    """The same prefixes in both."""
    for size in (NFTABLES // 100, NFTABLES):
        yield from _beside_nftables(wire, rounds, size)


def _beside_nftables(wire: Wire, rounds: int, size: int) -> Iterator[Figure]:
    listing, table = mixes.prefixes(PREFIXES, 4).some(size), f"bench{os.getpid()}"
    inside = listing.inside(np.random.default_rng(2), SOURCES)
    with Site() as site, ExitStack() as opened:
        site.block(listing)
        opened.enter_context(wire.table(table, listing))
        receivers = Receivers(wire, opened, 4)
        for count in (SOURCES, FEW):
            flood = receivers.flood((inside[:count], 1))
            receivers.add(_of(OURS, count), site.program(), flood)
            receivers.add_chain(_of(TABLES, count), table, flood)
        values = receivers.in_turns(rounds)
    yield from _figures(f"IPv4, {size:,} prefixes", values, {}, size)
    for count, goal in ((SOURCES, 0.12 if size == NFTABLES else None), (FEW, None)):
        what = _of("against nftables netdev ingress", count)
        yield from _ratio(what, goal, values, _of(OURS, count), _of(TABLES, count))


def _ipv6(wire: Wire, rounds: int) -> Iterator[Figure]:
    listing = mixes.prefixes(PREFIXES, 6)
    inside = listing.inside(np.random.default_rng(3), SOURCES)
    with Site() as site, ExitStack() as opened:
        site.block(listing)
        receivers = Receivers(wire, opened, 6)
        for count in (SOURCES, FEW):
            flood = receivers.flood((inside[:count], 1))
            receivers.add(_of(OURS, count), site.program(), flood)
            receivers.add(_of(TRIES, count), site.program("-DTRIES_ONLY"), flood)
        values = receivers.in_turns(rounds)
    yield from _figures("IPv6, dropped", values, {})
    for count, goal in ((SOURCES, 0.14), (FEW, None)):
        yield from _ratio(_of("against tries only", count), goal, values, _of(OURS, count), _of(TRIES, count))


def _of(what: str, sources: int) -> str:
    return f"{what}, {sources:,} sources"


def _figures(what: str, values: Values, counted: dict[str, tuple[float, ...]], size: int = 0) -> Iterator[Figure]:
    """`size`: of the set, where it is not the same for all of them."""
    for name, received in values.items():
        if name == f"{OURS}, by prefix":
            point: Point | None = Point(DROPPED, _of(OURS, SOURCES), PREFIXES)
        else:
            point = Point(DROPPED, name, size) if size else None
        yield Figure(f"{what}: {name}", "ns", None, tuple(each.cpu for each in received))
        yield Figure("  packets a second", "M", None, tuple(each.rate for each in received), point)
        if name in counted:
            yield Figure("  runs of the program alone", "ns", None, counted[name])


def _ratio(name: str, goal: float | None, values: Values, ours: str, theirs: str) -> Iterator[Figure]:
    """Of the receiver's CPU per packet."""
    if theirs in values:
        yield ratio(f"  {name}", goal, *(tuple(each.cpu for each in values[which]) for which in (ours, theirs)))
