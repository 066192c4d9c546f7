# SPDX-License-Identifier: Apache-2.0
"""Chains of memberships: followed at any time, they tell which sets still hold."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import QUARTER
from xdpfw.model.policy import ALLOW, BLOCK
from xdpfw.policy.memberships import Memberships, rounded
from xdpfw.policy.ops import NEVER
from xdpfw.policy.sets import Sets

DEADLINES = st.one_of(st.just(NEVER), st.integers(1, 20).map(lambda quarters: quarters * QUARTER))
COMBINATIONS = st.dictionaries(st.integers(1, 6), DEADLINES, max_size=6)
NO_IDS = np.empty(0, np.uint32)


def number_of(memberships: Memberships, combination: dict[int, int]) -> int:
    return memberships.intern(tuple(sorted(combination.items())))


@given(st.lists(COMBINATIONS, min_size=1, max_size=6), st.integers(0, 21 * QUARTER))
def test_a_chain_followed_at_any_time(combinations: list[dict[int, int]], now: int) -> None:
    memberships = Memberships(1024, NO_IDS, NO_IDS)
    numbers = [number_of(memberships, combination) for combination in combinations]
    pending = memberships.pending()
    columns = () if pending is None else (pending.ids, pending.classes, pending.nexts, pending.deadlines)
    table = {row[0]: row[1:] for row in zip(*(column.tolist() for column in columns), strict=True)} | {0: (0, 0, NEVER)}
    sets_of = {number: members for members, number in memberships.classes.items()}
    for combination, number in zip(combinations, numbers, strict=True):
        for _ in range(8):
            if now < table[number][2]:
                break
            number = table[number][1]
        assert sets_of[table[number][0]] == {set_id for set_id, until in combination.items() if now < until}


@given(COMBINATIONS, COMBINATIONS)
def test_combining_takes_the_later_deadline(own: dict[int, int], cover: dict[int, int]) -> None:
    memberships = Memberships(1024, NO_IDS, NO_IDS)
    pair = (np.array([number_of(memberships, part)] * 2, np.uint32) for part in (own, cover))
    both = memberships.combine(*pair).tolist()
    latest = {set_id: max(own.get(set_id, 0), cover.get(set_id, 0)) for set_id in own.keys() | cover.keys()}
    assert both == [number_of(memberships, latest)] * 2


@given(st.lists(st.one_of(st.just(NEVER), st.integers(0, 2**62)), min_size=1))
def test_deadlines_are_rounded_up(expires: list[int]) -> None:
    for before, after in zip(expires, rounded(np.array(expires, np.int64)).tolist(), strict=True):
        if before == NEVER:
            assert after == NEVER
        else:
            assert before <= after < before + QUARTER and after % QUARTER == 0


@given(st.lists(COMBINATIONS, min_size=2, max_size=8))
def test_a_sweep_keeps_what_is_used_and_what_remains_of_it(combinations: list[dict[int, int]]) -> None:
    memberships = Memberships(1024, NO_IDS, NO_IDS)
    numbers = [number_of(memberships, combination) for combination in combinations]
    used = numbers[: len(numbers) // 2]
    before = {number: memberships.sets_of(number) for number in used}
    memberships.sweep(used)
    assert {number: memberships.sets_of(number) for number in used} == before
    assert [number_of(memberships, combination) for combination in combinations[: len(used)]] == used
    again = [number_of(memberships, combination) for combination in combinations]
    assert len(set(again)) == len({tuple(sorted(combination.items())) for combination in combinations})


def test_numbers_of_an_earlier_life_are_not_handed_out_before_they_are_released() -> None:
    memberships = Memberships(8, np.array([1, 3], np.uint32), np.array([1], np.uint32))
    numbers = [number_of(memberships, {set_id: NEVER}) for set_id in (1, 2, 3)]
    assert numbers == [2, 4, 5]
    assert 1 not in memberships.classes.values()
    memberships.release()
    assert {number_of(memberships, {set_id: NEVER}) for set_id in (4, 5)} == {1, 3}


def test_classes_are_named_by_their_sets() -> None:
    memberships = Memberships(8, NO_IDS, NO_IDS)
    classes = [memberships.class_of(frozenset(members)) for members in ((1,), (2,), (1, 2), (9,))]
    named = memberships.class_names(Sets.initial())
    assert [named[number] for number in classes] == [[ALLOW], [BLOCK], [ALLOW, BLOCK], []]
    assert named[0] == []
    assert memberships.class_names(Sets.initial(), classes[:1]) == {classes[0]: [ALLOW]}
