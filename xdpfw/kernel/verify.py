# SPDX-License-Identifier: Apache-2.0
"""Whether the kernel holds what the policy compiles to, map by map, and writing it again where it does not.

What packets count in, and what they make themselves (talkers, buckets of limits, bans, flows, events), follows from no
policy and is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import closed, layouts, libbpf, memory, verify_pins, verify_prefixes, verify_tiers
from xdpfw.kernel.apply import Applier
from xdpfw.kernel.ban_maps import ban_places
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.finding import Finding
from xdpfw.kernel.gauges import Gauges
from xdpfw.kernel.instance import Instance
from xdpfw.kernel.instances import Instances
from xdpfw.kernel.maps import Map, View, leaf_shards, limiter_sets
from xdpfw.kernel.rule_maps import literal_records, policy_record, row_records, value_records, vector_records
from xdpfw.kernel.tables import Tables
from xdpfw.kernel.tiers import Grown
from xdpfw.kernel.verify_tiers import Universe
from xdpfw.model.deviation import Deviation
from xdpfw.model.policy import MAX_ROWS, MAX_SLOTS
from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy import match
from xdpfw.policy.expected import Expected
from xdpfw.policy.ops import Keys, WriteLeaves, WriteMemberships
from xdpfw.policy.rows import rows_of
from xdpfw.policy.table import plain

LATE = 1.0
"""Seconds that a deadline may be off: the wall clock, by which it is known, slews."""

DIMENSIONS = (
    (match.PROTOCOL, "protocol"), (match.ICMP, "ICMP type"), (match.TCP_FLAGS, "TCP flags"),
    (match.FRAGMENT, "fragment"), (match.VLAN, "VLAN"), (match.LENGTH, "length"), (match.SOURCE_PORT, "source port"),
    (match.DESTINATION_PORT, "destination port"),
)  # fmt: skip


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

    def look(self, expected: Expected, *, mend: bool, quick: bool) -> list[Deviation]:
        found = outcome(self.quick(expected) if quick else self.whole(expected), mend=mend)
        if not quick:  # what large tables were compared with would stay with the process
            memory.give_back()
        return found

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
        for family in FAMILIES:
            universe = Universe.of(family, expected.keys[family], expected.leaves[family])
            yield from verify_prefixes.findings(self._tables, self._applier, universe)
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
        tables = self._tables
        pinned = {tables.path / name: opened.fd for name, opened in tables.maps.items()}
        return pinned | self._instances.pinned()

    # small tables

    def _control(self, expected: Expected) -> Iterator[Finding]:
        tables = self._tables
        wanted = tables.maps["control"].view.copy()
        shards = leaf_shards(tables.limits, tables.cpus)
        wanted["generation"], wanted["leaves"], wanted["leaf_shards"] = expected.generation, tables.ids, shards
        wanted["shared_shards"] = shards < tables.cpus
        wanted["vectors"], wanted["limiter_sets"] = tables.limits.vectors, limiter_sets(tables.limits)
        at = np.zeros(1, np.int64)
        yield from self._records(tables.maps["control"], at, wanted, lambda _: "all tables")
        yield from self._records(tables.maps["seeds"], at, self._applier.seeds, lambda _: "hashes")

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
            leaves, wanted = expected.leaves[family], expected.held[family]
            live = self._tables.maps["leaf"].read(leaves.astype(np.int64))["membership"]
            wrong = np.flatnonzero((live[:, now] != wanted) | ((live[:, other] != wanted) & ~stale[leaves]))
            if len(wrong):
                again = [WriteLeaves(generation, leaves[wrong], wanted[wrong]) for generation in (now, other)]
                yield Finding(
                    "leaf",
                    len(wrong),
                    partial(_in_other_sets, family, expected.keys[family][wrong]),
                    partial(self._applier.rewrite, *again),
                )

    # rules

    def _policy(self, expected: Expected) -> Iterator[Finding]:
        op, maps = expected.policy, self._tables.maps
        rules, generation = op.rules, op.generation

        def half(size: int, count: int) -> npt.NDArray[np.int64]:
            return generation * size + np.arange(count)

        names = [f"rule {row.rule.id}" for row in rows_of(op.policy)]
        tables: list[tuple[str, npt.NDArray[np.int64], View, Sequence[str]]] = [
            ("policy", half(1, 1), policy_record(op.policy).reshape(1), ["the policy"]),
            ("row", half(MAX_ROWS, len(names)), row_records(rules), names),
            ("limits", half(MAX_ROWS, len(names)), self._applier.limits.records(rules)[: len(names)], names),
        ]
        for table, at, wanted, named in tables:
            yield from self._records(maps[table], at, wanted, named.__getitem__)
        yield from self._values(expected)
        yield from self._vectors(expected)
        places = maps["ban_place"].view["row"][half(MAX_SLOTS, MAX_SLOTS)]
        if len(wrong := np.flatnonzero(places != ban_places(rules))):
            yield self._again("ban_place", [f"bans of the rule with slot {slot}" for slot in wrong], expected)
        yield from self._literals(expected)
        if names := self._instances.astray(generation, rules):
            yield self._again("interface", [f"{name}: which rules are for it" for name in names], expected)

    def _values(self, expected: Expected) -> Iterator[Finding]:
        lines = match.VALUES // match.LINE
        live = self._tables.maps["value_vector"].view["vector"].reshape(2, -1)[expected.generation]
        wanted = value_records(expected.policy.rules)["vector"].reshape(-1)
        assert len(wanted) == lines * match.LINE
        if len(wrong := np.flatnonzero(live != wanted)):
            yield self._again("value_vector", [_value_name(int(value)) for value in wrong[:100]], expected, len(wrong))

    def _vectors(self, expected: Expected) -> Iterator[Finding]:
        op = expected.policy
        numbers = np.concatenate((op.numbers, np.arange(match.ENFORCED, match.ENFORCED + len(op.rules.vectors))))
        wanted = np.concatenate((vector_records(op.vectors), vector_records(op.rules.vectors)))
        at = expected.generation * self._tables.limits.vectors + numbers.astype(np.int64)
        live = self._tables.maps["vector"].read(at)
        if len(wrong := np.flatnonzero(plain(live) != plain(wanted))):
            yield self._again("vector", [f"which rules match, number {numbers[at]}" for at in wrong], expected)

    def _literals(self, expected: Expected) -> Iterator[Finding]:
        table = self._tables.maps["literals"]
        found = [
            _pairs(keys, values)[keys["generation"] == expected.generation]
            for keys, values in libbpf.map_records(table.fd, layouts.LITERAL_KEY, layouts.LITERAL)
        ]
        live = np.concatenate(found)
        wanted = _pairs(*literal_records(expected.generation, expected.policy.rules.literals))
        missing, strange = wanted[~np.isin(wanted, live)], live[~np.isin(live, wanted)]
        details = [f"a prefix that rules name is missing or stands for other rules, {len(missing):,} in all"]
        details = details * bool(len(missing)) + ["a prefix that no rule names is there"] * len(strange)
        if details:
            yield self._again("literals", details, expected)

    # helpers

    def _again(self, table: str, details: Sequence[str], expected: Expected, places: int | None = None) -> Finding:
        """All of the policy is written once more."""
        count = len(details) if places is None else places
        return Finding(table, count, details.__getitem__, lambda: self._applier.rewrite(expected.policy))

    def _records(
        self,
        table: Map,
        at: npt.NDArray[np.int64],
        wanted: View,
        name: Callable[[int], str],
    ) -> Iterator[Finding]:
        """Records that are not byte by byte what they should be."""
        live = table.read(at)
        wrong = np.flatnonzero(plain(live) != plain(wanted))
        if len(wrong):
            yield Finding(
                table.spec.name,
                len(wrong),
                lambda n: f"{name(int(wrong[n]))}: {_difference(live[wrong[n]], wanted[wrong[n]])}",
                lambda: table.write(at[wrong], wanted[wrong]),
            )


def _difference(live: np.void, wanted: np.void) -> str:
    names = live.dtype.names or ()
    return ", ".join(
        f"{name} is {live[name].tolist()} and should be {wanted[name].tolist()}"
        for name in names
        if (live[name] != wanted[name]).any()
    )


def _in_other_sets(family: Family, keys: Keys, at: int) -> str:
    return f"{verify_prefixes.named(family, keys[at])} is in other sets than it should be"


def _value_name(value: int) -> str:
    start, name = max(dimension for dimension in DIMENSIONS if dimension[0] <= value)
    return f"{name} {value - start} leads to other rules"


def _pairs(keys: View, values: View) -> npt.NDArray[np.void]:
    """Keys with their values, to be compared whole."""
    both = np.empty((len(keys), keys.dtype.itemsize + values.dtype.itemsize), np.uint8)
    both[:, : keys.dtype.itemsize] = keys.view(np.uint8).reshape(len(keys), -1)
    both[:, keys.dtype.itemsize :] = values.view(np.uint8).reshape(len(keys), -1)
    return both.view(f"V{both.shape[1]}").reshape(-1)


def outcome(findings: Iterable[Finding], *, mend: bool) -> list[Deviation]:
    """What was found, told before it is mended."""
    told = []
    for finding in findings:
        told.append(finding.told())
        if mend:
            finding.mend()
    return told
