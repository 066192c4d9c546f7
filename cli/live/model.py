# SPDX-License-Identifier: Apache-2.0
"""The state of the live view and the text it shows, without threads and terminal: keys and the feed call methods."""

from __future__ import annotations

import copy
import ipaddress
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from cli.errors import Failure
from cli.live import columns
from cli.live.decide import Decision, Rules
from cli.live.header import Head, header
from cli.live.names import Names
from cli.live.questions import ASKED, Ask
from cli.live.reading import Past, Reading, Situation, Talker
from cli.live.rows import OF, View, amount, in_frozen_order, matching, ordered
from cli.live.text import Line, Span, fill, short
from cli.live.track import Track
from cli.render import number

LATE = 3.0
"""Seconds without an answer after which it is said that there is none."""


@dataclass(slots=True)
class _Held:
    """What is shown: what there is, or what there was when the view was paused."""

    reading: Reading
    track: Track


@dataclass(slots=True)
class Model:
    """`names` is made only when they are wanted."""

    view: View
    names: Callable[[], Names] = Names
    limit: int | None = None
    situation: Situation = field(default_factory=Situation)
    rules: Rules = field(default_factory=Rules)
    reading: Reading | None = None
    trouble: Failure | None = None
    paused: bool = False
    frozen: list[Talker] | None = None
    cursor: str | None = None
    width: int = 80
    height: int = 14
    _tracks: dict[str | None, Track] = field(default_factory=dict)
    _held: _Held | None = None
    _heard: float = 0.0
    _answered: Ask | None = None
    _top: int = 0
    _labels: int = 0
    _addresses: int = 0
    _names: Names | None = None

    # What comes from the daemon

    @property
    def ask(self) -> Ask:
        return Ask(self.view, self.limit or max(ASKED, self.height), self.frozen is not None)

    def take(self, ask: Ask, answer: Reading | Failure, heard: float) -> None:
        """`heard`: when it came, monotonic."""
        if ask.view.interface != self.view.interface:
            return
        if isinstance(answer, Failure):
            self.trouble = answer
            return
        self.trouble = None
        self._heard, self._answered = heard, ask
        self.reading = answer
        self._track.add(answer.at, answer.totals)

    def remember(self, interface: str | None, past: Past) -> None:
        self._tracks.setdefault(interface, Track()).remember(past)

    @property
    def _track(self) -> Track:
        return self._tracks.setdefault(self.view.interface, Track())

    # What keys do

    def change(self, **fields: object) -> None:
        """Change the view. What is paused or frozen is let go when other interfaces' talkers are to be shown."""
        before, self.view = self.view, replace(self.view, **fields)  # type: ignore[arg-type]
        if before.interface != self.view.interface:
            self.reading, self.trouble, self._held, self.paused, self.frozen = None, None, None, False, None
            self._addresses = self._labels = self._top = 0

    def sort(self, column: str) -> None:
        self.view = self.view.sorted_by(column)
        if self.frozen is not None:
            self.frozen = self.rows(thawed=True)

    def turn(self) -> None:
        self.view = self.view.turned()

    def next_interface(self, step: int = 1) -> None:
        ring: list[str | None] = [None, *self.situation.attached]
        at = ring.index(self.view.interface) if self.view.interface in ring else 0
        self.change(interface=ring[(at + step) % len(ring)])

    def next_of(self) -> None:
        self.change(of=OF[(OF.index(self.view.of) + 1) % len(OF)])

    def pause(self) -> None:
        self.paused = not self.paused
        reading = self.reading or Reading()
        self._held = _Held(reading, copy.deepcopy(self._track)) if self.paused else None

    def freeze(self) -> None:
        self.frozen = self.rows() if self.frozen is None else None

    def move(self, step: int) -> None:
        """The cursor keeps to its talker, wherever that goes."""
        rows = self.rows()
        if not rows:
            return
        at = self._position(rows)
        if at is None:
            at = -1 if step > 0 else 0
        self.cursor = rows[min(max(at + step, 0), len(rows) - 1)].address

    def release(self) -> None:
        """No cursor, from the top."""
        self.cursor, self._top = None, 0

    def chosen(self) -> Talker | None:
        """The talker under the cursor; without one, the first."""
        rows = self.rows()
        if not rows:
            return None
        return rows[self._position(rows) or 0]

    # What is shown

    @property
    def shown(self) -> _Held:
        return self._held or _Held(self.reading or Reading(), self._track)

    def rows(self, *, thawed: bool = False) -> list[Talker]:
        talkers: Sequence[Talker] = self.shown.reading.talkers
        if self.frozen is not None and not thawed:
            return matching(in_frozen_order(talkers, self.frozen), self.view, self._texts)
        return ordered(matching(talkers, self.view, self._texts), self.view)[: self.limit]

    def _texts(self, talker: Talker) -> list[str]:
        label = self._decide(talker).label
        return [talker.address, self.name(talker.address) or "", label, *talker.sets, *talker.interfaces]

    def _decide(self, talker: Talker) -> Decision:
        return self.rules.decide(talker, self.view.interface)

    def name(self, address: str) -> str | None:
        if not self.view.names:
            return None
        if self._names is None:
            self._names = self.names()
        return self._names.get(address)

    def _position(self, rows: list[Talker]) -> int | None:
        return next((at for at, talker in enumerate(rows) if talker.address == self.cursor), None)

    def head(self) -> list[Line]:
        shown = self.shown
        return header(Head(self.view, self.situation, shown.reading.totals, shown.track, self._marks()), self.width)

    def _marks(self) -> list[str]:
        view = self.view
        marks = {
            "PAUSED": self.paused,
            "order frozen": self.frozen is not None,
            f"IPv{view.family}": view.family,
            f"{view.of} only": view.of != "total",
            f"in {view.within}": view.within,
            f"“{view.filter.strip()}”": view.filter.strip() and view.within is None,
            "cumulative": view.cumulative,
        }
        return [mark for mark, wanted in marks.items() if wanted]

    def table(self) -> tuple[Line, list[Line], int | None]:
        """Titles, as many rows as fit, and which of them the cursor is on."""
        rows = self.rows()
        at = self._position(rows)
        self._top = self._scrolled(len(rows), at)
        page = rows[self._top : self._top + self.height]
        decisions = [self._decide(talker) for talker in page]
        self._addresses = columns.address_width(page, self._addresses)
        self._labels = columns.label_width([decision.label for decision in decisions], self._labels)
        layout = columns.lay_out(self.width, self.view, self._addresses, self._labels)
        lines = self._lines(page, decisions, layout, max((self._amount(row) for row in rows), default=0.0))
        return columns.titles(layout, self.view), lines, None if at is None else at - self._top

    def _lines(self, page: list[Talker], decisions: list[Decision], layout: columns.Layout, most: float) -> list[Line]:
        now, monitor = self.shown.reading.at, self.situation.mode != "enforce"
        if not page:
            return [fill([(f"  {self._why_empty()}", "dim")], self.width)]
        return [
            columns.line_of(
                columns.Row(self._top + at + 1, talker, decision, self.name(talker.address)),
                layout, self.view, most=most, now=now, monitor=monitor,
            )
            for at, (talker, decision) in enumerate(zip(page, decisions, strict=True))
        ]  # fmt: skip

    def _amount(self, talker: Talker) -> float:
        return sum(amount(talker, self.view))

    def _scrolled(self, many: int, at: int | None) -> int:
        """Where the page begins, so that the cursor is on it."""
        top = self._top if at is not None else 0
        if at is not None:
            top = min(max(top, at - self.height + 1), at)
        return max(0, min(top, many - self.height))

    def _why_empty(self) -> str:
        if self._answered is None or self._answered.view.filter != self.view.filter or self.reading is None:
            return "asking the daemon…"
        if not self.situation.attached:
            return "nothing is attached: xdpfw attach IFACE"
        return "no talker matches the filter" if self.view.filter.strip() else "nobody talks"

    def summary(self) -> Span:
        """What the table does not show, so that it adds up; or why there is no news."""
        if self.trouble is not None:
            return "; ".join([self.trouble.message, *self.trouble.notes, "trying again"]), "trouble"
        late = time.monotonic() - self._heard if self.reading else 0.0
        if late > LATE:
            return f"the daemon has not answered for {late:.0f} s", "trouble"
        shown, rows = self.shown.reading, len(self.rows())
        last = min(self._top + self.height, rows)
        where = f"{self._top + 1}-{last}" if rows else "none"
        looked = len(shown.talkers)
        within = f", of the first {number(looked)} looked at" if rows < looked < shown.tracked else ""
        other = shown.other.total
        text = f"{where} of {number(shown.tracked)} talkers{within}"
        if other.packets:
            plural = "" if other.packets == 1 else "s"
            text += f" · not tracked: {short(other.packets)} packet{plural}, {short(other.pps)} pps now"
        return text, "dim"


def filter_hint(text: str) -> str:
    """What a filter that is being typed means."""
    text = text.strip()
    if not text:
        return "a prefix, an address, or text: part of an address, a name, a set or an interface"
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return f"rows that contain “{text}”"
    return f"addresses in {network}"
