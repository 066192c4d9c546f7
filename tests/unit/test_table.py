# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpfw.policy import table as module
from xdpfw.policy.table import Records, SortedTable

ROW = np.dtype([("key", "S3"), ("value", "u4")])
KEY = st.integers(0, 400).map(lambda number: number.to_bytes(3))
CHANGES = st.lists(
    st.tuples(st.dictionaries(KEY, st.integers(0, 9), max_size=60), st.sets(KEY, max_size=40)), max_size=6
)


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> object:
    """Blocks of 8 rows, so that a few hundred keys make many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_ROWS", 8)
        patch.setattr(module, "SMALL_BLOCK", 2)
        patch.setattr(module, "PART_ROWS", 24)
        yield


def rows_of(content: dict[bytes, int]) -> Records:
    return np.array(sorted(content.items()), ROW)


def content_of(rows: Records) -> dict[bytes, int]:
    return {row["key"].ljust(3, b"\0"): int(row["value"]) for row in rows}


def keys_of(keys: set[bytes]) -> Records:
    return np.array(sorted(keys), "S3")


def build(changes: list[tuple[dict[bytes, int], set[bytes]]]) -> tuple[SortedTable, dict[bytes, int]]:
    table, model = SortedTable.empty(ROW), {}
    for upserts, deletes in changes:
        deletes = deletes - upserts.keys()
        table = table.merge(rows_of(upserts), keys_of(deletes))
        model = {key: value for key, value in model.items() if key not in deletes} | upserts
    return table, model


@given(CHANGES)
def test_a_table_is_a_sorted_dictionary(changes: list[tuple[dict[bytes, int], set[bytes]]]) -> None:
    table, model = build(changes)
    assert content_of(table.array()) == model
    assert [row["key"].ljust(3, b"\0") for row in table.array()] == sorted(model)
    assert len(table) == len(model)
    assert all(0 < len(block) <= 8 for block in table.blocks())


@given(CHANGES)
def test_parts_are_all_rows_some_at_a_time(changes: list[tuple[dict[bytes, int], set[bytes]]]) -> None:
    table, model = build(changes)
    for each in (table, SortedTable.of(rows_of(model))):
        parts = list(each.parts())
        assert [key for part in parts for key in content_of(part)] == sorted(model)
        assert all(len(part) <= 24 for part in parts)


@given(CHANGES, KEY, KEY, st.integers(1, 30))
def test_look_ups(changes: list[tuple[dict[bytes, int], set[bytes]]], one: bytes, other: bytes, limit: int) -> None:
    table, model = build(changes)
    found = table.get(one)
    assert (None if found is None else int(found["value"])) == model.get(one)
    low, high = min(one, other), max(one, other)
    assert content_of(table.range(low, high)) == {key: v for key, v in model.items() if low <= key <= high}
    onward = [key for key in sorted(model) if key >= one][:limit]
    assert [row["key"].ljust(3, b"\0") for row in table.page(one, limit)] == onward
    assert list(content_of(table.page(b"", limit))) == sorted(model)[:limit]


@given(CHANGES, st.sets(KEY, min_size=1, max_size=30))
def test_floor_is_the_last_at_or_before(changes: list[tuple[dict[bytes, int], set[bytes]]], wanted: set[bytes]) -> None:
    table, model = build(changes)
    rows, found = table.floor(keys_of(wanted))
    for key, row, there in zip(sorted(wanted), rows, found, strict=True):
        expected = max((other for other in model if other <= key), default=None)
        assert (row["key"].ljust(3, b"\0") if there else None) == expected


@given(CHANGES, st.lists(KEY, min_size=2, max_size=12, unique=True))
def test_spans_hold_every_range(changes: list[tuple[dict[bytes, int], set[bytes]]], ends: list[bytes]) -> None:
    table, model = build(changes)
    ends = sorted(ends)[: len(ends) // 2 * 2]
    rows, begin, end = table.spans(np.array(ends[::2], "S3"), np.array(ends[1::2], "S3"))
    for low, high, first, last in zip(ends[::2], ends[1::2], begin, end, strict=True):
        assert content_of(rows[first:last]) == {key: v for key, v in model.items() if low <= key <= high}


@given(CHANGES, CHANGES)
def test_changes_since_an_older_version(
    before: list[tuple[dict[bytes, int], set[bytes]]], after: list[tuple[dict[bytes, int], set[bytes]]]
) -> None:
    old, old_model = build(before)
    new, model = old, dict(old_model)
    for upserts, deletes in after:
        new = new.merge(rows_of(upserts), keys_of(deletes - upserts.keys()))
        model = {key: v for key, v in model.items() if key not in deletes or key in upserts} | upserts
    expected = {key: value for key, value in model.items() if old_model.get(key) != value}
    assert content_of(new.changes_since(old)) == expected
    assert content_of(old.array()) == old_model


def test_one_row_among_many_copies_one_block() -> None:
    table = SortedTable.of(rows_of({number.to_bytes(3): 1 for number in range(0, 4000, 2)}))
    changed = table.merge(rows_of({(1001).to_bytes(3): 2}), keys_of(set()))
    shared = {id(block) for block in table.blocks()} & {id(block) for block in changed.blocks()}
    assert len(shared) >= len(list(table.blocks())) - 2
