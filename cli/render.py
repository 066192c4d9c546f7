# SPDX-License-Identifier: Apache-2.0
"""Text for people: numbers with units, times, tables. Nothing here knows the API."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TextIO

LEFT, RIGHT = "<", ">"
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
_STEPS = ("", "k", "M", "G", "T", "P", "E")


def number(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}"


def scaled(value: float, unit: str) -> str:
    """Three significant digits and an SI step (powers of 1,000)."""
    step = 0
    while value >= 999.5 and step < len(_STEPS) - 1:
        value /= 1000
        step += 1
    if step == 0 and value == int(value):
        text = str(int(value))
    else:
        text = f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"
    return f"{text} {_STEPS[step]}{unit}".rstrip()


def count(value: float) -> str:
    """Packets: exact below 10,000, above with an SI step."""
    return str(int(value)) if value < 10_000 else scaled(value, "")


def size(value: float) -> str:
    """Bytes, in powers of 1,000 as network people count."""
    return scaled(value, "B")


def bits(value: float) -> str:
    return scaled(value, "bit/s")


def rate(value: float) -> str:
    return scaled(value, "pps")


def printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def duration(value: float) -> str:
    """Seconds in the largest unit that fits and the one below it: `1 d 2 h`, `59 m`, `12 s`."""
    rest = max(0, int(value))
    for unit, length, lesser, lesser_length in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if rest >= length:
            second = rest % length // lesser_length
            return f"{rest // length} {unit}" + (f" {second} {lesser}" if second else "")
    return f"{rest} s"


class Screen:
    """Where text for people goes: its width, and whether it takes colour."""

    def __init__(self, stream: TextIO, environment: dict[str, str] | os._Environ[str]) -> None:
        self.stream = stream
        self.tty = stream.isatty()
        self.colour = self.tty and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        self.width = self._terminal_width(environment) if self.tty else None

    def _terminal_width(self, environment: dict[str, str] | os._Environ[str]) -> int | None:
        columns = environment.get("COLUMNS", "")
        if columns.isdigit() and int(columns) > 0:
            return int(columns)
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or None
        except (OSError, ValueError):
            return None

    def paint(self, text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.colour and style else text

    def line(self, text: str = "") -> None:
        self.stream.write(text + "\n")


class Column:
    """A column of a table. One that is `flexible` gives way where the terminal is narrow."""

    def __init__(self, title: str, align: str = LEFT, *, flexible: bool = False, least: int = 0) -> None:
        self.title = title
        self.align = align
        self.flexible = flexible
        self.least = least


Cell = str | tuple[str, str]
"""Text, or (text, style)."""


def _text(cell: Cell) -> str:
    # An operator's comment must not steer the terminal.
    return printable(cell if isinstance(cell, str) else cell[0])


class Table:
    """Aligned columns. The widths come from the rows of the first call of `write`; later calls keep to them as
    long as they can, so a table may be written page by page."""

    GAP = "  "

    def __init__(self, screen: Screen, columns: Sequence[Column]) -> None:
        self.screen = screen
        self.columns = columns
        self.widths: list[int] | None = None

    def write(self, rows: Iterable[Sequence[Cell]]) -> None:
        page = [list(row) for row in rows]
        if self.widths is None:
            self.widths = self._fit(page)
            titles: list[Cell] = [(column.title, "bold") for column in self.columns]
            self._line(titles)
        for row in page:
            self._line(row)

    def _fit(self, page: list[list[Cell]]) -> list[int]:
        widths = [
            max([len(column.title), column.least, *(len(_text(row[at])) for row in page)])
            for at, column in enumerate(self.columns)
        ]
        if self.screen.width is not None:
            over = sum(widths) + len(self.GAP) * (len(widths) - 1) - self.screen.width
            for at, column in enumerate(self.columns):
                if over > 0 and column.flexible:
                    room = max(len(column.title), 8)
                    given = min(over, max(0, widths[at] - room))
                    widths[at] -= given
                    over -= given
        return widths

    def _line(self, row: Sequence[Cell]) -> None:
        assert self.widths is not None
        parts = []
        for cell, column, width in zip(row, self.columns, self.widths, strict=True):
            text, style = _text(cell), "" if isinstance(cell, str) else cell[1]
            if column.flexible and self.screen.width is not None and len(text) > width:
                text = text[: width - 1] + "…"
            padding = " " * (width - len(text))
            painted = self.screen.paint(text, style)
            parts.append(padding + painted if column.align == RIGHT else painted + padding)
        self.screen.line(self.GAP.join(parts).rstrip())
