# SPDX-License-Identifier: Apache-2.0
"""The table of talkers: which columns fit, and a talker as one line of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cli.live.decide import Decision
from cli.live.reading import Talker
from cli.live.rows import View, amount
from cli.live.text import Line, age, bar, fill, fit, percent, short

ORDER = ("rank", "address", "name", "pps", "bps", "packets", "bytes", "share", "by", "age", "on", "bar")
_LEFT = ("address", "name", "by", "on", "bar")
_SPACINGS = ((2, 8), (2, 5), (1, 5))
"""(blanks between columns, width of a figure), the airiest first; the first is taken in which all fits."""
_BAR_LEAST, _BAR_MOST = 6, 60
_NAME = 32
_ADDRESS_STEPS = (15, 25, 39)
"""Widths of the address column; it only ever grows, so that columns do not jump."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Columns with their widths, from the left, `gap` blanks between two of them."""

    width: int
    gap: int
    columns: tuple[tuple[str, int], ...]

    def has(self, name: str) -> bool:
        return any(column == name for column, _ in self.columns)

    def width_of(self, name: str) -> int:
        return dict(self.columns).get(name, 0)


def address_width(talkers: Sequence[Talker], at_least: int = 0) -> int:
    longest = max((len(talker.address) for talker in talkers), default=0)
    return max(at_least, next((step for step in _ADDRESS_STEPS if step >= longest), longest))


def label_width(labels: Sequence[str], at_least: int = 0) -> int:
    return max(at_least, 6, min(16, max(map(len, labels), default=0)))


def lay_out(width: int, view: View, addresses: int, labels: int) -> Layout:
    """As many columns as fit, the most telling first; what room is left goes to the bars."""
    for gap, figure in _SPACINGS:
        layout = _lay_out(width, view, addresses, labels, gap, figure)
        if all(map(layout.has, ("packets", "pps", "bar"))):
            break
    return layout


def _lay_out(width: int, view: View, addresses: int, labels: int, gap: int, figure: int) -> Layout:
    sizes = {
        "rank": 3 + (gap > 1), "address": min(addresses, width), "name": _NAME, "share": 5, "by": labels, "age": 4,
        "on": 14, "bar": _BAR_LEAST, **dict.fromkeys(("pps", "bps", "packets", "bytes"), figure),
    }  # fmt: skip
    rates, counts = ("pps", "bps"), ("packets", "bytes")
    first, second = (counts, rates) if view.cumulative else (rates, counts)
    wanted = [("address",), (first[0],), (first[1],), ("share",), ("by",), ("rank",), ("age",), second, ("bar",)]
    wanted += [("name",)] if view.names else []
    wanted += [("on",)] if view.interface is None else []
    chosen: set[str] = set()
    room = width + gap
    for group in wanted:
        need = sum(sizes[name] + gap for name in group)
        if need <= room:
            chosen.update(group)
            room -= need
    if "bar" in chosen:
        sizes["bar"] += min(room, _BAR_MOST - _BAR_LEAST)
    return Layout(width, gap, tuple((name, sizes[name]) for name in ORDER if name in chosen))


def titles(layout: Layout, view: View) -> Line:
    line: Line = []
    for name, width in layout.columns:
        text = _title(name, width, view)
        if name == view.sort and len(text) < width:
            text += "▾" if view.descending else "▴"
        style = "sorted" if name == view.sort else "title"
        line += [(fit(text, width, right=name not in _LEFT), style), (" " * layout.gap, "title")]
    return _padded(line, layout.width, "title")


def _title(name: str, width: int, view: View) -> str:
    if name == "bps":
        return "B/s" if view.octets else "bit/s" if width > 5 else "b/s"
    if name == "packets":
        return name if width > len(name) else "pkts"
    if name == "bar":
        return "" if view.of == "total" else view.of
    return {"rank": "#", "share": "drop"}.get(name, name)


@dataclass(frozen=True, slots=True)
class Row:
    """What one line tells. `name` None: not known (yet)."""

    rank: int
    talker: Talker
    decision: Decision
    name: str | None = None


def line_of(row: Row, layout: Layout, view: View, *, most: float, now: float, monitor: bool) -> Line:
    """`most`: the greatest amount on the page, which has a full bar; `now`: the daemon's time."""
    line: Line = []
    idle = row.talker.traffic.total.pps == 0 and not view.cumulative
    for name, width in layout.columns:
        if name == "bar":
            line += bar(*amount(row.talker, view), most, width)
        else:
            text, style = _CELLS[name](row, layout, view, now)
            if name == "by" and monitor and style == "dropped":
                style = "warning"
            line.append((fit(text, width, right=name not in _LEFT), style or ("dim" if idle else "")))
        line.append((" " * layout.gap, ""))
    return _padded(line, layout.width)


def _padded(line: Line, width: int, style: str = "") -> Line:
    """The gap after the last column gives way to the edge."""
    return fill([*line, (" " * width, style)], width)


_VERDICTS = {"drop": "dropped", "limit": "dropped", "pass": "passed"}
Cell = Callable[[Row, Layout, View, float], tuple[str, str]]


def _address(row: Row, layout: Layout, view: View, now: float) -> tuple[str, str]:
    if view.names and row.name and not layout.has("name"):
        width = layout.width_of("address")
        return (row.name if len(row.name) <= width else "…" + row.name[1 - width :], "")
    return row.talker.address, ""


def _share(row: Row, layout: Layout, view: View, now: float) -> tuple[str, str]:
    share = row.talker.traffic.share(cumulative=view.cumulative)
    return percent(share), "dropped" if share else ""


def _by(row: Row, layout: Layout, view: View, now: float) -> tuple[str, str]:
    return row.decision.label, _VERDICTS.get(row.decision.verdict, "") if row.decision.label else ""


def _figure(quantity: str) -> Cell:
    def cell(row: Row, layout: Layout, view: View, now: float) -> tuple[str, str]:
        value = float(getattr(row.talker.traffic.total, quantity))
        return short(value / 8 if quantity == "bps" and view.octets else value), ""

    return cell


_CELLS: dict[str, Cell] = {
    "rank": lambda row, layout, view, now: (str(row.rank), "dim"),
    "address": _address,
    "name": lambda row, layout, view, now: (row.name or "", ""),
    "share": _share,
    "by": _by,
    "age": lambda row, layout, view, now: (age(now - row.talker.since), ""),
    "on": lambda row, layout, view, now: (" ".join(row.talker.interfaces), "dim"),
    **{name: _figure(name) for name in ("pps", "bps", "packets", "bytes")},
}
