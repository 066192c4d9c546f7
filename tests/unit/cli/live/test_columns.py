# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.live.columns import Layout, Row, address_width, label_width, lay_out, line_of, titles
from cli.live.decide import Decision
from cli.live.reading import Flow, Talker, Traffic
from cli.live.rows import COLUMNS, View
from tests.unit.cli.live.values import NOW, talker, text

LONG = "2001:db8:1111:2222:3333:4444:5555:6666"
BLOCK = Decision("block", "drop")


def names(layout: Layout) -> list[str]:
    return [name for name, _ in layout.columns]


def drawn(row: Row, layout: Layout, view: View, most: float = 100) -> str:
    return text(line_of(row, layout, view, most=most, now=NOW, monitor=False))


views = st.builds(
    View,
    interface=st.sampled_from([None, "eth0"]),
    sort=st.sampled_from(COLUMNS),
    of=st.sampled_from(["total", "passed", "dropped"]),
    cumulative=st.booleans(),
    octets=st.booleans(),
    names=st.booleans(),
)
flows = st.builds(Flow, *[st.integers(0, 10**15)] * 2, *[st.floats(0, 1e15)] * 2)


@given(st.integers(10, 250), views, st.sampled_from(["192.0.2.1", LONG]), flows, flows, st.integers(1, 10**6))
def test_lines_are_exactly_as_wide_as_the_terminal(
    width: int, view: View, address: str, passed: Flow, dropped: Flow, rank: int
) -> None:
    row = Row(rank, Talker(address, Traffic(passed, dropped), 0, 0, ("block",), ("eth0", "eth1")), BLOCK, "a.example")
    layout = lay_out(width, view, address_width([row.talker]), label_width(["block"]))
    assert len(drawn(row, layout, view, 10**16)) == width
    assert len(text(titles(layout, view))) == width
    assert "address" in names(layout)
    assert len(names(layout)) == 1 or sum(size + layout.gap for _, size in layout.columns) - layout.gap <= width


def test_at_eighty_columns_every_column_of_ipv4_is_there() -> None:
    layout = lay_out(80, View(interface="eth0"), 15, 6)
    assert names(layout) == ["rank", "address", "pps", "bps", "packets", "bytes", "share", "by", "age", "bar"]
    assert layout.width_of("bar") >= 8


def test_at_eighty_columns_a_whole_ipv6_address_stands_with_its_bar() -> None:
    layout = lay_out(80, View(interface="eth0"), address_width([talker(LONG)]), 6)
    assert names(layout) == ["rank", "address", "pps", "bps", "share", "by", "age", "bar"]
    assert LONG in drawn(Row(1, talker(LONG, 10), BLOCK), layout, View())


def test_narrow_terminals_keep_what_matters_for_the_view() -> None:
    assert names(lay_out(40, View(), 15, 6))[:3] == ["address", "pps", "bps"]
    assert names(lay_out(40, View(cumulative=True), 15, 6))[:3] == ["address", "packets", "bytes"]
    assert names(lay_out(10, View(), 15, 6)) == ["address"]


def test_a_wide_terminal_has_names_and_interfaces() -> None:
    view = View(names=True)
    layout = lay_out(200, view, 39, 6)
    assert {"name", "on"} <= set(names(layout))
    line = drawn(Row(1, talker("192.0.2.1", 10, interfaces=("eth0", "eth1")), BLOCK, "a.example"), layout, view)
    assert "a.example" in line
    assert "eth0 eth1" in line


def test_without_room_for_a_column_the_name_stands_for_the_address_and_keeps_its_end() -> None:
    view = View(interface="eth0", names=True)
    layout = lay_out(80, view, 15, 6)
    row = Row(1, talker("192.0.2.1", 10), BLOCK, "customer-17.access.example.net")
    assert "…ss.example.net" in drawn(row, layout, view)
    assert "192.0.2.1" in drawn(Row(1, row.talker, BLOCK, None), layout, view)


def cells(line: str) -> list[str]:
    return line.split()


def test_a_row_tells_everything() -> None:
    view = View(interface="eth0")
    row = Row(3, talker("192.0.2.1", 30, 90, sets=("block",)), BLOCK)
    line = drawn(row, lay_out(100, view, 15, 6), view)
    # 120 pps of 100 bytes over 10 s: 96 kbit/s, 1,200 packets, 120 kB; 90 of 120 dropped; first seen 10 s ago
    assert cells(line)[:9] == ["3", "192.0.2.1", "120", "96.0k", "1.20k", "120k", "75%", "block", "10s"]
    assert cells(line)[9].startswith("━")


def test_bytes_per_second_instead_of_bits() -> None:
    view = View(interface="eth0", octets=True)
    layout = lay_out(100, view, 15, 6)
    assert "B/s" in text(titles(layout, view))
    assert "12.0k" in cells(drawn(Row(1, talker("192.0.2.1", 30, 90), BLOCK), layout, view))


@pytest.mark.parametrize("column", COLUMNS)
def test_the_sorted_column_is_marked_in_its_title(column: str) -> None:
    for descending in (True, False):
        view = View(sort=column, descending=descending)
        line = titles(lay_out(200, view, 15, 6), view)
        [marked] = [piece for piece, style in line if style == "sorted"]
        titled = {"bps": "bit/s", "share": "drop"}.get(column, column)
        assert titled in marked
        assert ("▾" if descending else "▴") in marked


def test_who_is_silent_is_dim_and_who_is_dropped_red_but_yellow_in_monitor_mode() -> None:
    view = View(interface="eth0")
    layout = lay_out(100, view, 15, 6)

    def styles(one: Talker, *, monitor: bool = False) -> dict[str, str]:
        line = line_of(Row(1, one, BLOCK), layout, view, most=100, now=NOW, monitor=monitor)
        return {piece.strip(): style for piece, style in line if piece.strip()}

    assert styles(talker("192.0.2.1").silent())["192.0.2.1"] == "dim"
    assert styles(talker("192.0.2.1", 1))["192.0.2.1"] == ""
    assert styles(talker("192.0.2.1", 0, 10))["100%"] == "dropped"
    assert styles(talker("192.0.2.1", 10))["block"] == "dropped"
    assert styles(talker("192.0.2.1", 10), monitor=True)["block"] == "warning"


def test_the_address_column_only_grows() -> None:
    assert address_width([]) == 15
    assert address_width([talker("2001:db8::1")], 15) == 15
    assert address_width([talker(LONG)], 15) == 39
    assert address_width([talker("192.0.2.1")], 39) == 39
    assert label_width(["default"], 6) == 7
    assert label_width(["x" * 60]) == 16
