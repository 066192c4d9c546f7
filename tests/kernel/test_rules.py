# SPDX-License-Identifier: Apache-2.0
"""Ordered rules in the packet path: every dimension against the reference verdict, and how programs are swapped."""

from __future__ import annotations

import itertools
import threading

import pytest

from tests import packets as p
from tests import random_rules, samples
from tests.loaded import Loaded
from xdpfw.kernel import libbpf
from xdpfw.model.feature import Feature
from xdpfw.model.policy import DEFAULT_RULES, MAX_ROWS
from xdpfw.model.reason import MAX_REASONS, Verdict
from xdpfw.model.rule import Rule
from xdpfw.model.rule_form import parse_rules
from xdpfw.policy import reference

pytestmark = pytest.mark.kernel

MOST_INSTRUCTIONS = 250_000


@pytest.fixture(scope="module")
def loaded(loaded_kernel: Loaded) -> Loaded:
    loaded_kernel.add("allow", samples.ALLOW)
    loaded_kernel.add("block", samples.BLOCK)
    return loaded_kernel


def compare(loaded: Loaded, seed: int, count: int) -> int:
    """Packet path and reference agree; answers how often a rule decided."""
    decided, wrong = 0, []
    for frame, interface in random_rules.frames(seed, count):
        judgement = loaded.kernel.judge(frame, interface)
        judged = reference.judge(frame, loaded.sets, loaded.policy, 0, interface)
        watched = MAX_REASONS + loaded.policy.slots.of[judged.watching.id] if judged.watching else 0
        want = (judged.verdict, int(judged.cause), watched)
        if (judgement.verdict, judgement.cause, judgement.monitored_cause) != want:
            wrong.append((frame.hex(), interface, judgement, want, judged.rule))
        decided += judged.rule is not None
    assert not wrong, wrong[:3]
    return decided


@pytest.mark.parametrize("count", [4, 20, 64, 200])
@pytest.mark.parametrize("seed", samples.seeds())
def test_random_rules(loaded: Loaded, seed: int, count: int) -> None:
    loaded.use(rules=random_rules.rules(seed * 1000 + count, count, ("allow", "block")), default=Verdict.DROP)
    assert compare(loaded, seed, 400) or count == 4, "few rules may match nothing at all"


ALONE = {
    Feature.MATCH_DESTINATION: {"destination": "block"},
    Feature.MATCH_SOURCE_PREFIX: {"source": ["10.0.0.0/8", "2001:db8:bad::/48"]},
    Feature.MATCH_DESTINATION_PREFIX: {"destination": ["!10.0.0.0/8", "!::/64"]},
    Feature.MATCH_PROTOCOL: {"protocol": ["tcp", "icmpv6"]},
    Feature.MATCH_SOURCE_PORT: {"source_ports": ["22-80"]},
    Feature.MATCH_DESTINATION_PORT: {"destination_ports": [53, "8000-8100"]},
    Feature.MATCH_ICMP: {"icmp_types": "echo-request"},
    Feature.MATCH_TCP_FLAGS: {"tcp_flags": "syn,ack/syn"},
    Feature.MATCH_VLAN: {"vlan": [7, "4000-4095"]},
    Feature.MATCH_LENGTH: {"length": "64-100"},
    Feature.MATCH_FRAGMENT: {"fragment": "later"},
    Feature.MATCH_INTERFACE: {"interfaces": "wan0"},
}


@pytest.mark.parametrize("dimension", sorted(set(Feature) & ALONE.keys()))
def test_each_dimension_alone(loaded: Loaded, dimension: Feature) -> None:
    """So that a dimension is never right only because another one is compiled in."""
    loaded.use(rules=parse_rules([{"id": "r", "match": ALONE[dimension], "action": "drop"}]), default=Verdict.PASS)
    assert loaded.kernel.program.features == {dimension}  # type: ignore[attr-defined]
    assert 0 < compare(loaded, 7, 300) < 300


def numbered(count: int) -> tuple[Rule, ...]:
    """Rules for one destination port each."""
    return parse_rules(
        [{"id": f"r{n}", "match": {"destination_ports": [n + 1]}, "action": "drop"} for n in range(count)]
    )


@pytest.mark.parametrize("port", [1, 64, 65, 2000, 4096, MAX_ROWS - 2])
def test_any_of_the_most_rules_is_found(loaded: Loaded, port: int) -> None:
    loaded.use(rules=(*DEFAULT_RULES, *numbered(MAX_ROWS - 2)), default=Verdict.PASS)
    frame = p.ethernet(p.ip("192.0.2.1", p.tcp(1000, port)))
    assert loaded.kernel.judge(frame).cause == MAX_REASONS + loaded.policy.slots.of[f"r{port - 1}"]


def test_a_rule_keeps_its_counters_wherever_it_stands(loaded: Loaded) -> None:
    loaded.use(rules=numbered(3), default=Verdict.PASS)
    before = loaded.policy.slots.of["r2"]
    loaded.use(rules=numbered(3)[::-1][:1])
    assert loaded.policy.slots.of == {"r2": before}


def test_the_largest_program_stays_within_what_verifiers_take(loaded: Loaded) -> None:
    loaded.kernel.use(frozenset(Feature))
    loaded.kernel.judge(p.ethernet(p.arp(), pad_to=60))
    count = libbpf.prog_info(loaded.kernel._twins.twin._program).verified  # type: ignore[attr-defined]
    print(f"[{count:,} instructions processed with every feature]", end=" ")
    assert 0 < count < MOST_INSTRUCTIONS


OLD = [
    {"id": "a", "match": {"source": "10.0.0.0/8", "protocol": "udp", "destination_ports": 53}, "action": "drop"},
    {"id": "b", "match": {"source": "!block", "protocol": "tcp", "destination_ports": "80-90"}, "action": "drop"},
]
NEW = [
    {"id": "c", "match": {"source": "192.0.2.0/24", "protocol": "udp", "destination_ports": 54}, "action": "drop"},
    {"id": "d", "match": {"source": "10.0.0.0/8", "protocol": "tcp", "destination_ports": "70-80"}, "action": "pass"},
    {"id": "e", "match": {"protocol": "udp"}, "action": "pass"},
]


def test_a_packet_meets_one_list_or_the_other_and_all_of_it(loaded: Loaded) -> None:
    """While lists flip, each packet has the outcome of one of them, never of a mixture, and what one packet has seen of
    the new list, no later one misses."""
    frames = [
        p.ethernet(p.ip("10.1.2.3", p.udp(4000, 53))),
        p.ethernet(p.ip("10.1.2.3", p.udp(4000, 54))),
        p.ethernet(p.ip("192.0.2.7", p.udp(4000, 54))),
        p.ethernet(p.ip("10.1.2.3", p.tcp(4000, 80))),
        p.ethernet(p.ip("192.0.2.7", p.tcp(4000, 85))),
    ]
    lists = {name: (*DEFAULT_RULES, *parse_rules(rules)) for name, rules in (("old", OLD), ("new", NEW))}
    loaded.use(
        rules=(*lists["old"], *lists["new"][2:]), default=Verdict.PASS
    )  # all features, and all slots, from here on
    outcomes: dict[str, list[tuple[bool, str | None]]] = {}
    for name, rules in lists.items():
        loaded.use(rules=rules)
        judged = [reference.judge(frame, loaded.sets, loaded.policy, 0) for frame in frames]
        outcomes[name] = [(each.verdict is Verdict.DROP, each.rule.id if each.rule else None) for each in judged]
    assert all(old != new for old, new in zip(outcomes["old"], outcomes["new"], strict=True))
    seen: list[tuple[int, list[bool]]] = []
    stop, begun = threading.Event(), itertools.count()
    flips = next(begun)

    def hammer() -> None:
        while not stop.is_set():
            before = flips
            drops = [brief.drop for brief in loaded.kernel.judge_all(frames)]
            seen.append((flips - before, drops))

    hammering = threading.Thread(target=hammer)
    hammering.start()
    try:
        for _ in range(100):
            for rules in lists.values():
                flips = next(begun)
                loaded.use(rules=rules)
    finally:
        stop.set()
        hammering.join()
    drops = {name: [drop for drop, _ in each] for name, each in outcomes.items()}
    assert {tuple(each) for _, each in seen} >= {tuple(each) for each in drops.values()}
    for meanwhile, each in seen:
        assert all(each[at] in (drops["old"][at], drops["new"][at]) for at in range(len(frames)))
        # A flip that was under way, or one that began meanwhile: it divides the frames of a round.
        divided = (
            each == drops[before][:at] + drops[after][at:]
            for at in range(len(frames) + 1)
            for before, after in (("old", "new"), ("new", "old"))
        )
        assert meanwhile > 0 or any(divided)
