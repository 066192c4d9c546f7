# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.live.header import Head, header
from cli.live.reading import Flow, Link, Situation, Traffic
from cli.live.rows import View
from cli.live.text import Line
from cli.live.track import Track
from tests.unit.cli.live.values import text

SITUATION = Situation(
    (Link("eth0", "native", None), Link("eth1", "generic", "the driver cannot"), Link("eth2", None, None)),
    42, "pass", "enforce",
)  # fmt: skip


def tracked(seconds: int = 60) -> tuple[Track, Traffic]:
    """1,000 packets of 100 bytes a second pass, and 3,000 of 50 are dropped in the last ten seconds alone."""
    track, totals = Track(), Traffic()
    for half in range(2 * seconds + 1):
        time = half / 2
        lost = max(0.0, time - (seconds - 10))
        now = 3000 if time > seconds - 10 else 0
        totals = Traffic(
            Flow(int(1000 * time), int(100_000 * time), 1000, 800_000),
            Flow(int(3000 * lost), int(150_000 * lost), now, now * 400),
        )
        track.add(time, totals)
    return track, totals


def head(
    width: int, view: View | None = None, situation: Situation = SITUATION, marks: tuple[str, ...] = ()
) -> list[Line]:
    track, totals = tracked()
    return header(Head(view or View("eth0"), situation, totals, track, marks), width)


def rows(width: int, **more: object) -> dict[str, list[str]]:
    lines = [text(line) for line in head(width, **more)]  # type: ignore[arg-type]
    return {line.split()[0]: line.split()[1:] for line in lines[2:5]}


def test_totals_averages_and_peaks() -> None:
    figures = rows(80)
    #                            2s      10s      40s      peak     all
    assert figures["passed"] == ["1.00k", "1.00k", "1.00k", "1.00k", "60.0k", "800k", "800k", "800k", "800k", "6.00M"]
    assert figures["dropped"] == ["3.00k", "3.00k", "750", "3.00k", "30.0k", "1.20M", "1.20M", "300k", "1.20M", "1.50M"]
    assert figures["total"] == [
        "4.00k",
        "4.00k",
        "1.75k",
        "4.00k",
        "90.0k",
        "2.00M",
        "2.00M",
        "1.10M",
        "2.00M",
        "7.50M",
    ]


def test_bytes_instead_of_bits_in_rates_alone() -> None:
    figures = rows(80, view=View("eth0", octets=True))
    assert figures["passed"][5:] == ["100k", "100k", "100k", "100k", "6.00M"]
    assert "B/s 2s" in text(head(80, View("eth0", octets=True))[1])


@pytest.mark.parametrize("width", [10, 24, 40, 60, 79, 80, 109, 110, 129, 130, 200, 300])
def test_every_line_has_the_width_of_the_terminal(width: int) -> None:
    for view in (View(), View("eth0"), View("eth9")):
        for line in head(width, view, marks=("PAUSED", "in 10.0.0.0/8")):
            assert len(text(line)) == width


@given(st.integers(1, 250), st.lists(st.integers(0, 10**12), max_size=5))
def test_any_history_fits_any_width(width: int, steps: list[int]) -> None:
    track, packets, totals = Track(), 0, Traffic()
    for second, more in enumerate(steps):
        packets += more
        totals = Traffic(Flow(packets, packets), Flow())
        track.add(float(second), totals)
    for line in header(Head(View(), Situation(), totals, track), width):
        assert len(text(line)) == width


def test_narrow_terminals_leave_out_averages_first() -> None:
    assert "40s" in text(head(80)[1])
    assert "40s" not in text(head(70)[1])
    assert text(head(40)[1]).split() == ["pps", "2s", "pkts", "b/s", "2s", "bytes"]


def test_mode_policy_and_revision_stand_in_the_first_line() -> None:
    assert text(head(100)[0]).split("  ")[0] == "eth0"
    assert "native · enforce · default pass · revision 42" in text(head(100)[0])
    assert "all interfaces  eth0 eth1 (native, generic)" in text(head(100, View())[0])
    assert "not attached" in text(head(100, View("eth2"))[0])
    assert "nothing is attached" in text(head(100, View(), Situation())[0])
    many = replace(SITUATION, links=tuple(Link(f"eth{n}", "native", None) for n in range(12)))
    assert "12 attached (native)" in text(head(100, View(), many)[0])


def test_monitor_mode_cannot_be_overlooked() -> None:
    line = head(100, situation=replace(SITUATION, mode="monitor"))[0]
    assert ("MONITOR: nothing is dropped" in text(line), "warning" in {style for _, style in line}) == (True, True)


def test_marks_and_warnings_are_shown() -> None:
    line = head(80, marks=("PAUSED", "order frozen"))[0]
    assert text(line).endswith("PAUSED  order frozen")
    assert line[-1][1] == "mark"
    last = head(80, situation=replace(SITUATION, notes=("the clock was stepped",)))[-1]
    assert text(last).startswith("the clock was stepped")
    assert last[0][1] == "warning"


def test_the_graph_tells_when_most_was_dropped() -> None:
    line = head(80)[5]
    assert text(line).startswith("trend")
    graph = [(piece, style) for piece, style in line if style in ("passed", "dropped")]
    assert [style for _, style in graph] == ["passed", "dropped"]
    assert len(graph[-1][0]) == 10
    assert set(graph[-1][0]) == {"█"}


def test_on_a_wide_terminal_the_graphs_stand_beside_the_figures_on_one_scale() -> None:
    lines = head(200)
    assert len(lines) == 5
    assert "up to 4.00k pps" in text(lines[1])
    passed, dropped, total = (text(line)[-12:] for line in lines[2:])
    assert passed == "▃" * 12
    assert dropped == "  " + "▇" * 10
    assert total == "▃▃" + "█" * 10
