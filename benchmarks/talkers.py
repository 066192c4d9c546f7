# SPDX-License-Identifier: Apache-2.0
"""Who talks most, amid a flood of spoofed sources at ten times the rate of all the others: whether they are found, with
what error, and at what cost, beside the kernel's LRU hash and iftop.

The others are the sources of real captures where there are any (XDPFW_CORPORA, or shared/corpora beside the checkout),
else made up, with Zipf's law.
"""

from __future__ import annotations

import csv
import ipaddress
import os
import re
import subprocess
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks import mixes
from benchmarks.figures import Figure, Point, ratio
from benchmarks.mixes import Addresses
from benchmarks.tested import Course, Site, in_turns
from benchmarks.veth import Flood, Wire
from xdpfw.model.prefix import FAMILIES, Family

TOP, FLOOD = 100, 10
PACKETS, PASSES = 1 << 21, 10
"""Of the mix, and how often it is gone through: a source of the flood comes again after two million other packets."""
SHORTEST, LONGEST = {4: 60, 6: 64}, 1514
MADE_UP, FEW = 20_000, 1_000
"""Sources; captures with fewer of a family are no mix."""
GROWN, GROWN_ROUNDS = (1_000, 30_000, 1_000_000), 3
OURS, SILENT, LRU = "xdpfw", "no talkers", "LRU hash"
BURST, PAUSE, WATCHED, PATIENCE = 1 << 12, 0.2, 4, 30
"""iftop gets a burst of packets, and time to count them, for so many seconds; an odd number of them it never ends."""


@dataclass(frozen=True, slots=True)
class Mix:
    """`addresses` and `lengths` of packets, in order; `top`: the real sources with the most bytes, and how many those
    are after all passes."""

    addresses: Addresses
    lengths: npt.NDArray[np.uint32]
    top: Mapping[bytes, int]


def measure(rounds: int) -> Iterator[Figure]:
    costs: list[float] = []
    with Site() as site:
        for family in FAMILIES:
            costs = yield from _tracked(site, family, rounds)
        yield from _grown(site)
    yield from _iftop(rounds, costs)


def _tracked(site: Site, family: Family, rounds: int) -> Generator[Figure, None, list[float]]:
    """Answers ns per packet."""
    missing, errors = [], []
    costs: dict[str, list[float]] = {OURS: [], SILENT: [], LRU: []}
    with ExitStack() as opened:
        own = opened.enter_context(site.tables())
        programs = {
            OURS: opened.enter_context(site.program(own=own)),
            SILENT: opened.enter_context(site.program("-DTALKERS=0")),
            LRU: opened.enter_context(site.program(lru=True)),
        }
        for number in range(rounds):
            mix = blended(family, number)
            for name, values in _run(programs, mix, family).items():
                costs[name].extend(values)
            told = bytes_of(own.read_talkers(site.kernel.clock).rows())
            own.reset_talkers()
            leaders = set(sorted(told, key=told.__getitem__, reverse=True)[:TOP])
            missing.append(float(sum(each not in leaders for each in mix.top)))
            errors.append(100 * max(abs(1 - told.get(each, 0) / most) for each, most in mix.top.items()))
    yield Figure(f"IPv{family}: of the true top {TOP}, missing", "", 1, tuple(missing))
    yield Figure("  largest error of their bytes", "%", 1, tuple(errors))
    yield Figure("  a packet", "ns", None, tuple(costs[OURS]))
    yield ratio("  against no talkers", None, costs[OURS], costs[SILENT])
    yield ratio("  against the kernel's LRU hash", None, costs[OURS], costs[LRU])
    return costs[OURS]


def _grown(site: Site) -> Iterator[Figure]:
    """What a packet costs, flood included, by how many others there are."""
    with ExitStack() as opened:
        own = opened.enter_context(site.tables())
        program = opened.enter_context(site.program(own=own))
        for count in GROWN:
            values: list[float] = []
            for number in range(GROWN_ROUNDS):
                mix = blended(4, number, count)
                values.extend(_run({OURS: program}, mix, 4, passes=1)[OURS])
                own.reset_talkers()
            point = Point("a packet by talkers", "with a flood at ten times their rate", count)
            yield Figure(f"IPv4: a packet, {count:,} sources beside the flood", "ns", None, tuple(values), point)


def _run(programs: Mapping[str, int], mix: Mix, family: Family, passes: int = PASSES) -> dict[str, tuple[float, ...]]:
    """All passes of ours, and some of the others, who would take long."""
    course = Course(mix.addresses, family, mix.lengths)
    try:
        with ExitStack() as opened:
            runs = {name: opened.enter_context(course.runner(fd)) for name, fd in programs.items()}
            ours = {OURS: runs.pop(OURS)}
            found = in_turns(ours, family, 1, passes * PACKETS, warm=False)
            return found | in_turns(runs, family, 1, PACKETS >> 2, warm=False)
    finally:
        course.close()


def bytes_of(rows: npt.NDArray[np.void]) -> dict[bytes, int]:
    """By address: one that was evicted and came again has several rows."""
    told: dict[bytes, int] = {}
    for address, counts in zip(rows["address"], rows["counts"].tolist(), strict=True):
        key = address.tobytes()
        told[key] = told.get(key, 0) + counts[1] + counts[3]
    return told


def blended(family: Family, seed: int, count: int = 0) -> Mix:
    """`count`: so many made up ones instead of the captures'."""
    random = np.random.default_rng(seed)
    sources, packets, lengths = (not count and captured(family)) or made_up(random, family, count or MADE_UP)
    real = random.choice(len(sources), PACKETS // (FLOOD + 1), p=packets / packets.sum())
    addresses, sizes = mixes.random_any(random, PACKETS, family), np.full(PACKETS, SHORTEST[family], np.uint32)
    places = random.choice(PACKETS, len(real), replace=False)
    addresses[places], sizes[places] = sources[real], lengths[real]
    total = np.bincount(real, lengths[real], len(sources)).astype(np.uint64)
    top = {sources[at].tobytes(): PASSES * int(total[at]) for at in np.argsort(total)[::-1][:TOP]}
    return Mix(addresses, sizes, top)


Sources = tuple[Addresses, npt.NDArray[np.uint32], npt.NDArray[np.uint32]]


@cache
def captured(family: Family) -> Sources | None:
    """Sources of all captures, with their packets and the mean length of those."""
    place = Path(os.environ.get("XDPFW_CORPORA", Path(__file__).resolve().parents[2] / "shared" / "corpora"))
    counts: dict[bytes, npt.NDArray[np.int64]] = {}
    for path in place.glob("src_counts/*.tsv"):
        with path.open() as file:
            for row in csv.DictReader(file, delimiter="\t"):
                source = ipaddress.ip_address(row["src"])
                if source.version == family:
                    packed = source.packed if family == 6 else bytes(10) + b"\xff\xff" + source.packed
                    counted = np.array([int(row["packets"]), int(row["frame_bytes"])])
                    counts[packed] = counts.get(packed, np.zeros(2, np.int64)) + counted
    if len(counts) < FEW:
        return None
    packets, total = np.stack(list(counts.values()), 1)
    addresses = np.frombuffer(b"".join(counts), np.uint8).reshape(-1, 16)
    return addresses, packets.astype(np.uint32), bounded(total / packets, family)


def made_up(random: np.random.Generator, family: Family, count: int) -> Sources:
    packets = np.ceil(count / np.arange(1, count + 1)).astype(np.uint32)
    return mixes.random_any(random, count, family), packets, bounded(random.uniform(0, LONGEST, count), family)


def bounded(lengths: npt.NDArray[np.float64], family: Family) -> npt.NDArray[np.uint32]:
    return np.clip(lengths, SHORTEST[family], LONGEST).astype(np.uint32)


def _iftop(rounds: int, costs: Sequence[float]) -> Iterator[Figure]:
    """The same in IPv4, all packets short, on an interface that iftop watches."""
    missing, spent = [], []
    with Wire() as wire:
        for number in range(rounds):
            mix = blended(4, number)
            with wire.flood(mix.addresses, 4, BURST) as flood:
                shown, each = _watched(wire, flood)
            missing.append(float(sum(str(ipaddress.IPv4Address(source[12:])) not in shown for source in mix.top)))
            spent.append(each)
    yield Figure(f"iftop, IPv4: of the true top {TOP}, missing", "", None, tuple(missing))
    yield Figure("  a packet", "ns", None, tuple(spent))
    yield ratio("  whole packet path, against iftop", None, costs, spent)


def _watched(wire: Wire, flood: Flood) -> tuple[set[str], float]:
    """Addresses that iftop shows in the end, and its processor time in ns for each packet that came."""
    command = ["iftop", "-n", "-N", "-t", "-s", str(WATCHED), "-L", str(TOP), "-i", wire.receiver]
    before, until = wire.packets(), time.monotonic() + WATCHED
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        while time.monotonic() < until:
            wire.received(flood)
            time.sleep(PAUSE)
        assert process.stdout is not None
        overdue = threading.Timer(PATIENCE, process.kill)
        overdue.start()
        listing = process.stdout.read()
        overdue.cancel()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"iftop ended with status {process.returncode}")
    spent = usage.ru_utime + usage.ru_stime
    return set(re.findall(r"\d+\.\d+\.\d+\.\d+", listing)), spent * 1e9 / (wire.packets() - before)
