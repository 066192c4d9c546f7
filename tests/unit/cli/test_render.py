# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io

import pytest

from cli import render
from cli.render import RIGHT, Column, Screen, Table


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(screen: Screen) -> list[str]:
    assert isinstance(screen.stream, io.StringIO)
    return screen.stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"), (1, "1 B"), (999, "999 B"), (1000, "1.00 kB"), (1234, "1.23 kB"), (12_345, "12.3 kB"),
        (123_456, "123 kB"), (999_499, "999 kB"), (999_500, "1.00 MB"), (10**9, "1.00 GB"), (5 * 10**15, "5.00 PB"),
    ],
)  # fmt: skip
def test_sizes_have_three_digits_and_a_unit(value: int, text: str) -> None:
    assert render.size(value) == text


def test_rates_are_bits_and_packets() -> None:
    assert render.bits(1_500_000.0) == "1.50 Mbit/s"
    assert render.rate(0.5) == "0.50 pps"
    assert render.rate(0) == "0 pps"


def test_small_counts_are_exact_and_large_ones_are_short() -> None:
    assert render.count(9999) == "9999"
    assert render.count(1_234_567) == "1.23 M"
    assert render.number(1_234_567) == "1,234,567"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (-5, "0 s"), (59.9, "59 s"), (60, "1 m"), (61, "1 m 1 s"), (3600, "1 h"), (3661, "1 h 1 m"),
     (86400, "1 d"), (90000, "1 d 1 h"), (86401, "1 d")],
)  # fmt: skip
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert render.duration(seconds) == text


def test_a_table_is_aligned() -> None:
    screen = Screen(io.StringIO(), {})
    Table(screen, [Column("name"), Column("n", RIGHT), Column("comment")]).write(
        [["a", "1", ""], ["longer", "1,000", "x"]]
    )
    assert lines(screen) == [
        "name        n  comment",
        "a           1",
        "longer  1,000  x",
    ]


def test_a_table_may_be_written_page_by_page() -> None:
    screen = Screen(io.StringIO(), {})
    table = Table(screen, [Column("name"), Column("n", RIGHT)])
    table.write([["abc", "1"]])
    table.write([["d", "2"]])
    assert lines(screen) == ["name  n", "abc   1", "d     2"]


def test_without_rows_there_are_titles() -> None:
    screen = Screen(io.StringIO(), {})
    Table(screen, [Column("name")]).write([])
    assert lines(screen) == ["name"]


def test_a_narrow_terminal_cuts_the_flexible_column_alone() -> None:
    screen = Screen(Terminal(), {"COLUMNS": "24", "NO_COLOR": "1"})
    Table(screen, [Column("prefix"), Column("comment", flexible=True)]).write([["198.51.100.0/24", "x" * 40]])
    _, row = lines(screen)
    assert row == "198.51.100.0/24  xxxxxxx…"


def test_what_is_no_terminal_is_never_cut() -> None:
    screen = Screen(io.StringIO(), {"COLUMNS": "10"})
    Table(screen, [Column("comment", flexible=True)]).write([["x" * 40]])
    assert lines(screen)[1] == "x" * 40


def test_colour_is_for_terminals_that_want_it() -> None:
    assert Screen(Terminal(), {}).paint("a", "red") == "\x1b[31ma\x1b[0m"
    assert Screen(Terminal(), {"NO_COLOR": "1"}).paint("a", "red") == "a"
    assert Screen(Terminal(), {"TERM": "dumb"}).paint("a", "red") == "a"
    assert Screen(io.StringIO(), {}).paint("a", "red") == "a"


def test_colour_does_not_disturb_the_alignment() -> None:
    screen = Screen(Terminal(), {"COLUMNS": "80"})
    Table(screen, [Column("a"), Column("b")]).write([[("x", "red"), "y"], ["long", "z"]])
    assert lines(screen)[1] == "\x1b[31mx\x1b[0m     y"


def test_a_comment_cannot_steer_the_terminal() -> None:
    screen = Screen(Terminal(), {"COLUMNS": "80", "NO_COLOR": "1"})
    Table(screen, [Column("comment")]).write([["\x1b[2Jgone\r\n"]])
    assert lines(screen)[1] == "\ufffd[2Jgone\ufffd\ufffd"
