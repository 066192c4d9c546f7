# SPDX-License-Identifier: Apache-2.0
"""What a change of a whole list did, and the beginning of that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import claims
from xdpfw.model.policy import Claim
from xdpfw.policy import delta
from xdpfw.policy.sets import Sets


@pytest.mark.parametrize("head", [1, 3])
@given(
    first=st.lists(claims(), max_size=20),
    second=st.lists(claims(), max_size=20),
    most=st.integers(1, 6),
)
def test_the_beginning_of_what_differs(head: int, first: list[Claim], second: list[Claim], most: int) -> None:
    tables = [Sets.initial().upsert("block", each, longest=True).sets for each in (first, second)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(delta, "HEAD", head)
        for family in (4, 6):
            old, new = (sets.table(2, family) for sets in tables)  # type: ignore[arg-type]
            every = delta._between(old.array(), new.array())
            some = delta._first_between(old, new, most)
            assert sum(map(len, some)) >= min(most, sum(map(len, every)))
            for part, whole in zip(some, every, strict=True):
                assert part.tolist() == whole[: len(part)].tolist()
            keys = [row for part in some for row in part["key"].tolist()]
            left = [row for part, whole in zip(some, every, strict=True) for row in whole["key"][len(part) :].tolist()]
            assert not keys or not left or max(keys) < min(left)
