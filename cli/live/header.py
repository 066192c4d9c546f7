# SPDX-License-Identifier: Apache-2.0
"""The lines above the table: which interface and how it filters, totals with averages and peaks, the last minutes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from cli.live.reading import Situation, Traffic
from cli.live.rows import View
from cli.live.text import Line, fill, fit, short, sparkline, width_of, wrap
from cli.live.track import Track

_LABEL = 8
_GAP = 2
_KINDS = ("passed", "dropped", "total")
AVERAGES = (2.0, 10.0, 40.0)
_WIDE_GRAPH = 24
"""Fewer cells than that beside the figures, and the graph gets a line of its own."""
_NOTE_LINES = 2
_NAMED = 4
"""More interfaces than that are only counted."""
_COLUMN_SETS = (("now", "10s", "40s", "peak", "all"), ("now", "10s", "peak", "all"), ("now", "peak", "all"),
                ("now", "all"), ("now",))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Head:
    """What the header tells. `marks`: what differs from the usual view (paused, filtered…)."""

    view: View
    situation: Situation
    totals: Traffic
    track: Track
    marks: Sequence[str] = ()


def header(head: Head, width: int) -> list[Line]:
    """Six or seven lines, or as many as there are figures to show beside the graph."""
    cell = 9 if width >= 130 else 7
    columns = _columns(width, cell)
    figures = [_title_line(columns, cell, head.view), *_figure_lines(head, columns, cell)]
    room = width - width_of(figures[0]) - _GAP
    lines = [_first_line(head, width)]
    if room >= _WIDE_GRAPH:
        graphs = _graphs(head.track, room)
        figures = [[*fill(line, width - room), *graph] for line, graph in zip(figures, graphs, strict=True)]
        lines += figures
    else:
        lines += [*figures, [(fit("trend", _LABEL), "dim"), *_trend(head.track, width - _LABEL)]]
    lines += [[(text, "warning")] for text in wrap("; ".join(head.situation.notes), width, _NOTE_LINES)]
    return [fill(line, width) for line in lines]


def _first_line(head: Head, width: int) -> Line:
    view, situation = head.view, head.situation
    mode = "enforce" if situation.mode == "enforce" else "MONITOR: nothing is dropped"
    said = [_attach_mode(view, situation), mode, f"default {situation.default}", f"revision {situation.revision}"]
    name = view.interface or "all interfaces"
    marks = "  ".join(head.marks)
    room = max(0, width - len(name) - 2 - (len(marks) + 2 if marks else 0))
    text = fit(" · ".join(said), room)
    line: Line = [(name, "bold"), ("  ", ""), (text, "" if situation.mode == "enforce" else "warning")]
    return [*line, ("  ", ""), (marks, "mark")] if marks else line


def _attach_mode(view: View, situation: Situation) -> str:
    links = [link for link in situation.links if link.mode and view.interface in (None, link.name)]
    if not links:
        return "not attached" if view.interface else "nothing is attached"
    modes = list(dict.fromkeys(str(link.mode) for link in links))
    if view.interface:
        return modes[0]
    names = " ".join(link.name for link in links) if len(links) <= _NAMED else f"{len(links)} attached"
    return f"{names} ({', '.join(modes)})"


def _columns(width: int, cell: int) -> tuple[str, ...]:
    room = (width - _LABEL - _GAP) // cell
    return next((columns for columns in _COLUMN_SETS if 2 * len(columns) <= room), _COLUMN_SETS[-1])


def _title_line(columns: Sequence[str], cell: int, view: View) -> Line:
    text = " " * _LABEL
    unit = "B/s" if view.octets else "bit/s" if cell > 8 else "b/s"
    for block, (first, last) in enumerate((("pps", "packets"), (unit, "bytes"))):
        names = {"now": f"{first} 2s", "all": last if len(last) < cell else "pkts"}
        text += " " * _GAP * block + "".join(names.get(column, column).rjust(cell) for column in columns)
    return [(text, "dim")]


def _figure_lines(head: Head, columns: Sequence[str], cell: int) -> list[Line]:
    averages = [head.track.average(seconds) or head.totals for seconds in AVERAGES[1:]]
    lines = []
    for at, kind in enumerate(_KINDS):
        pick = attrgetter(kind)
        flows = {
            "now": pick(head.totals), "10s": pick(averages[0]), "40s": pick(averages[1]), "peak": head.track.peaks[at],
        }  # fmt: skip
        everything = pick(head.totals)
        style = "dropped" if kind == "dropped" and everything.packets else ""
        line: Line = [(fit(kind, _LABEL), style or "bold" * (kind == "total"))]
        for block, (rate, count) in enumerate((("pps", "packets"), ("bps", "bytes"))):
            line.append((" " * _GAP * block, ""))
            for column in columns:
                value = getattr(everything, count) if column == "all" else getattr(flows[column], rate)
                value = value / 8 if rate == "bps" and column != "all" and head.view.octets else value
                line.append((short(value).rjust(cell), style if column == "now" else ""))
        lines.append(line)
    return lines


def _graphs(track: Track, width: int) -> list[Line]:
    """Packets a second of passed, dropped and all, on one scale, under a line that names it."""
    seconds = list(track.seconds)[-width:]
    top = max((each.total.pps for each in seconds), default=0.0)
    lines: list[Line] = [[(f"last {min(len(seconds), width)} s, up to {short(top)} pps".rjust(width), "dim")]]
    for kind, style in zip(_KINDS, ("passed", "dropped", ""), strict=True):
        pick = attrgetter(kind)
        lines.append([(sparkline([pick(each).pps for each in seconds], width, top), style)])
    return lines


def _trend(track: Track, width: int) -> Line:
    """All packets a second; red where most of them were dropped."""
    if width <= 0:
        return []
    seconds = list(track.seconds)[-width:]
    top = max((each.total.pps for each in seconds), default=0.0)
    text = sparkline([each.total.pps for each in seconds], width, top)
    styles = ["dropped" if 2 * each.dropped.pps > each.total.pps else "passed" for each in seconds]
    blank = width - len(seconds)
    runs = groupby(zip(text[blank:], styles, strict=True), key=lambda each: each[1])
    return [(" " * blank, ""), *(("".join(char for char, _ in run), style) for style, run in runs)]
