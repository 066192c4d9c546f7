# SPDX-License-Identifier: Apache-2.0
"""What may stand in place of the table: the keys, and one address (what `xdpfw show` says, live)."""

from __future__ import annotations

import io
from collections.abc import Callable

from cli.client import Document
from cli.errors import Failure
from cli.live.feed import understood
from cli.live.reading import Talker, Traffic
from cli.live.text import Hints, Line, spans_of
from cli.render import Screen, bits, rate
from cli.times import ago
from cli.verbs.status import address_page

KEYS = (
    ("1 2 3 4 5", "sort by pps, bit/s, packets, bytes, dropped share; again: reverse"),
    ("i I", "next interface, the one before"),
    ("f /", "filter: a prefix, or text of an address, name, set, interface"),
    ("d", "all traffic, only passed, only dropped"),
    ("t", "rates, or all that was counted: bars and dropped share"),
    ("u", "bits or bytes per second"),
    ("p", "pause; the counting goes on"),
    ("o", "freeze the order of the rows"),
    ("n", "names (reverse DNS in the background)"),
    ("↑ ↓ PgUp PgDn", "choose a talker; Esc lets go"),
    ("Enter", "all about this address: verdict, entries, where it was seen"),
    ("b a", "block, allow: prefix length, time and comment are asked"),
    ("z", "undo the last block or allow"),
    ("e", "events; Tab: the arrows scroll them, and back"),
    ("q", "quit"),
)


class Scrolled:
    """Lines of which a part is shown."""

    keys: Hints = (("↑ ↓", "scroll"), ("Esc", "back"))

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close
        self._top = 0
        self._height = 1

    def text(self, width: int) -> list[Line]:
        raise NotImplementedError

    def press(self, key: str) -> None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -self._height, "pagedown": self._height,
                 "home": -(1 << 20), "end": 1 << 20}  # fmt: skip
        if key in steps:
            self._top += steps[key]
        elif key in ("escape", "q", "backspace", "enter"):
            self._close()

    def lines(self, width: int, height: int) -> tuple[list[Line], int | None]:
        text = self.text(width)
        self._height = height
        self._top = max(0, min(self._top, len(text) - height))
        return text[self._top : self._top + height], None


class HelpPage(Scrolled):
    def press(self, key: str) -> None:
        """The keys that opened it close it, too."""
        super().press("escape" if key in ("?", "h") else key)

    def text(self, width: int) -> list[Line]:
        return [[], *([(f"  {keys:15}", "key"), (meaning, "")] for keys, meaning in KEYS)]


class AddressPage(Scrolled):
    """`name` tells the address's name, as far as it is known; `press_other` takes the keys that change something."""

    keys: Hints = (("b", "block"), ("a", "allow"), ("z", "undo"), *Scrolled.keys)

    def __init__(
        self,
        talker: Talker,
        name: Callable[[], str | None],
        close: Callable[[], None],
        press_other: Callable[[str, Talker], None],
    ) -> None:
        super().__init__(close)
        self.talker, self._name, self._press_other = talker, name, press_other
        self.answer: tuple[Document, Document | None] | Failure | None = None

    def press(self, key: str) -> None:
        if key in ("b", "a", "z", "n"):
            self._press_other(key, self.talker)
        else:
            super().press(key)

    def text(self, width: int) -> list[Line]:
        if self.answer is None:
            return [[(f"{self.talker.address}: asking the daemon…", "dim")]]
        try:
            if isinstance(self.answer, Failure):
                raise self.answer
            return address_lines(*self.answer, self._name(), width)
        except Failure as failure:
            return [[(f"{self.talker.address}: {failure.message}; trying again", "trouble")]]


def address_lines(shown: Document, talker: Document | None, name: str | None, width: int) -> list[Line]:
    """Raises Failure if the documents are not what they should be."""
    stream = io.StringIO()
    screen = Screen(stream, {})
    screen.colour, screen.width = True, width
    screen.line()
    understood("the daemon", lambda: _write(screen, shown, talker, name))
    return [spans_of(line) for line in stream.getvalue().splitlines()]


def _write(screen: Screen, shown: Document, talker: Document | None, name: str | None) -> None:
    address_page(screen, shown)
    screen.line()
    if name:
        screen.line(f"name      {name}")
    if talker is None:
        screen.line("not among the talkers that are tracked now")
        return
    traffic = Traffic.of(talker)
    for word, flow in (("passes", traffic.passed), ("dropped", traffic.dropped)):
        screen.line(f"{word:8}  {rate(flow.pps)}, {bits(flow.bps)} now")
    screen.line(f"{'tracked':8}  first packet {ago(talker['since'])}, last packet {ago(talker['last_seen'])}")
