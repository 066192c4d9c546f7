# SPDX-License-Identifier: Apache-2.0
"""Pieces of text for the live view: short numbers, bars, sparklines; all of a width that is known beforehand."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from cli.render import printable, scaled

Span = tuple[str, str]
"""Text and the name of its style."""
Line = list[Span]
Hints = tuple[tuple[str, str], ...]
"""Keys and what they do."""

HEAVY, LIGHT = "━", "─"
_HALF_HEAVY, _HALF_LIGHT, _HEAVY_THEN_LIGHT = "╸", "╴", "╾"
_ANSI = re.compile("(\x1b\\[[0-9]*m)")
_STYLES = {"0": "", "1": "bold", "2": "dim", "31": "dropped", "32": "passed", "33": "warning"}
_LEVELS = "▁▂▃▄▅▆▇█"


def short(value: float) -> str:
    """At most five characters: `0`, `3.5`, `999`, `1.23k`, `45.6M`."""
    if value < 99.95 and value != int(value):
        return f"{value:.1f}"
    return scaled(value, "").replace(" ", "")


def percent(share: float | None) -> str:
    """`0%` and `100%` only where it is none or all of it."""
    if share is None:
        return ""
    return f"{100 * share:.0f}%" if share in (0, 1) else f"{min(99, max(1, round(100 * share)))}%"


def age(seconds: float) -> str:
    """At most four characters, in the largest unit that fits."""
    whole = max(0, int(seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if whole >= length:
            return f"{min(whole // length, 999)}{unit}"
    return f"{whole}s"


def fit(text: str, width: int, *, right: bool = False, ellipsis: str = "…") -> str:
    """Exactly `width` characters: cut with an ellipsis, or filled with blanks. Control characters do not survive."""
    text = printable(text)
    if len(text) > width:
        text = (text[: max(0, width - len(ellipsis))] + ellipsis)[: max(0, width)]
    return text.rjust(width) if right else text.ljust(width)


def wrap(text: str, width: int, most: int) -> list[str]:
    """At most so many lines, broken between words; what does not fit is cut with an ellipsis."""
    lines = textwrap.wrap(printable(text), max(width, 1))
    if len(lines) > most:
        lines[most - 1 :] = [fit(" ".join(lines[most - 1 :]), width)]
    return lines


def width_of(line: Line) -> int:
    return sum(len(text) for text, _ in line)


def fill(line: Line, width: int) -> Line:
    """Cut or filled to a width."""
    rest, fitted = width, []
    for text, style in line:
        if rest <= 0:
            break
        if text:
            fitted.append((text[:rest], style))
        rest -= len(text)
    if rest > 0:
        fitted.append((" " * rest, ""))
    return fitted


def hints(keys: Hints) -> Line:
    return [span for key, meaning in keys for span in ((key, "key"), (f" {meaning}  ", "dim"))]


def spans_of(text: str) -> Line:
    """A line with the ANSI colours that `cli.render` writes, as spans."""
    spans: Line = []
    style = ""
    for piece in _ANSI.split(text):
        code = _ANSI.fullmatch(piece)
        if code:
            style = _STYLES[code[0][2:-1]]
        elif piece:
            spans.append((piece, style))
    return spans


def bar(passed: float, dropped: float, most: float, width: int) -> Line:
    """Dropped traffic heavy and red, then passed traffic light; to half a cell, and whatever is there can be seen."""
    every = passed + dropped
    if every <= 0 or most <= 0:
        return [(" " * width, "bar")]
    halves = min(2 * width, max(1, round(2 * width * every / most)))
    heavy = round(halves * dropped / every)
    if 0 < dropped < every:
        heavy = min(max(heavy, 1), max(halves - 1, 1))
    light = halves - heavy
    heavy_text, light_text = HEAVY * (heavy // 2), ""
    if heavy % 2:
        heavy_text += _HEAVY_THEN_LIGHT if light else _HALF_HEAVY
        light -= light > 0
    light_text = LIGHT * (light // 2) + _HALF_LIGHT * (light % 2)
    blank = " " * (width - len(heavy_text) - len(light_text))
    return [(heavy_text, "bar dropped"), (light_text, "bar passed"), (blank, "bar")]


def sparkline(values: Sequence[float], width: int, top: float) -> str:
    """The last `width` values, the newest at the right; nothing at all is blank, a little is the lowest step."""
    shown = values[-width:] if width > 0 else ()
    text = "".join(_level(value, top) for value in shown)
    return text.rjust(max(0, width))


def _level(value: float, top: float) -> str:
    if value <= 0 or top <= 0:
        return " "
    return _LEVELS[min(len(_LEVELS) - 1, int(len(_LEVELS) * value / top))]
