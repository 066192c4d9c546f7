# SPDX-License-Identifier: Apache-2.0
"""A replacement that is made again, because others wrote meanwhile, is the one that would be made from nothing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import QUARTER, claims, prefixes
from xdpfw.model.policy import Claim
from xdpfw.model.prefix import FAMILIES, Family, Prefix
from xdpfw.policy import edits
from xdpfw.policy.bulk import parse_text
from xdpfw.policy.replacement import Replacement, Since
from xdpfw.policy.sets import Edit, Sets

pytestmark = pytest.mark.usefixtures("each_way")


@pytest.fixture(scope="module", autouse=True)
def _everything_is_bulk() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edits, "BULK_ROWS", 0)
        yield


def told(edit: Edit) -> object:
    """Everything that an edit says, with what it makes of the set."""
    touched = {family: (edit.touched[family].tolist(), until_of(edit, family)) for family in FAMILIES}
    counts = edit.added, edit.refreshed, edit.removed, edit.kept, edit.total, edit.sets.count("block")
    replaced = {table: [records.tolist() for records in both] for table, both in edit.replaced.items()}
    return touched, counts, replaced, {table: rows.array().tolist() for table, rows in edit.sets.tables.items()}


def until_of(edit: Edit, family: Family) -> list[int]:
    return list(edit.until.get(family, np.empty(0, np.int64)).tolist())


WRITES = st.lists(st.tuples(st.sampled_from(("allow", "block")), claims(), st.booleans()), max_size=4)


@given(
    st.lists(claims(), min_size=1, max_size=12),
    st.lists(prefixes(), max_size=10),
    st.sampled_from((None, "manual", "feed")),
    st.lists(WRITES, min_size=1, max_size=4),
)
def test_made_again_it_is_as_made_anew(
    first: list[Claim], wanted: list[Prefix], origin: str | None, meanwhile: list[list[tuple[str, Claim, bool]]]
) -> None:
    base = sets = Sets.initial().upsert("block", first, longest=True).sets
    bulk, since, said = (
        parse_text("\n".join(map(str, wanted)).encode()),
        Since(base, "block"),
        set[tuple[Prefix, str]](),
    )

    def replacement() -> Replacement:
        return Replacement("block", bulk, origin=origin, now=7, since=since, expires=QUARTER, comment="bulk")

    kept = replacement()
    assert told(kept.edit(sets)) == told(replacement().edit(sets))
    for writes in meanwhile:
        for name, claim, gone in writes:
            sets = sets.upsert(name, [claim], longest=True).sets
            since.written(name, [(claim.prefix, claim.origin)])
            said |= {(claim.prefix, claim.origin)} if name == "block" else set()
            if gone:
                sets = sets.remove(name, [claim.prefix]).sets
                said = {each for each in said if each[0] != claim.prefix or name != "block"}
        edit = kept.edit(sets)
        assert told(edit) == told(replacement().edit(sets))
        assert all(origin in origins_of(edit, prefix) for prefix, origin in said), "also what was so already"


def origins_of(edit: Edit, prefix: Prefix) -> set[str]:
    entry = edit.sets.entry("block", prefix)
    return {claim.origin for claim in entry.claims} if entry else set()
