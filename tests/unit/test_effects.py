# SPDX-License-Identifier: Apache-2.0
"""What writers are told about the effect of what they wrote."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpfw.effects import EXACT, effect_of, judge_address
from xdpfw.model.policy import Claim, Policy
from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Mode
from xdpfw.policy.overlap import overlap
from xdpfw.policy.sets import Sets


def sets_of(**entries: list[str]) -> Sets:
    sets = Sets.initial()
    for name, prefixes in entries.items():
        if name not in sets.names():
            sets = sets.create(name).sets
        sets = sets.upsert(name, [Claim(Prefix.parse(text)) for text in prefixes], longest=False).sets
    return sets


def effect(
    sets: Sets, *texts: str, policy: Policy | None = None, attached: bool = True, name: str = "block"
) -> tuple[str, str]:
    answer = effect_of([Prefix.parse(t) for t in texts], name, sets, policy or Policy(), attached=attached)
    return answer.effective, answer.because


def test_a_plain_block_drops():
    assert effect(sets_of(block=["10.0.0.0/8"]), "10.0.0.0/8")[0] == "drop"


def test_a_block_under_a_wider_allow_passes_and_says_by_what():
    effective, because = effect(sets_of(allow=["10.0.0.0/8"], block=["10.1.0.0/16"]), "10.1.0.0/16")
    assert effective == "pass" and "10.0.0.0/8" in because and "allow" in because


def test_an_allow_inside_a_block_makes_it_mixed():
    sets = sets_of(allow=["10.1.2.3"], block=["10.0.0.0/8"])
    assert effect(sets, "10.0.0.0/8")[0] == "mixed"
    assert effect(sets, "10.1.2.3", name="allow")[0] == "pass"


@pytest.mark.parametrize(
    ("policy", "attached", "word"),
    [(Policy(mode=Mode.MONITOR), True, "monitor"), (Policy(), False, "attach")],
)
def test_what_is_not_enforced_passes_and_says_why(policy, attached, word):
    effective, because = effect(sets_of(block=["10.0.0.1"]), "10.0.0.1", policy=policy, attached=attached)
    assert effective == "pass" and word in because


def test_without_a_row_the_default_decides():
    sets = sets_of(feed=["192.0.2.1"])
    assert effect(sets, "192.0.2.1", name="feed")[0] == "pass"
    assert effect(sets, "192.0.2.1", name="feed", policy=Policy(default=Verdict.DROP))[0] == "drop"


def test_many_prefixes_are_told_by_overlap():
    many = [f"10.0.{i}.0/24" for i in range(EXACT + 1)]
    assert effect(sets_of(block=many), *many)[0] == "drop"
    assert effect(sets_of(block=many, allow=["192.0.2.0/24"]), *many)[0] == "drop"
    effective, because = effect(sets_of(block=many, allow=["10.0.5.7"]), *many)
    assert effective == "mixed" and "10.0.5.7" in because


def test_an_ipv4_mapped_address_is_judged_as_ipv4():
    outcome = judge_address(ipaddress.ip_address("::ffff:10.0.0.1"), sets_of(block=["10.0.0.0/8"]), Policy())
    assert outcome.verdict is Verdict.DROP


SMALL = st.builds(
    lambda bits, length: Prefix.from_network(ipaddress.ip_network((bits << 24, length), strict=False)),
    st.integers(0, 255),
    st.integers(0, 8),
)


@given(st.lists(SMALL, max_size=6), st.lists(SMALL, max_size=6))
def test_overlap_is_what_comparing_all_pairs_finds(one, other):
    sets = sets_of(allow=[str(p) for p in one], block=[str(p) for p in other])
    shared = {a for a in one for b in other if a.contains(b) or b.contains(a)}
    found = overlap(sets, "allow", "block")
    assert (found in shared) if shared else found is None
