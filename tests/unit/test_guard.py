# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import prefix_of_int
from xdpfw.model.policy import Claim, Policy
from xdpfw.model.prefix import FAMILIES, HOST_LENGTH, Family, Prefix
from xdpfw.policy import guard
from xdpfw.policy.bulk import parse_text
from xdpfw.policy.sets import Edit, Sets

SECOND = 1_000_000_000


def put(sets: Sets, name: str, *texts: str, expires: int | None = None) -> Edit:
    return sets.upsert(name, [Claim(Prefix.parse(text), expires=expires) for text in texts], longest=True)


def halves(family: Family, length: int) -> list[str]:
    """All prefixes of a length."""
    width = HOST_LENGTH[family]
    return [str(prefix_of_int(family, number << (width - length), length)) for number in range(1 << length)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("length", [0, 1, 8, 10])
def test_the_sum_of_entries_may_cover_a_family(family: Family, length: int) -> None:
    whole = halves(family, length)
    sets = Sets.initial()
    assert guard.whole_family(put(sets, "block", *whole), sets, Policy()) is not None
    for missing in {0, len(whole) // 2, len(whole) - 1} if length else ():
        edit = put(sets, "block", *(text for number, text in enumerate(whole) if number != missing))
        assert guard.whole_family(edit, sets, Policy()) is None
        last = put(edit.sets, "block", whole[missing])
        assert guard.whole_family(last, edit.sets, Policy()) is not None


def test_entries_of_different_lengths_that_nest_and_fill_up() -> None:
    sets = Sets.initial()
    texts = ["0.0.0.0/1", "10.0.0.0/8", "128.0.0.0/2", "192.0.0.0/3", "224.0.0.0/3", "255.255.255.255"]
    assert guard.whole_family(put(sets, "block", *texts), sets, Policy()) is not None
    assert guard.whole_family(put(sets, "block", *texts[:3], *texts[4:]), sets, Policy()) is None


def test_only_rows_that_drop_matter() -> None:
    sets = Sets.initial()
    assert guard.whole_family(put(sets, "allow", "0.0.0.0/0", "::/0"), sets, Policy()) is None


def test_what_covers_a_family_already_may_be_changed() -> None:
    sets = put(Sets.initial(), "block", "0.0.0.0/0").sets
    assert guard.whole_family(put(sets, "block", "192.0.2.1"), sets, Policy()) is None
    both = guard.whole_family(put(sets, "block", "::/0"), sets, Policy())
    assert both is not None and "IPv6" in both


@given(st.sets(st.integers(0, 1023), max_size=40), st.sampled_from(FAMILIES), st.booleans())
def test_gaps_are_found_in_large_tables(missing: set[int], family: Family, nested: bool) -> None:
    """More neighbours than are looked at one by one."""
    texts = [text for number, text in enumerate(halves(family, 10)) if number not in missing]
    texts += [str(next(Prefix.parse(texts[-1]).network.subnets(new_prefix=20)))] * nested
    edit = put(Sets.initial(), "block", *texts)
    table = edit.sets.table(2, family)
    assert guard.covers_family(table, family) == (not missing)


@pytest.mark.parametrize(("kept", "refused"), [(0, True), (49, True), (50, False), (100, False)])
def test_a_replace_that_removes_over_half(kept: int, refused: bool) -> None:
    texts = [f"192.0.2.{number}" for number in range(100)]
    sets = put(Sets.initial(), "block", *texts).sets
    bulk = parse_text("\n".join(texts[:kept]).encode())
    edit = sets.replace("block", bulk, origin=None, now=0, base=sets)
    assert (guard.shrunk(edit, 100) is not None) == refused


def test_the_first_list_may_be_empty() -> None:
    sets = Sets.initial()
    edit = sets.replace("block", parse_text(b""), origin=None, now=0, base=sets)
    assert guard.shrunk(edit, 0) is None
