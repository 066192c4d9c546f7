# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.live.text import age, bar, fill, fit, percent, short, spans_of, sparkline
from tests.unit.cli.live.values import text

amounts = st.floats(0, 1e12)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"), (0.4, "0.4"), (3.5, "3.5"), (7, "7"), (99.94, "99.9"), (99.96, "100"), (999, "999"),
        (1000, "1.00k"), (45_600, "45.6k"), (999_499, "999k"), (999_500, "1.00M"), (1.5e13, "15.0T"),
    ],
)  # fmt: skip
def test_short_numbers(value: float, shown: str) -> None:
    assert short(value) == shown


@given(st.floats(0, 9.9e20))
def test_short_numbers_fit_their_column(value: float) -> None:
    assert 1 <= len(short(value)) <= 5


def test_a_share_is_none_or_all_only_if_it_is() -> None:
    assert [percent(share) for share in (None, 0.0, 0.0001, 0.5, 0.9999, 1.0)] == ["", "0%", "1%", "50%", "99%", "100%"]


def test_ages_have_one_unit() -> None:
    assert [age(s) for s in (-3, 0, 59.9, 60, 3599, 3600, 86399, 86400, 1e9)] == [
        "0s", "0s", "59s", "1m", "59m", "1h", "23h", "1d", "999d",
    ]  # fmt: skip


def test_what_does_not_fit_is_cut_and_what_is_not_printable_shown_as_such() -> None:
    assert fit("abcdef", 4) == "abc…"
    assert fit("ab", 4) == "ab  "
    assert fit("ab", 4, right=True) == "  ab"
    assert fit("a\x1b[2Jb", 8) == "a\ufffd[2Jb  "
    assert fit("abc", 0) == ""


@given(st.lists(st.tuples(st.text(max_size=5), st.just("")), max_size=5), st.integers(0, 12))
def test_filled_lines_have_their_width(line: list[tuple[str, str]], width: int) -> None:
    assert len(text(fill(line, width))) == width
    assert text(fill(line, width)).rstrip() == text(line)[:width].rstrip()


@given(amounts, amounts, amounts, st.integers(1, 60))
def test_bars_keep_to_their_width_and_show_whatever_is_there(p: float, d: float, more: float, width: int) -> None:
    line = bar(p, d, p + d + more, width)
    assert len(text(line)) == width
    drawn = text(line).rstrip()
    assert bool(drawn) == (p + d > 0)
    heavy = any(char in drawn for char in "━╸╾")
    assert heavy == (d > 0)
    if p + d > 0 and d == 0:
        assert set(drawn) <= set("─╴")
    if p == 0:
        assert not set(drawn) & set("─╴╾")


def test_bars_are_proportional_to_half_a_cell() -> None:
    assert text(bar(10, 0, 10, 8)) == "────────"
    assert text(bar(5, 0, 10, 8)) == "────    "
    assert text(bar(0, 10, 16, 8)) == "━━━━━   "
    assert text(bar(3, 5, 16, 8)) == "━━╾─    "
    assert text(bar(0, 1, 1e9, 8)) == "╸       "
    assert text(bar(0, 0, 10, 8)) == " " * 8


def test_sparklines_end_at_the_right() -> None:
    assert sparkline([0, 1, 4, 8], 6, 8) == "   ▂▅█"
    assert sparkline([8, 8, 8], 2, 8) == "██"
    assert sparkline([], 3, 0) == "   "
    assert sparkline([0.001], 1, 8) == "▁"


def test_colours_of_a_page_become_styles() -> None:
    assert spans_of("a \x1b[31mred\x1b[0m b \x1b[1mB\x1b[0m") == [
        ("a ", ""), ("red", "dropped"), (" b ", ""), ("B", "bold"),
    ]  # fmt: skip
    assert spans_of("") == []
