# SPDX-License-Identifier: Apache-2.0
"""Entry hits through any change: what each entry has counted while it was its set's longest match."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.model_tables import ModelTables, nothing_found
from tests.unit.strategies import addresses, claims, prefixes
from tests.unit.test_compiler import LIMITS, bulk_of
from xdpfw.model.errors import KernelError
from xdpfw.model.policy import Claim, Policy
from xdpfw.model.prefix import FAMILIES, Address, Prefix
from xdpfw.policy import keys as k
from xdpfw.policy.compiler import Compiler, Plan
from xdpfw.policy.ops import Ids
from xdpfw.policy.sets import Edit, Sets

pytestmark = pytest.mark.usefixtures("each_way")

NAMES = ("allow", "block", "third")


class Ledger:
    """Hits as they should be, packet by packet, beside the compiler and its tables."""

    def __init__(self) -> None:
        self.tables = ModelTables()
        self.sets = Sets.initial().create("third").sets
        self.compiler = Compiler(LIMITS, nothing_found())
        self.hits: dict[tuple[str, Prefix], int] = {}
        self.gone = dict.fromkeys(NAMES, 0)
        for plan in self.compiler.compile_all(self.sets, Policy()):
            self.execute(plan)

    def execute(self, plan: Plan) -> None:
        self.tables.execute(plan.ops)
        self.compiler.commit(plan, self.tables.read_leaves)

    def entries(self, name: str) -> list[Prefix]:
        return [entry.prefix for entry in self.sets.entries(name, after=None, limit=10**6)]

    def owner(self, name: str, inside: Callable[[Prefix], bool]) -> Prefix | None:
        """The longest entry of a set among some."""
        return max(filter(inside, self.entries(name)), key=lambda p: p.length, default=None)

    def packets(self, address: Address, count: int) -> None:
        self.tables.count(address, count)
        host = Prefix.host(address)
        for name in NAMES:
            owner = self.owner(name, lambda prefix: prefix.contains(host))
            if owner is not None:
                self.hits[name, owner] = self.hits.get((name, owner), 0) + count

    def change(self, edit: Edit, meanwhile: list[tuple[Address, int]] | None = None) -> None:
        """`meanwhile`: it is a long change, and these packets come before it lands."""
        before = {name: set(self.entries(name)) for name in NAMES}
        if meanwhile is None:
            self.execute(self.compiler.plan(edit.sets, edit.touched))
        else:
            self.change_long(edit, meanwhile)
        self.sets = edit.sets
        for name in NAMES:
            kept = before[name] & set(self.entries(name))
            for prefix in sorted(before[name] - kept):
                count = self.hits.pop((name, prefix), 0)
                around = [other for other in kept if other.contains(prefix)]
                if around:
                    wider = max(around, key=lambda p: p.length)
                    self.hits[name, wider] = self.hits.get((name, wider), 0) + count
                else:
                    self.gone[name] += count

    def change_long(self, edit: Edit, meanwhile: list[tuple[Address, int]]) -> None:
        change = self.compiler.begin(edit)
        change.look()
        self.compiler.reserve(change)
        change.finish()
        while (piece := self.compiler.piece(2)) is not None:
            self.execute(piece)
        for address, count in meanwhile:
            self.packets(address, count)
        landing = self.compiler.land(edit.sets, edit.touched)
        assert landing is not None
        self.execute(landing)
        self.compiler.end()

    def check(self) -> None:
        totals = self.compiler.totals(self.sets, self.tables.read_leaves)
        for name in NAMES:
            held = self.entries(name)
            expected = [self.hits.get((name, prefix), 0) for prefix in held]
            found = self.compiler.hits(self.sets, name, held, self.tables.read_leaves)
            assert found == [(count, count * 10) for count in expected]
            total = sum(expected) + self.gone[name]
            assert totals[name] == (total, total * 10)


STEPS = st.one_of(
    st.tuples(st.just("packets"), addresses(), st.integers(1, 1000)),
    st.tuples(st.just("upsert"), st.sampled_from(NAMES), st.lists(claims(), min_size=1, max_size=3)),
    st.tuples(st.just("remove"), st.sampled_from(NAMES), st.integers(0, 10**6)),
    st.tuples(
        st.just("replace"),
        st.sampled_from(NAMES),
        st.lists(prefixes(), max_size=6),
        st.none() | st.lists(st.tuples(addresses(), st.integers(1, 1000)), max_size=2),
    ),
    st.tuples(st.just("settle"), st.sampled_from(("settle", "retire"))),
)


def step(ledger: Ledger, what: tuple[object, ...]) -> None:
    match what:
        case ("packets", address, int(count)):
            ledger.packets(address, count)  # type: ignore[arg-type]
        case ("upsert", str(name), list(added)):
            ledger.change(ledger.sets.upsert(name, added, longest=True))
        case ("remove", str(name), int(which)):
            if held := ledger.entries(name):
                ledger.change(ledger.sets.remove(name, [held[which % len(held)]]))
        case ("replace", str(name), list(found), meanwhile):
            edit = ledger.sets.replace(name, bulk_of(found), origin=None, now=0, base=ledger.sets)
            ledger.change(edit, meanwhile)  # type: ignore[arg-type]
        case ("settle", "retire"):
            if (plan := ledger.compiler.retire(2)) is not None:
                ledger.execute(plan)
        case ("settle", _):
            if (plan := ledger.compiler.settle()) is not None:
                ledger.execute(plan)


@settings(max_examples=150)
@given(st.lists(STEPS, min_size=1, max_size=20))
def test_hits_through_any_sequence_of_changes(steps: list[tuple[object, ...]]) -> None:
    ledger = Ledger()
    for what in steps:
        step(ledger, what)
        ledger.check()


@settings(max_examples=50)
@given(st.lists(STEPS, min_size=1, max_size=12), st.lists(STEPS, min_size=1, max_size=6))
def test_hits_go_on_when_the_daemon_starts_again(
    before: list[tuple[object, ...]], after: list[tuple[object, ...]]
) -> None:
    ledger = Ledger()
    for what in before:
        step(ledger, what)
    ledger.compiler = Compiler(LIMITS, ledger.tables.found(), bases=ledger.compiler.bases)
    for plan in ledger.compiler.compile_all(ledger.sets, Policy()):
        ledger.execute(plan)
    ledger.check()
    for what in after:
        step(ledger, what)
        ledger.check()


def test_without_adopted_counters_saved_bases_mean_nothing() -> None:
    compiler = Compiler(LIMITS, nothing_found(), bases={(2, b"\x0a\x00\x00\x00\x08"): (5, 50)})
    assert compiler.bases == {}


def test_packets_on_their_way_while_a_leaf_is_deleted_are_counted() -> None:
    ledger = Ledger()
    wide, host = Prefix.parse("10.0.0.0/8"), Prefix.parse("10.1.2.3")
    ledger.change(ledger.sets.upsert("block", [Claim(wide), Claim(host)], longest=True))
    leaf = ledger.tables.prefixes[host]
    ledger.change(ledger.sets.remove("block", [host]))
    ledger.tables.counts[leaf] = ledger.tables.counts.get(leaf, 0) + 7
    while (plan := ledger.compiler.settle()) is not None:
        ledger.execute(plan)
    assert ledger.compiler.hits(ledger.sets, "block", [wide], ledger.tables.read_leaves) == [(7, 70)]
    assert leaf not in ledger.tables.counts


def test_leaves_cleared_at_the_end_of_a_plan_are_not_those_that_it_handed_out() -> None:
    ledger = Ledger()
    one, two, three, four = (Prefix.parse(f"192.0.2.{number}/31") for number in range(0, 8, 2))
    ledger.change(ledger.sets.upsert("block", [Claim(one)], longest=True))
    ledger.change(ledger.sets.remove("block", [one]))
    grace = ledger.compiler.settle()
    assert grace is not None
    ledger.execute(grace)
    for added in ([two, three], [four]):
        ledger.change(ledger.sets.upsert("block", [Claim(prefix) for prefix in added], longest=True))
    assert len(set(ledger.tables.prefixes.values())) == 3


def test_a_lone_host_costs_no_reading() -> None:
    ledger = Ledger()
    ledger.change(ledger.sets.upsert("block", [Claim(Prefix.parse("198.51.100.0/24"))], longest=True))

    def refuse(leaves: Ids) -> npt.NDArray[np.uint64]:
        raise AssertionError(f"counters of {leaves} are read")

    edit = ledger.sets.upsert("block", [Claim(Prefix.parse("10.1.2.3"))], longest=True)
    plan = ledger.compiler.plan(edit.sets, edit.touched)
    ledger.tables.execute(plan.ops)
    ledger.compiler.commit(plan, refuse)


def test_counters_that_cannot_be_read_cost_shares_and_nothing_else() -> None:
    ledger = Ledger()
    wide, host = Prefix.parse("10.0.0.0/8"), Prefix.parse("10.1.2.3")
    ledger.change(ledger.sets.upsert("block", [Claim(wide), Claim(host)], longest=True))
    ledger.packets(host.network.network_address, 5)

    def fail(leaves: Ids) -> npt.NDArray[np.uint64]:
        raise KernelError(f"counters of {leaves} cannot be read")

    edit = ledger.sets.remove("block", [host])
    plan = ledger.compiler.plan(edit.sets, edit.touched)
    ledger.tables.execute(plan.ops)
    with pytest.raises(KernelError):
        ledger.compiler.commit(plan, fail)
    ledger.sets = edit.sets
    ledger.change(ledger.sets.upsert("allow", [Claim(wide)], longest=True))
    while (settled := ledger.compiler.settle()) is not None:
        ledger.execute(settled)
    assert ledger.tables.first_row(host.network.network_address, 0) == 0
    assert ledger.compiler.hits(ledger.sets, "block", [wide], ledger.tables.read_leaves) == [(5, 50)]


def test_hits_of_what_is_no_entry_are_nothing() -> None:
    ledger = Ledger()
    for family in FAMILIES:
        prefix = k.prefix_of(family, bytes(k.KEY_BYTES[family]))
        assert ledger.compiler.hits(ledger.sets, "block", [prefix], ledger.tables.read_leaves) == [(0, 0)]
