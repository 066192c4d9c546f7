# SPDX-License-Identifier: Apache-2.0
"""Lines of styled text on the screen, of which only those that changed are written again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from cli.live.text import Line

# The sixteen colours of the terminal's own palette: whoever chose it, light or dark, can read them.
STYLES = {
    "": Style.null(),
    "bold": Style(bold=True),
    "dim": Style(dim=True),
    "passed": Style(color="green"),
    "dropped": Style(color="red"),
    "bar": Style.null(),
    "bar passed": Style(color="green"),
    "bar dropped": Style(color="red"),
    "warning": Style(color="yellow"),
    "trouble": Style(color="red", bold=True),
    "mark": Style(bold=True, reverse=True),
    "title": Style(underline=True),
    "sorted": Style(reverse=True),
    "key": Style(bold=True),
    "field": Style(underline=True),
    "fresh": Style(underline=True, bold=True),
    "cursor": Style(reverse=True),
    "good": Style(color="green", bold=True),
}
_REVERSE = Style(reverse=True)


def strip_of(line: Line, width: int, *, reverse: bool = False) -> Strip:
    segments = [
        Segment(text, STYLES[style] + _REVERSE if reverse and not style.startswith("bar") else STYLES[style])
        for text, style in line
    ]
    return Strip(segments).adjust_cell_length(width)


class Lines(Widget):
    """Takes its lines by `show`."""

    DEFAULT_CSS = "Lines { height: 1; width: 1fr; }"

    def __init__(self, *, id: str) -> None:
        super().__init__(id=id)
        self._lines: list[tuple[Line, bool]] = []
        self._strips: list[Strip] = []

    def show(self, lines: Sequence[Line], reverse: int | None = None) -> None:
        """Replace all lines; `reverse` is the one with the cursor."""
        wanted = [(line, y == reverse) for y, line in enumerate(lines)]
        width = self.size.width
        stale = {y for y, strip in enumerate(self._strips) if strip.cell_length != width}
        changed = [y for y, each in enumerate(wanted) if y >= len(self._lines) or each != self._lines[y] or y in stale]
        gone = range(len(wanted), len(self._lines))
        self._strips = self._strips[: len(wanted)] + [Strip([])] * (len(wanted) - len(self._strips))
        for y in changed:
            self._strips[y] = strip_of(wanted[y][0], width, reverse=wanted[y][1])
        self._lines = wanted
        regions = [Region(0, top, width, count) for top, count in _runs([*changed, *gone])]
        if regions:
            self.refresh(*regions)

    def render_line(self, y: int) -> Strip:
        return self._strips[y] if y < len(self._strips) else Strip.blank(self.size.width)

    @property
    def text(self) -> list[str]:
        """What stands there, without styles."""
        return ["".join(text for text, _ in line) for line, _ in self._lines]


def _runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """(first, how many) of each run of consecutive numbers."""
    runs = []
    for _, run in groupby(enumerate(numbers), key=lambda each: each[1] - each[0]):
        members = [number for _, number in run]
        runs.append((members[0], len(members)))
    return runs
