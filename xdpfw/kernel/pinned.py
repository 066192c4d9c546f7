# SPDX-License-Identifier: Apache-2.0
"""What is pinned, compared with a policy that was compiled on its own: nothing is changed, and no daemon is needed.

Leaves, memberships and classes have other numbers in the two, so what they stand for is compared: which rows match an
address, until when, and which then. What follows from the directory alone (gates, levels) a daemon looks at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from xdpfw.kernel import takeover, verify_prefixes
from xdpfw.kernel.bpffs import Pins
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.finding import Finding
from xdpfw.kernel.instance import link_state
from xdpfw.kernel.limit_maps import LimitMaps
from xdpfw.kernel.maps import possible_cpus
from xdpfw.kernel.port import Directory
from xdpfw.kernel.rule_maps import vector_records
from xdpfw.kernel.tables import Tables
from xdpfw.kernel.verify import LATE, outcome
from xdpfw.kernel.verify_policy import PolicyVerifier
from xdpfw.kernel.verify_tiers import Universe
from xdpfw.model.deviation import Deviation
from xdpfw.model.errors import NotFound
from xdpfw.model.limits import Limits
from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy.expected import Expected
from xdpfw.policy.ops import Ids, WriteMemberships

Meaning = tuple[tuple[bytes, int], ...]
"""Vectors, and the jiffies until which each holds; 0: for ever."""


def compare(instance: str, bpffs: Path, limits: Limits, expected: Expected, wanted: Collection[str]) -> list[Deviation]:
    """`expected`: compiled from nothing; `wanted`: interfaces that should have a program.

    Raises NotFound (nothing is pinned that this version and these limits can read), Conflict (a newer version pinned
    it) and KernelError.
    """
    pins, cpus = Pins(instance, bpffs), possible_cpus()
    tables, why = takeover.find(pins, limits, cpus)
    if tables is None:
        raise NotFound(why or f"nothing is pinned in {pins.base}: no packet is filtered")
    with closing(tables), closing(KernelClock()) as clock:
        return outcome(_findings(tables, clock, expected, pins, wanted), mend=False)


def _findings(
    tables: Tables, clock: KernelClock, expected: Expected, pins: Pins, wanted: Collection[str]
) -> Iterator[Finding]:
    for name in sorted(wanted):
        state = link_state(pins.link(name))
        if not (state and state[1]):
            yield Finding.one("link", f"{name} is wanted, and nothing filters there")
    found = tables.directory_now()
    live, should = _live_meanings(tables, clock), _expected_meanings(expected, clock)
    for family in FAMILIES:
        yield from _prefixes(family, found, expected, live, should)
        universe = Universe.of(family, found.keys[family], found.leaves[family])
        yield from verify_prefixes.findings(tables, _left, universe)
    nothing = expected.policy.vectors[:0]
    policy = replace(
        expected.policy, generation=tables.generation, numbers=expected.policy.numbers[:0], vectors=nothing
    )
    yield from PolicyVerifier(tables, LimitMaps(tables, clock), _left).findings(policy)


def _left(*_: object) -> None:
    """Nothing is mended here."""


def _prefixes(
    family: Family, found: Directory, expected: Expected, live: Meanings, should: Meanings
) -> Iterator[Finding]:
    stored, _ = expected.leaves(family)
    _, here, there = np.intersect1d(found.keys[family], stored, True, True)
    for keys, known, what in (
        (stored, there, "is missing"),
        (found.keys[family], here, "is there, and in no set"),
    ):
        if len(wrong := np.delete(keys, known)):
            yield Finding("directory", len(wrong), partial(_told, family, wrong, what), _left)
    held, wanted = found.memberships[family][here], expected.universe[family].array()["cover"][there]
    pairs, pair_of = np.unique(held.astype(np.int64) << 32 | wanted, return_inverse=True)
    differ = [not live.alike(pair >> 32, should, pair & 0xFFFFFFFF) for pair in pairs.tolist()]
    if len(wrong := found.keys[family][here][np.array(differ, np.bool_)[pair_of]]):
        yield Finding("leaf", len(wrong), partial(verify_prefixes.in_other_sets, family, wrong), _left)


def _told(family: Family, keys: Ids, what: str, at: int) -> str:
    return f"{verify_prefixes.named(family, keys[at])} {what}"


class Meanings:
    """`records`: memberships with deadlines in jiffies; `vectors`: by class. Both by number."""

    def __init__(self, records: WriteMemberships, vectors: dict[int, bytes], now: int, late: float) -> None:
        rows = zip(records.classes.tolist(), records.nexts.tolist(), records.deadlines.tolist(), strict=True)
        self._records = dict(zip(records.ids.tolist(), rows, strict=True)) | {0: (0, 0, 0)}
        self._vectors, self._now, self._late = vectors, now, late
        self._known: dict[int, Meaning] = {}

    def of(self, number: int) -> Meaning:
        """Of what has run out, what remains."""
        if number not in self._known:
            self._known[number] = tuple(self._steps(number))
        return self._known[number]

    def _steps(self, number: int) -> Iterator[tuple[bytes, int]]:
        seen = set[int]()
        while number in self._records and number not in seen:
            seen.add(number)
            class_, following, deadline = self._records[number]
            if deadline == 0 or deadline > self._now:
                yield self._vectors.get(class_, b""), deadline
            if deadline == 0:
                return
            number = following

    def alike(self, number: int, others: Meanings, other: int) -> bool:
        mine, theirs = self.of(number), others.of(other)
        return len(mine) == len(theirs) and all(
            a == b and bool(until) == bool(then) and abs(until - then) <= self._late
            for (a, until), (b, then) in zip(mine, theirs, strict=True)
        )


def _live_meanings(tables: Tables, clock: KernelClock) -> Meanings:
    numbers, classes = tables.referenced()
    records = tables.maps["membership"].read(numbers.astype(np.int64))
    op = WriteMemberships(numbers, records["class"], records["next"], records["deadline"].astype(np.int64))
    at = tables.generation * tables.limits.vectors + classes.astype(np.int64)
    vectors = [vector.tobytes() for vector in tables.maps["vector"].read(at)]
    return Meanings(op, dict(zip(classes.tolist(), vectors, strict=True)), clock.jiffies(), LATE * clock.hz)


def _expected_meanings(expected: Expected, clock: KernelClock) -> Meanings:
    op = replace(expected.memberships, deadlines=clock.deadlines(expected.memberships.deadlines).astype(np.int64))
    vectors = [vector.tobytes() for vector in vector_records(expected.policy.vectors)]
    named = dict(zip(expected.policy.numbers.tolist(), vectors, strict=True))
    return Meanings(op, named, clock.jiffies(), LATE * clock.hz)
