# SPDX-License-Identifier: Apache-2.0
"""Changes cost what they change: map operations counted, and refusals that come before any of them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.model_tables import ModelTables, nothing_found
from xdpfw.model.errors import MapFull
from xdpfw.model.limits import Limits
from xdpfw.model.policy import Claim, Policy
from xdpfw.model.prefix import FAMILIES, Prefix
from xdpfw.model.reason import Verdict
from xdpfw.policy import keys as k
from xdpfw.policy.bulk import Bulk, Rows, parse_text
from xdpfw.policy.compiler import Compiler, Plan
from xdpfw.policy.ops import (
    DeletePrefixes,
    Flip,
    Grace,
    Ids,
    InsertPrefixes,
    WriteLeaves,
    WriteMemberships,
    WritePolicy,
)
from xdpfw.policy.sets import Edit, Sets

SECOND = 1_000_000_000
NOTHING = {family: k.empty(family) for family in FAMILIES}


def zeros(leaves: Ids) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
    return np.zeros((len(leaves), 2), np.uint64)


class Running:
    """A compiler that has started, and the operations of its last plan."""

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self.sets = Sets.initial()
        self.compiler = Compiler(limits, nothing_found())
        for plan in self.compiler.compile_all(self.sets, Policy()):
            self.compiler.commit(plan, zeros)

    def change(self, edit: Edit, policy: Policy | None = None) -> Plan:
        plan = self.compiler.plan(edit.sets, edit.touched, policy=policy)
        self.compiler.commit(plan, zeros)
        self.sets = edit.sets
        return plan

    def put(self, name: str, *texts: str, ttl: int | None = None) -> Plan:
        expires = None if ttl is None else ttl * SECOND
        return self.change(
            self.sets.upsert(name, [Claim(Prefix.parse(t), expires=expires) for t in texts], longest=True)
        )

    def take(self, name: str, *texts: str) -> Plan:
        return self.change(self.sets.remove(name, [Prefix.parse(text) for text in texts]))

    def fill(self, name: str, bulk: Bulk) -> Plan:
        return self.change(self.sets.replace(name, bulk, origin=None, now=0, base=self.sets))


def kinds(plan: Plan) -> list[type]:
    return [type(op) for op in plan.ops]


def half_a_million() -> Bulk:
    """/27s inside 10.0.0.0/8."""
    numbers = np.arange(500_000, dtype=">u4") * 32 + 0x0A000000
    rows = np.empty((len(numbers), 5), np.uint8)
    rows[:, :4] = numbers.astype(">u4").view(np.uint8).reshape(-1, 4)
    rows[:, 4] = 27
    return Bulk({4: Rows(k.from_octets(rows)), 6: Rows(k.empty(6))})


@pytest.fixture(scope="module")
def large() -> Running:
    running = Running()
    running.fill("block", half_a_million())
    return running


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1", "192.0.2.0/24", "2001:db8::/32"])
@pytest.mark.parametrize("name", ["allow", "block"])
@pytest.mark.parametrize("ttl", [None, 60])
def test_a_new_prefix_takes_four_operations_at_most(text: str, name: str, ttl: int | None) -> None:
    running = Running()
    plan = running.put(name, text, ttl=ttl)
    assert kinds(plan) == [WriteMemberships, WriteLeaves, WriteLeaves, InsertPrefixes]
    other = running.put(name, "198.51.100.7", ttl=ttl)
    assert kinds(other) == [WriteLeaves, WriteLeaves, InsertPrefixes]
    assert all(len(op.ids) == 1 for op in other.ops if isinstance(op, WriteLeaves))


def test_one_prefix_less_is_one_delete() -> None:
    running = Running()
    running.put("block", "192.0.2.1", "198.51.100.0/24")
    assert kinds(running.take("block", "192.0.2.1")) == [DeletePrefixes]
    assert kinds(running.take("block", "198.51.100.0/24")) == [DeletePrefixes]


def test_a_host_after_a_deleted_one_waits_for_packets_on_their_way() -> None:
    running = Running()
    running.put("block", "192.0.2.1", "192.0.2.2")
    running.take("block", "192.0.2.1")
    assert kinds(running.put("block", "192.0.2.3"))[0] is Grace
    running.take("block", "192.0.2.2")
    while (plan := running.compiler.settle()) is not None:
        running.compiler.commit(plan, zeros)
    assert Grace not in kinds(running.put("block", "192.0.2.4"))


def test_a_longer_ttl_is_a_store_in_each_generation() -> None:
    running = Running()
    running.put("block", "192.0.2.1", ttl=60)
    assert kinds(running.put("block", "192.0.2.1", ttl=120)) == [WriteMemberships, WriteLeaves, WriteLeaves]


def test_what_changes_nothing_for_packets_is_no_operation() -> None:
    running = Running()
    running.put("block", "192.0.2.1")
    edit = running.sets.upsert("block", [Claim(Prefix.parse("192.0.2.1"), origin="feed", comment="x")], longest=True)
    assert running.change(edit).ops == ()
    assert running.compiler.plan(running.sets, NOTHING, policy=Policy()).ops == ()


def test_an_allowed_range_over_half_a_million_blocks_is_one_rewrite(large: Running) -> None:
    plan = large.put("allow", "10.0.0.0/8")
    assert kinds(plan).count(InsertPrefixes) == 1
    assert [len(op.keys) for op in plan.ops if isinstance(op, InsertPrefixes)] == [1]
    rewrites = [len(op.ids) for op in plan.ops if isinstance(op, WriteLeaves)]
    assert rewrites == [1, 500_001]
    assert [len(op.ids) for op in plan.ops if isinstance(op, WriteMemberships)] == [2]
    assert kinds(plan)[-1] is Flip
    away = large.take("allow", "10.0.0.0/8")
    assert [kind for kind in kinds(away) if kind is not WritePolicy] == [WriteLeaves, Flip, Grace, DeletePrefixes]
    assert [len(op.keys) for op in away.ops if isinstance(op, DeletePrefixes)] == [1]


def test_one_host_among_half_a_million_touches_one_leaf(large: Running) -> None:
    plan = large.put("block", "192.0.2.1")
    assert [len(op.ids) for op in plan.ops if isinstance(op, WriteLeaves)] == [1, 1]
    inside = large.put("allow", "10.0.0.1")
    assert Flip not in kinds(inside)


def test_a_policy_change_touches_no_prefix(large: Running) -> None:
    before = large.put("block", "192.0.2.2")
    assert Flip not in kinds(before)
    plan = large.change(Edit(large.sets, NOTHING), Policy(default=Verdict.DROP))
    assert {WritePolicy, Flip} <= set(kinds(plan)) <= {WritePolicy, Flip, WriteLeaves}
    again = large.change(Edit(large.sets, NOTHING), Policy())
    assert kinds(again) == [WritePolicy, Flip]


def test_new_leaves_carry_what_covers_them_until_the_flip() -> None:
    running = Running()
    running.put("block", "10.0.0.0/8")
    plan = running.put("allow", "10.1.0.0/16", "10.2.0.0/16")
    writes = [op for op in plan.ops if isinstance(op, WriteLeaves)]
    assert writes[0].generation != writes[1].generation
    assert len(set(writes[0].memberships.tolist())) == 1
    assert kinds(plan).index(InsertPrefixes) < kinds(plan).index(Flip)


SMALL = Limits(leaves=8, hosts4=2, hosts6=1, memberships=6, talkers=64)


@pytest.mark.parametrize(
    ("texts", "setting"),
    [
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], "hosts4"),
        (["2001:db8::1", "2001:db8::2"], "hosts6"),
        ([f"192.0.2.{number}/31" for number in range(0, 16, 2)], "leaves"),
    ],
)
def test_a_full_map_refuses_before_anything_happens(texts: list[str], setting: str) -> None:
    running = Running(SMALL)
    running.put("block", "198.51.100.0/24")
    before = running.compiler.used()
    claims = [Claim(Prefix.parse(text)) for text in texts]
    edit = running.sets.upsert("block", claims, longest=True)
    change = running.compiler.begin(edit)
    change.look()
    for refused in (
        lambda: running.compiler.plan(edit.sets, edit.touched),
        lambda: running.compiler.reserve(change),
        lambda: next(Compiler(SMALL, nothing_found()).compile_all(edit.sets, Policy())),
    ):
        with pytest.raises(MapFull) as caught:
            refused()
        assert f"raise {setting}" in caught.value.detail
    assert running.compiler.used() == before
    running.put("block", texts[0])


def test_memberships_are_used_again_when_nothing_refers_to_them() -> None:
    tables = ModelTables()
    compiler = Compiler(SMALL, nothing_found())
    sets = Sets.initial()

    def do(plan: Plan) -> None:
        tables.execute(plan.ops)
        compiler.commit(plan, tables.read_leaves)

    for plan in compiler.compile_all(sets, Policy()):
        do(plan)
    host = Prefix.parse("192.0.2.1")
    for ttl in range(1, 40):
        edit = sets.upsert("block", [Claim(host, expires=ttl * SECOND)], longest=False)
        do(compiler.plan(edit.sets, edit.touched))
        sets = edit.sets
    others = [Claim(Prefix.parse(f"198.51.100.{n}/31"), expires=n * SECOND) for n in range(2, 14, 2)]
    edit = sets.upsert("block", others, longest=False)
    with pytest.raises(MapFull, match="raise memberships"):
        compiler.plan(edit.sets, edit.touched)
    assert tables.first_row(host.network.network_address, 39 * SECOND - 1) == 1


def test_every_leaf_comes_round_again() -> None:
    running = Running(SMALL)
    for number in range(50):
        running.put("block", f"192.0.2.{number * 2}/31")
        running.take("block", f"192.0.2.{number * 2}/31")
    assert running.compiler.used()["leaves"] <= SMALL.leaves - 1


def test_classes_are_capped() -> None:
    running = Running()
    names = [f"s{number}" for number in range(13)]
    for name in names:
        running.sets = running.sets.create(name).sets
    hosts = [f"192.0.{number >> 8}.{number & 255}/32" for number in range(1, 1 << 13)]
    for bit, name in enumerate(names):
        body = "\n".join(text for number, text in enumerate(hosts, 1) if number >> bit & 1)
        edit = running.sets.replace(name, parse_text(body.encode()), origin=None, now=0, base=running.sets)
        if bit < 12:
            running.change(edit)
    with pytest.raises(MapFull, match="classes"):
        running.change(edit)
