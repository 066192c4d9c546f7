# SPDX-License-Identifier: Apache-2.0
"""Whether the kernel holds what the policy compiles to, map by map, and writing it again where it does not.

What packets count in, and what they make themselves (talkers, buckets of limits, bans, flows, events), follows from no
policy and is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from xdpfw.kernel import closed, verify_pins, verify_policy, verify_prefixes, verify_tiers
from xdpfw.kernel.apply import Applier
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.finding import Finding
from xdpfw.kernel.gauges import Gauges
from xdpfw.kernel.instance import Instance
from xdpfw.kernel.instances import Instances
from xdpfw.kernel.maps import leaf_shards, limiter_sets
from xdpfw.kernel.tables import Tables
from xdpfw.kernel.tiers import Grown
from xdpfw.kernel.verify_policy import records
from xdpfw.kernel.verify_tiers import Universe
from xdpfw.model.deviation import Deviation
from xdpfw.model.prefix import FAMILIES
from xdpfw.policy.expected import Expected
from xdpfw.policy.ops import WriteLeaves, WriteMemberships
from xdpfw.policy.universe import NODE

LATE = 1.0
"""Seconds that a deadline may be off: the wall clock, by which it is known, slews."""


class Verifier:
    """`outdated` tells the interfaces on which something else runs than should (a program's id), `bring` mends it."""

    def __init__(
        self,
        tables: Tables,
        applier: Applier,
        instances: Instances,
        clock: KernelClock,
        outdated: Callable[[], Iterable[tuple[Instance, int]]],
        bring: Callable[[Instance, int], None],
    ) -> None:
        self._tables, self._applier, self._instances, self._clock = tables, applier, instances, clock
        self._outdated, self._bring = outdated, bring
        self._gauges = Gauges(tables.maps)
        self._rules = verify_policy.PolicyVerifier(tables, applier.limits, applier.rewrite)

    def look(self, expected: Expected, *, mend: bool, quick: bool) -> list[Deviation]:
        return outcome(self.quick(expected) if quick else self.whole(expected), mend=mend)

    def release(self) -> None:
        """Nobody needs large tables mapped for now."""
        self._tables.release()
        self._instances.release()

    def quick(self, expected: Expected) -> Iterator[Finding]:
        """Everything but prefixes, of which only the number is looked at: some milliseconds."""
        yield from self._small(expected)
        yield from self._leads(expected)
        yield from self._gauges.findings(self._applier.fill)

    def whole(self, expected: Expected) -> Iterator[Finding]:
        found = 0
        for part in (self._small, self._large, self._leads):
            for finding in part(expected):
                found += 1
                yield finding
            if any(verify_pins.lost(grown.pages, grown.leads()) for grown in self._grown):
                return  # there is no looking into them
        if not found:
            self._gauges.set(self._applier.fill)

    def _small(self, expected: Expected) -> Iterator[Finding]:
        yield from self._programs()
        yield from verify_pins.findings(self._pinned())
        for grown in self._grown:
            yield from verify_pins.page_findings(grown.pages, grown.leads())
        yield from self._control(expected)
        yield from self._memberships(expected.memberships)
        yield from self._policy(expected)
        yield from self._leaves(expected)

    def _large(self, expected: Expected) -> Iterator[Finding]:
        yield from self._tables.brief.findings()
        for family in FAMILIES:
            universe = Universe.of(family, *expected.leaves(family))
            yield from verify_prefixes.findings(self._tables, self._applier.put_right, universe)
            yield from verify_tiers.findings(self._applier.tiers[family], universe)
        yield from verify_prefixes.strangers(self._tables, expected)

    def _programs(self) -> Iterator[Finding]:
        for instance, running in self._outdated():
            if not closed.is_stand_in(running):
                told = f"what runs on {instance.name} is not what was loaded, or its pin is gone"
                yield Finding.one("program", told, partial(self._bring, instance, running))

    def _leads(self, _: Expected) -> Iterator[Finding]:
        for grown in self._grown:
            yield from verify_pins.lead_findings(grown.pages, grown.leads())

    @property
    def _grown(self) -> list[Grown]:
        return [grown for tiers in self._applier.tiers.values() for grown in tiers.grown]

    def _pinned(self) -> dict[Path, int]:
        return self._tables.pins() | self._instances.pinned()

    # small tables

    def _control(self, expected: Expected) -> Iterator[Finding]:
        tables = self._tables
        wanted = tables.maps["control"].view.copy()
        shards = leaf_shards(tables.limits, tables.cpus)
        wanted["generation"], wanted["leaves"], wanted["leaf_shards"] = expected.generation, tables.ids, shards
        wanted["shared_shards"] = shards < tables.cpus
        wanted["vectors"], wanted["limiter_sets"] = tables.limits.vectors, limiter_sets(tables.limits)
        at = np.zeros(1, np.int64)
        yield from records(tables.maps["control"], at, wanted, lambda _: "all tables")
        yield from records(tables.maps["seeds"], at, self._applier.seeds, lambda _: "hashes")

    def _memberships(self, op: WriteMemberships) -> Iterator[Finding]:
        live = self._tables.maps["membership"].read(op.ids.astype(np.int64))
        wanted = self._clock.deadlines(op.deadlines)
        apart = np.abs(live["deadline"].astype(np.int64) - wanted.astype(np.int64)) > LATE * self._clock.hz
        wrong = np.flatnonzero((live["class"] != op.classes) | (live["next"] != op.nexts) | apart)
        if len(wrong):
            again = WriteMemberships(op.ids[wrong], op.classes[wrong], op.nexts[wrong], op.deadlines[wrong])
            yield Finding(
                "membership",
                len(wrong),
                lambda at: f"combination {op.ids[wrong[at]]} of sets is not the one that it stands for",
                lambda: self._applier.rewrite(again),
            )

    def _leaves(self, expected: Expected) -> Iterator[Finding]:
        """In both generations: a change does not write again what it takes to be right."""
        stale = np.zeros(self._tables.ids, np.bool_)
        stale[expected.stale] = True
        now, other = expected.generation, 1 - expected.generation
        for family in FAMILIES:
            wrong = [np.empty(0, NODE[family])]
            with self._tables.maps["leaf"].mapped() as records:
                for rows in expected.universe[family].parts():
                    live, wanted = records["membership"][rows["leaf"]], rows["cover"]
                    astray = (live[:, now] != wanted) | ((live[:, other] != wanted) & ~stale[rows["leaf"]])
                    if astray.any():
                        wrong.append(rows[astray])
            found = np.concatenate(wrong)
            if len(found):
                again = [WriteLeaves(generation, found["leaf"], found["cover"]) for generation in (now, other)]
                yield Finding(
                    "leaf",
                    len(found),
                    partial(verify_prefixes.in_other_sets, family, found["key"]),
                    partial(self._applier.rewrite, *again),
                )

    def _policy(self, expected: Expected) -> Iterator[Finding]:
        yield from self._rules.findings(expected.policy)
        if names := self._instances.astray(expected.generation, expected.policy.rules):
            told = [f"{name}: which rules are for it" for name in names]
            yield self._rules.again("interface", told, expected.policy)


def outcome(findings: Iterable[Finding], *, mend: bool) -> list[Deviation]:
    """What was found, told before it is mended."""
    told = []
    for finding in findings:
        told.append(finding.told())
        if mend:
            finding.mend()
    return told
