# SPDX-License-Identifier: Apache-2.0
"""Rules compiled to tables, against the reference verdict; their order; their slots."""

from __future__ import annotations

import pytest

from tests import random_rules, samples
from tests.loaded import Loaded
from xdpfw.kernel.fake import FakeKernel
from xdpfw.model.errors import InvalidInput
from xdpfw.model.limits import Limits
from xdpfw.model.policy import DEFAULT_RULES, MAX_ROWS, MAX_SLOTS, PANIC_ROWS, Policy
from xdpfw.model.reason import MAX_REASONS, Verdict
from xdpfw.model.rule import Action, Rule, Slots, set_rule
from xdpfw.model.rule_form import parse_rule, parse_rules
from xdpfw.policy import reference
from xdpfw.policy.order import Place, placed
from xdpfw.policy.rows import check_rows, features_of, rows_of

LIMITS = Limits(leaves=4096, hosts4=1024, hosts6=1024, memberships=2048, talkers=64)


@pytest.mark.parametrize("seed", samples.seeds())
@pytest.mark.parametrize("count", [3, 70])
def test_tables_give_the_reference_verdict(seed: int, count: int) -> None:
    loaded = Loaded(FakeKernel(limits=LIMITS), LIMITS)
    loaded.add("allow", samples.ALLOW)
    loaded.add("block", samples.BLOCK)
    loaded.use(rules=random_rules.rules(seed * 100 + count, count, ("allow", "block")), default=Verdict.DROP)
    for frame, interface in random_rules.frames(seed, 150):
        judgement = loaded.kernel.judge(frame, interface)
        judged = reference.judge(frame, loaded.sets, loaded.policy, 0, interface)
        watched = MAX_REASONS + loaded.policy.slots.of[judged.watching.id] if judged.watching else 0
        assert (judgement.verdict, judgement.cause, judgement.monitored_cause) == (
            judged.verdict,
            judged.cause,
            watched,
        )


def rule(id: str, **match: object) -> Rule:
    return parse_rule({"id": id, "action": "drop", "match": match})


def test_a_rule_with_sets_and_prefixes_is_one_row_for_each_kind() -> None:
    both = rule("r", source=["block", "10.0.0.0/8"], destination=["allow", "10.0.0.1"])
    assert len(rows_of(Policy(rules=(both,)))) == 4
    assert len(rows_of(Policy(rules=(rule("r", source=["block", "!10.0.0.0/8"]),)))) == 1


def test_only_what_is_asked_is_compiled_in() -> None:
    assert features_of(Policy()) == frozenset()
    asked = features_of(Policy(rules=(rule("r", vlan=1, protocol="tcp"),)))
    assert {feature.value for feature in asked} == {"MATCH_VLAN", "MATCH_PROTOCOL"}


def test_more_rules_than_rows_are_refused() -> None:
    most = [set_rule(f"r{n}", "block", Action.DROP) for n in range(MAX_ROWS - PANIC_ROWS)]
    check_rows(most)
    with pytest.raises(InvalidInput, match="too many rules"):
        check_rows([*most, set_rule("one-more", "block", Action.DROP)])


def test_slots_stay_with_their_rules() -> None:
    slots = Slots({"a": 0, "b": 1, "c": 2})
    assert slots.followed_by(("c", "new", "a")).of == {"c": 2, "new": 3, "a": 0}


def test_all_rules_may_be_replaced_by_others_at_once() -> None:
    one = Slots().followed_by(tuple(f"a{n}" for n in range(MAX_ROWS)))
    other = one.followed_by(tuple(f"b{n}" for n in range(MAX_ROWS)))
    assert not set(one.of.values()) & set(other.of.values())
    assert max(other.of.values()) < MAX_SLOTS
    assert max(other.followed_by(tuple(one.of)).of.values()) < MAX_SLOTS


@pytest.mark.parametrize(("place", "order"), [
    (Place(), "allow block web"),
    (Place(position=1), "web allow block"),
    (Place(position=2), "allow web block"),
    (Place(position=99), "allow block web"),
    (Place(before="block"), "allow web block"),
    (Place(after="allow"), "allow web block"),
])  # fmt: skip
def test_places(place: Place, order: str) -> None:
    assert " ".join(rule.id for rule in placed(DEFAULT_RULES, rule("web"), place)) == order


def test_a_rule_that_is_there_stays_or_moves() -> None:
    rules = parse_rules([{"id": id, "action": "drop"} for id in "abc"])
    changed = rule("b", vlan=1)
    assert placed(rules, changed, Place()) == (rules[0], changed, rules[2])
    assert [r.id for r in placed(rules, changed, Place(position=3))] == ["a", "c", "b"]
    assert [r.id for r in placed(rules, changed, Place(before="a"))] == ["b", "a", "c"]


@pytest.mark.parametrize("place", [Place(before="b"), Place(after="b"), Place(before="x"), Place(1, before="a")])
def test_impossible_places_are_refused(place: Place) -> None:
    rules = parse_rules([{"id": id, "action": "drop"} for id in "abc"])
    with pytest.raises(InvalidInput):
        placed(rules, rules[1], place)
