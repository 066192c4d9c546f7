# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.live.reading import Flow, Talker, Traffic
from cli.live.rows import COLUMNS, View, amount, in_frozen_order, matching, ordered
from tests.unit.cli.live.values import talker

A, B, C = "192.0.2.1", "198.51.100.7", "2001:db8::1"


def addresses(rows: list[Talker]) -> list[str]:
    return [row.address for row in rows]


def mixed() -> list[Talker]:
    """Three talkers that lead by one column each."""
    return [
        Talker(A, Traffic(Flow(1000, 50_000, 10, 8000), Flow(0, 0, 0, 0))),
        Talker(B, Traffic(Flow(10, 500, 30, 2000), Flow(10, 500, 30, 2000))),
        Talker(C, Traffic(Flow(500, 90_000, 20, 9000), Flow(0, 0, 0, 0))),
    ]


@pytest.mark.parametrize(
    ("column", "expected"),
    [("pps", [B, C, A]), ("bps", [C, A, B]), ("packets", [A, C, B]), ("bytes", [C, A, B]), ("share", [B, A, C])],
)
def test_sorting_by_each_column(column: str, expected: list[str]) -> None:
    assert addresses(ordered(mixed(), View(sort=column))) == expected


def test_the_same_column_again_turns_the_order_round_and_another_one_begins_with_the_greatest() -> None:
    view = View(sort="pps").sorted_by("bytes")
    assert (view.sort, view.descending) == ("bytes", True)
    view = view.sorted_by("bytes")
    assert (view.sort, view.descending) == ("bytes", False)
    assert addresses(ordered(mixed(), view)) == [B, A, C]
    assert view.sorted_by("pps").descending


def test_only_what_was_dropped_counts_when_that_is_wanted() -> None:
    assert addresses(ordered(mixed(), View(sort="pps", of="dropped")))[0] == B
    assert amount(mixed()[1], View(sort="pps", of="dropped")) == (0.0, 30.0)
    assert amount(mixed()[1], View(sort="packets", of="passed")) == (10.0, 0.0)


def test_equals_stand_in_the_order_of_addresses_either_way() -> None:
    rows = [talker(address, 5) for address in ("2001:db8::1", "192.0.2.10", "192.0.2.9")]
    for descending in (True, False):
        listed = addresses(ordered(rows, View(descending=descending)))
        assert listed == ["192.0.2.9", "192.0.2.10", "2001:db8::1"]


def test_the_share_is_of_now_or_of_everything() -> None:
    stopped = Talker(A, Traffic(Flow(10, 10, 10, 10), Flow(90, 90, 0, 0)))  # dropped once, passes now
    assert stopped.traffic.share(cumulative=False) == 0
    assert stopped.traffic.share(cumulative=True) == 0.9
    assert Talker(B, Traffic()).traffic.share(cumulative=True) is None


def test_from_rates_to_counts_and_back_keeps_the_kind_of_column() -> None:
    for rate, count in (("pps", "packets"), ("bps", "bytes"), ("share", "share")):
        view = View(sort=rate).turned()
        assert (view.sort, view.cumulative) == (count, True)
        assert view.turned() == View(sort=rate)


@pytest.mark.parametrize(
    ("typed", "within"),
    [
        ("", None), ("10.0.0.0/8", "10.0.0.0/8"), (" 10.0.0.1 ", "10.0.0.1/32"), ("10.0.0.1/8", "10.0.0.0/8"),
        ("2001:db8::/32", "2001:db8::/32"), ("10.0", None), ("block", None), ("10", None),
    ],
)  # fmt: skip
def test_a_filter_that_is_a_prefix_is_the_daemons(typed: str, within: str | None) -> None:
    assert View(filter=typed).within == within


def test_a_text_filter_looks_at_every_text_of_a_row() -> None:
    texts = {A: ["192.0.2.1", "host.Example.net"], B: ["198.51.100.7", "block"], C: ["2001:db8::1"]}
    rows = mixed()

    def found(text: str) -> list[str]:
        return addresses(matching(rows, View(filter=text), lambda row: texts[row.address]))

    assert found("example") == [A]
    assert found("BLOCK") == [B]
    assert found("1") == [A, B, C]
    assert found("nobody") == []
    assert found("192.0.2.0/24") == [A]
    assert found("2001:db8::/32") == [C]


def test_what_is_asked_of_the_daemon() -> None:
    query = View(sort="share", of="dropped", descending=False, family="6", filter="10.0.0.0/8").query(100, frozen=False)
    assert query == {
        "sort": "share_now", "of": "dropped", "order": "asc", "limit": 100, "family": "6", "within": "10.0.0.0/8",
    }  # fmt: skip
    assert View(sort="share", cumulative=True).query(5, frozen=False)["sort"] == "share"
    assert View(filter="text").query(5, frozen=False)["limit"] == 1000
    assert View().query(5, frozen=True)["limit"] == 1000
    assert View().query(5000, frozen=False)["limit"] == 1000


def test_a_frozen_order_keeps_its_rows_and_those_that_left_are_silent() -> None:
    frozen = [talker(A, 10), talker(B, 5, 5)]
    now = [talker(C, 99), talker(A, 1)]
    rows = in_frozen_order(now, frozen)
    assert addresses(rows) == [A, B]
    assert rows[0] == now[1]
    assert rows[1].traffic.total.pps == 0
    assert rows[1].traffic.total.packets == frozen[1].traffic.total.packets


traffic = st.builds(
    Traffic, *[st.builds(Flow, st.integers(0, 50), st.integers(0, 50), st.floats(0, 50), st.floats(0, 50))] * 2
)


@given(st.lists(traffic, max_size=12), st.sampled_from(COLUMNS), st.booleans(), st.booleans())
def test_ordering_loses_nobody_and_is_monotonic(many: list[Traffic], sort: str, cumulative: bool, descending: bool):
    rows = [Talker(f"192.0.2.{at}", each) for at, each in enumerate(many)]
    view = View(sort=sort, cumulative=cumulative, descending=descending)
    listed = ordered(rows, view)
    assert sorted(addresses(listed)) == sorted(addresses(rows))
    if sort == "share":
        values = [row.traffic.share(cumulative=cumulative) or 0.0 for row in listed]
    else:
        values = [sum(amount(row, view)) for row in listed]
    assert values == sorted(values, reverse=descending)
