# SPDX-License-Identifier: Apache-2.0
"""Any sequence of changes, executed operation by operation, against the reference."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tests.unit.model_tables import ModelTables, nothing_found
from tests.unit.strategies import QUARTER, claims, prefixes
from xdpfw.model.limits import Limits
from xdpfw.model.policy import ALLOW, BLOCK, Claim, Policy
from xdpfw.model.prefix import FAMILIES, Address, Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Action, set_rule
from xdpfw.policy import keys as k
from xdpfw.policy.bulk import Bulk, parse_text
from xdpfw.policy.compiler import Compiler, Plan
from xdpfw.policy.ops import NEVER
from xdpfw.policy.sets import Edit, Sets

pytestmark = pytest.mark.usefixtures("each_way")

LIMITS = Limits(leaves=4096, hosts4=1024, hosts6=1024, memberships=2048, talkers=64)
TIMES = tuple(quarter * QUARTER + half for quarter in range(0, 14) for half in (0, QUARTER // 2))
RULES = (
    set_rule(ALLOW, ALLOW, Action.PASS),
    set_rule("third", "third", Action.DROP),
    set_rule(BLOCK, BLOCK, Action.DROP),
)
POLICIES = tuple(
    policy.following(Policy())
    for policy in (Policy(), Policy(rules=RULES), Policy(rules=RULES[::-1]), Policy(Verdict.DROP, rules=RULES[1:]))
)
NAMES = (ALLOW, BLOCK, "third")


def bulk_of(found: Iterable[Prefix]) -> Bulk:
    return parse_text("\n".join(map(str, found)).encode())


def probes(found: Iterable[Prefix]) -> list[Address]:
    """The ends of every prefix and their neighbours outside."""
    addresses: set[Address] = set()
    for prefix in found:
        first, last = int(prefix.network.network_address), int(prefix.network.broadcast_address)
        make = ipaddress.IPv4Address if prefix.family == 4 else ipaddress.IPv6Address
        top = 2 ** len(prefix.address * 8) - 1
        addresses |= {make(value) for value in (first - 1, first, last, last + 1) if 0 <= value <= top}
    # IPv4-mapped addresses are classified as IPv4 ones, in the packet path as in the reference.
    return [a for a in addresses if a.version == 4 or a.ipv4_mapped is None]


def reference_rows(sets: Sets, policy: Policy, addresses: list[Address], times: Iterable[int]) -> list[int | None]:
    """The first row for each address and time, from the entries alone."""
    held = [
        (entry.prefix.network, number, max(NEVER if claim.expires is None else claim.expires for claim in entry.claims))
        for number, rule in enumerate(policy.rules)
        for name in rule.match.source.sets
        if name in sets.names()
        for entry in sets.entries(name, after=None, limit=10**6)
    ]
    found: list[int | None] = []
    for address in addresses:
        inside = [(number, expires) for network, number, expires in held if address in network]
        found += (min((number for number, expires in inside if now < expires), default=None) for now in times)
    return found


class Harness:
    """A compiler with the tables it writes, and answers to compare them with."""

    def __init__(self) -> None:
        self.tables = ModelTables()
        self.sets = Sets.initial().create("third").sets
        self.policy = POLICIES[1]
        self.compiler = Compiler(LIMITS, nothing_found())
        self.start()

    def start(self) -> None:
        for plan in self.compiler.compile_all(self.sets, self.policy):
            self.tables.execute(plan.ops)
            self.compiler.commit(plan, self.tables.read_leaves)

    def answers(self, addresses: list[Address], times: Iterable[int]) -> list[int | None]:
        return [self.tables.first_row(address, now) for address in addresses for now in times]

    def expected(self, sets: Sets, policy: Policy, addresses: list[Address], times: Iterable[int]) -> list[int | None]:
        return reference_rows(sets, policy, addresses, times)

    def run(self, plan: Plan, addresses: list[Address], times: tuple[int, ...], *, visible: bool = True) -> None:
        """Execute; after every operation packets see the old state or the new one, no mixture, nor the old again."""
        outcome = plan.outcome
        sets = outcome.sets or self.sets
        policy = outcome.policy or self.policy
        old = self.expected(self.sets, self.policy, addresses, times)
        new = self.expected(sets, policy, addresses, times) if visible else old
        seen = [old]

        def look() -> None:
            now = self.answers(addresses, times)
            assert now in (old, new)
            if now == new:
                seen.append(new)
            assert seen[-1] == now

        self.tables.execute(plan.ops, look)
        assert self.answers(addresses, times) == new
        self.compiler.commit(plan, self.tables.read_leaves)
        self.sets, self.policy = sets, policy

    def change(self, edit: Edit, times: tuple[int, ...], policy: Policy | None = None) -> Plan:
        plan = self.compiler.plan(edit.sets, edit.touched, policy=policy)
        changed = [k.prefix_of(f, key) for f in FAMILIES for key in edit.touched[f]]
        self.run(plan, probes(changed), times)
        return plan

    def all_prefixes(self) -> list[Prefix]:
        return [
            k.prefix_of(f, key) for name in self.sets.names() for f, keys in self.sets.iter_keys(name) for key in keys
        ]

    def content(self) -> dict[Prefix, object]:
        """What every prefix in the tables means, whatever the numbers are."""
        return {
            prefix: [self.tables.first_row(prefix.network.network_address, now) for now in TIMES[::4]]
            for prefix in self.tables.prefixes
        }


EDITS = st.one_of(
    st.tuples(st.just("upsert"), st.sampled_from(NAMES), st.lists(claims(), min_size=1, max_size=4), st.booleans()),
    st.tuples(st.just("remove"), st.integers(0, 10**6), st.integers(1, 3)),
    st.tuples(st.just("replace"), st.sampled_from(NAMES), st.lists(prefixes(), max_size=8)),
    st.tuples(
        st.just("import"),
        st.sampled_from(NAMES),
        st.lists(prefixes(), min_size=1, max_size=12),
        st.lists(st.tuples(st.sampled_from(NAMES), claims(), st.booleans()), max_size=4),
        st.booleans(),
    ),
    st.tuples(st.just("expire"), st.integers(0, 12)),
    st.tuples(st.just("policy"), st.sampled_from(POLICIES)),
    st.tuples(st.just("drop"), st.booleans()),
    st.tuples(st.just("settle"), st.integers(1, 3)),
    st.tuples(st.just("retire"), st.integers(1, 5)),
    st.tuples(st.just("abort"), st.sampled_from(NAMES), st.lists(claims(), min_size=1, max_size=3), st.integers(0, 6)),
)


def apply(harness: Harness, step: tuple[object, ...], times: tuple[int, ...]) -> None:
    match step:
        case ("upsert", str(name), list(added), bool(longest)):
            harness.change(harness.sets.upsert(name, added, longest=longest), times)
        case ("remove", int(seed), int(count)):
            rng = random.Random(seed)
            name = rng.choice(NAMES)
            held = [k.prefix_of(f, key) for f, keys in harness.sets.iter_keys(name) for key in keys]
            harness.change(harness.sets.remove(name, rng.sample(held, min(count, len(held)))), times)
        case ("replace", str(name), list(found)):
            harness.change(harness.sets.replace(name, bulk_of(found), origin=None, now=0, base=harness.sets), times)
        case ("import", str(name), list(found), list(meanwhile), bool(lands)):
            in_pieces(harness, name, bulk_of(found), meanwhile, times, lands=lands)
        case ("expire", int(quarter)):
            harness.change(harness.sets.expire(quarter * QUARTER), tuple(t for t in times if t >= quarter * QUARTER))
        case ("policy", Policy() as policy):
            none = {family: k.empty(family) for family in FAMILIES}
            harness.run(harness.compiler.plan(harness.sets, none, policy=policy), probes(harness.all_prefixes()), times)
        case ("drop", _):
            harness.change(harness.sets.drop("third"), times)
            harness.change(harness.sets.create("third"), times)
        case ("settle", int(count)):
            for _ in range(count):
                if (plan := harness.compiler.settle()) is not None:
                    harness.run(plan, probes(harness.all_prefixes()), times, visible=False)
        case ("retire", int(limit)):
            if (plan := harness.compiler.retire(limit)) is not None:
                harness.run(plan, probes(harness.all_prefixes()), times, visible=False)
        case ("abort", str(name), list(added), int(done)):
            aborted(harness, harness.sets.upsert(name, added, longest=True), done, times)


def in_pieces(
    harness: Harness,
    name: str,
    bulk: Bulk,
    meanwhile: list[tuple[str, Claim, bool]],
    times: tuple[int, ...],
    *,
    lands: bool,
) -> None:
    """A long change, with single ones between its steps; it may be given up in the end."""
    base, singles = harness.sets, iter(meanwhile)

    def now() -> Edit:
        return harness.sets.replace(name, bulk, origin=None, now=0, base=base)

    def somebody_else() -> None:
        if (single := next(singles, None)) is not None:
            other, claim, gone = single
            harness.change(harness.sets.upsert(other, [claim], longest=True), times)
            if gone:
                harness.change(harness.sets.remove(other, [claim.prefix]), times)

    def unseen(plan: Plan | None) -> bool:
        if plan is not None:
            harness.run(plan, probes(harness.all_prefixes()), times, visible=False)
        return plan is not None

    compiler = harness.compiler
    change = compiler.begin(now())
    somebody_else()
    change.look()
    while unseen(compiler.make_room(change)):
        pass
    compiler.reserve(change)
    while unseen(compiler.piece(3)):
        somebody_else()
    change.finish()
    if lands:
        edit = now()
        landing = compiler.land(edit.sets, edit.touched)
        assert landing is not None
        addresses = probes(k.prefix_of(f, key) for f in FAMILIES for key in edit.touched[f])
        harness.run(landing, addresses, times)
    compiler.end()


def aborted(harness: Harness, edit: Edit, done: int, times: tuple[int, ...]) -> None:
    """Some operations before the flip are done, then one fails and the inserts are undone."""
    plan = harness.compiler.plan(edit.sets, edit.touched)
    kinds = [type(op).__name__ for op in plan.ops]
    decisive = next((i for i, kind in enumerate(kinds) if kind == "Flip"), None)
    if decisive is None:
        decisive = max((i for i, kind in enumerate(kinds) if kind != "ClearLeaves"), default=0)
    before = dict(harness.tables.prefixes)
    harness.tables.execute(plan.ops[: min(done, decisive)])
    harness.tables.prefixes = before
    harness.compiler.abort(plan)
    addresses = probes(harness.all_prefixes())
    assert harness.answers(addresses, times) == harness.expected(harness.sets, harness.policy, addresses, times)


def equals_a_build_from_nothing(harness: Harness) -> None:
    while (plan := harness.compiler.retire()) is not None:
        harness.tables.execute(plan.ops)
        harness.compiler.commit(plan, harness.tables.read_leaves)
    fresh = Harness.__new__(Harness)
    fresh.tables, fresh.sets, fresh.policy = ModelTables(), harness.sets, harness.policy
    fresh.compiler = Compiler(LIMITS, nothing_found())
    fresh.start()
    assert harness.content() == fresh.content()
    addresses = probes(harness.all_prefixes())
    assert harness.answers(addresses, TIMES) == harness.expected(harness.sets, harness.policy, addresses, TIMES)


@settings(max_examples=100)
@given(st.lists(EDITS, min_size=1, max_size=8), st.lists(st.sampled_from(TIMES), min_size=1, max_size=2))
def test_any_sequence_of_changes(steps: list[tuple[object, ...]], times: list[int]) -> None:
    harness = Harness()
    try:
        for step in steps:
            apply(harness, step, tuple(times))
        equals_a_build_from_nothing(harness)
    except AssertionError:
        print("STEPS", steps, times)
        raise


@settings(max_examples=60)
@given(st.lists(EDITS, min_size=1, max_size=5), st.lists(EDITS, min_size=1, max_size=3), st.sampled_from(TIMES))
def test_a_restart_adopts_whatever_is_there(
    before: list[tuple[object, ...]], unseen: list[tuple[object, ...]], now: int
) -> None:
    """The store may be ahead of the tables: the difference becomes visible in one flip."""
    harness = Harness()
    for step in before:
        apply(harness, step, (now,))
    ahead = harness.sets
    for step in unseen:
        if step[0] in ("upsert",):
            ahead = ahead.upsert(step[1], step[2], longest=True).sets  # type: ignore[arg-type]
        if step[0] == "replace":
            ahead = ahead.replace(step[1], bulk_of(step[2]), origin=None, now=0, base=ahead).sets  # type: ignore[arg-type]
    harness.compiler = Compiler(LIMITS, harness.tables.found())
    held = harness.all_prefixes()
    behind, harness.sets = harness.sets, ahead
    addresses = probes({*held, *harness.all_prefixes()})
    old = harness.expected(behind, harness.policy, addresses, (now,))
    new = harness.expected(ahead, harness.policy, addresses, (now,))

    def look() -> None:
        assert harness.answers(addresses, (now,)) in (old, new)

    for plan in harness.compiler.compile_all(ahead, harness.policy):
        harness.tables.execute(plan.ops, look)
        harness.compiler.commit(plan, harness.tables.read_leaves)
    assert harness.answers(addresses, (now,)) == new
    assert set(harness.tables.prefixes) == set(harness.all_prefixes())
    for step in before:
        apply(harness, step, (now,))
    equals_a_build_from_nothing(harness)
