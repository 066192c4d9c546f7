# SPDX-License-Identifier: Apache-2.0
"""What a packet costs, in ns, by the number of prefixes and by who sends (BPF_PROG_TEST_RUN), with sources that vary
from packet to packet. All programs take turns; ratios are between runs of one round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import numpy as np

from benchmarks import mixes
from benchmarks.figures import Figure, Point, ratio
from benchmarks.mixes import Addresses, Listing
from benchmarks.tested import Course, Site, in_turns, verdict, xdp_filter
from xdpfw.model.prefix import Family

SIZES = (0, 1_000, 100_000, 1_000_000)
ACTIVE = 10_000
"""Sources that talk, in the mixes that are not spoofed."""
TABLE, SPOOFED = 1 << 14, 1 << 21
PACKETS = 100_000
HOSTS = {4: 1_000_000, 6: 200_000}
"""At most, beside the prefixes: what there is room for."""
VARIANTS = {"xdp-filter, all features": "alw_all", "xdp-filter, IPv4 only": "alw_ip"}
PEERS = tuple(VARIANTS)
FLOOR = "bare XDP_DROP"
OURS, TRIES, SILENT = "xdpfw", "xdpfw with tries only", "xdpfw without talkers"

Values = dict[str, tuple[float, ...]]


def measure(rounds: int) -> Iterator[Figure]:
    families: tuple[Family, ...] = (4, 6)
    for family in families:
        yield from _family(family, rounds)


def _family(family: Family, rounds: int) -> Iterator[Figure]:
    random = np.random.default_rng(family)
    full = mixes.prefixes(SIZES[-1], family)
    clean = full.outside(random, ACTIVE)
    empty: Values = {}
    for size in SIZES:
        listing = full.some(size)
        hosts = mixes.hosts(min(max(size, 1), HOSTS[family]), family)
        with Site() as site, ExitStack() as opened:
            site.block(listing)
            if size:
                site.block(hosts)
            programs = {
                FLOOR: opened.enter_context(verdict("XDP_DROP")),
                OURS: opened.enter_context(site.program()),
                TRIES: opened.enter_context(site.program("-DTRIES_ONLY")),
            }
            if size == SIZES[-1]:
                programs[SILENT] = opened.enter_context(site.program("-DTALKERS=0"))
            for peer in PEERS if size == SIZES[-1] else PEERS[:1]:
                if (fd := opened.enter_context(xdp_filter(VARIANTS[peer]))) is not None:
                    programs[peer] = fd
            for name, addresses in _mixes(random, clean, listing, hosts, family).items():
                values = run(programs, addresses, family, rounds)
                what = f"IPv{family}, {size:,} prefixes, {name}"
                yield from _figures(what, name, size, family, values, empty)
                empty = values if not size and name == "clean" else empty


def _mixes(
    random: np.random.Generator, clean: Addresses, listing: Listing, hosts: Listing, family: Family
) -> dict[str, Addresses]:
    found = {"clean": mixes.blend(random, TABLE, (clean, 1))}
    if len(listing):
        found["blocked by prefix"] = mixes.blend(random, TABLE, (listing.inside(random, ACTIVE), 1))
        found["blocked host"] = mixes.blend(random, TABLE, (hosts.inside(random, ACTIVE), 1))
    found["spoofed"] = mixes.random_any(random, SPOOFED, family)
    return found


def run(programs: Mapping[str, int], addresses: Addresses, family: Family, rounds: int) -> Values:
    """ns of each, in turns."""
    course = Course(addresses, family)
    try:
        with ExitStack() as opened:
            runs = {
                name: opened.enter_context(course.runner(fd, frags=name not in PEERS)) for name, fd in programs.items()
            }
            return in_turns(runs, family, rounds, PACKETS, slow={TRIES})
    finally:
        course.close()


def _figures(what: str, mix: str, size: int, family: Family, values: Values, empty: Values) -> Iterator[Figure]:
    ours, floor = values[OURS], values[FLOOR]
    yield Figure(what, "ns", None, ours, Point(f"a packet, IPv{family}", mix, size))
    if mix == "spoofed":
        over = tuple(a - b for a, b in zip(ours, floor, strict=True))
        yield Figure("  over a bare XDP_DROP", "ns", 75 if family == 4 else 110, over)
    if SILENT in values:
        over = tuple(a - b for a, b in zip(values[SILENT], floor, strict=True))
        yield Figure("  the same without talkers, over a bare XDP_DROP", "ns", None, over)
    yield ratio("  against tries only", None, ours, values[TRIES])
    last = size == SIZES[-1] and mix == "clean"
    if last:
        yield ratio("  against no prefixes", 1.15, ours, empty[OURS])
    for peer in PEERS:
        if peer in values and (family == 4 or peer == PEERS[0]):
            yield ratio(f"  against {peer}, empty", 0.5 if last and peer == PEERS[0] else None, ours, values[peer])
    if last and PEERS[0] in values:
        yield ratio(f"  without talkers, against {PEERS[0]}, empty", None, values[SILENT], values[PEERS[0]])
