# SPDX-License-Identifier: Apache-2.0
"""Keys to deeds: the one place that knows which key does what. Keys come in their order, one by one, so that what is
typed ahead over a slow line reaches the box that the key before has opened."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

from cli.client import Query
from cli.errors import Failure
from cli.live.changes import Change
from cli.live.decide import Rules
from cli.live.deeds import Deeds
from cli.live.events import EventLog, Tail
from cli.live.feed import Feed
from cli.live.form import EntryForm, Field
from cli.live.model import Model, filter_hint
from cli.live.pages import AddressPage, HelpPage
from cli.live.questions import ADDRESS_EVERY, EVERY, SITUATION_EVERY, Ask, AskAddress, AskPast, AskSituation
from cli.live.reading import Document, Past, Reading, Situation, Talker
from cli.live.rows import COLUMNS
from cli.live.text import Hints, Line, Span, fit, hints, short, width_of, wrap

MESSAGE_LINES = 3
MESSAGE_SECONDS = 12.0
STREAM_TIMEOUT = 600.0
FOOTER: Hints = (("1-5", "sort"), ("i", "interface"), ("f", "filter"), ("b", "block"), ("z", "undo"), ("p", "pause"),
          ("o", "freeze"), ("t", "totals"), ("n", "names"), ("e", "events"), ("a", "allow"), ("u", "units"),
          ("d", "dropped"))  # fmt: skip
LAST: Hints = (("?", "help"), ("q", "quit"))


class Page(Protocol):
    """What stands in place of the table."""

    keys: Hints

    def press(self, key: str) -> None: ...

    def lines(self, width: int, height: int) -> tuple[list[Line], int | None]: ...


class Desk:
    """`quit` ends the view."""

    def __init__(self, model: Model, deeds: Deeds, quit: Callable[[], None]) -> None:
        self.model, self._deeds = model, deeds
        self.pages: list[Page] = []
        self.filter: Field | None = None
        self.log: EventLog | None = None
        self._log_scrolls = False
        self._tail: Tail | None = None
        self._message: Span | None = None
        self._message_until = 0.0
        self._past_asked: set[str | None] = set()
        self._address: Feed[tuple[Document, Document | None]] | None = None
        self._feed: Feed[Reading] = deeds.feed(model.ask, self._read, EVERY)
        self._situation: Feed[tuple[Situation, Rules]] = deeds.feed(AskSituation(), self._situated, SITUATION_EVERY)
        self.key_map: dict[str, Callable[[], None]] = self._map(quit)

    def _map(self, quit: Callable[[], None]) -> dict[str, Callable[[], None]]:
        model = self.model
        keys: dict[str, Callable[[], None]] = {
            **{str(at): self._asking(partial(model.sort, column)) for at, column in enumerate(COLUMNS, 1)},
            "i": self._asking(model.next_interface),
            "I": self._asking(lambda: model.next_interface(-1)),
            "d": self._asking(model.next_of),
            "t": self._asking(model.turn),
            "o": self._asking(model.freeze),
            "p": model.pause,
            "u": lambda: model.change(octets=not model.view.octets),
            "n": lambda: model.change(names=not model.view.names),
            "f": self._open_filter,
            "/": self._open_filter,
            "up": lambda: model.move(-1),
            "k": lambda: model.move(-1),
            "down": lambda: model.move(1),
            "j": lambda: model.move(1),
            "pageup": lambda: model.move(1 - model.height),
            "pagedown": lambda: model.move(model.height - 1),
            "home": lambda: model.move(-(1 << 20)),
            "end": lambda: model.move(1 << 20),
            "escape": model.release,
            "enter": self._open_address,
            "b": lambda: self._open_form("block", model.chosen()),
            "a": lambda: self._open_form("allow", model.chosen()),
            "z": self._deeds.undo,
            "e": self._switch_events,
            "?": self._open_help,
            "h": self._open_help,
            "q": quit,
        }
        return keys

    def _asking(self, work: Callable[[], None]) -> Callable[[], None]:
        """The table will be another one: ask for it at once."""

        def work_and_ask() -> None:
            work()
            self._ask()

        return work_and_ask

    def _ask(self) -> None:
        self._feed.ask(self.model.ask)
        if self._tail is not None and self._tail.query != self._events_wanted:
            self._follow_events()

    def stop(self) -> None:
        for each in (self._feed, self._situation, self._address, self._tail):
            if each is not None:
                each.stop()
        self._deeds.stop()

    # Keys

    def press(self, key: str) -> None:
        """A printable character, or the name of a key."""
        if self.filter is not None:
            self._press_filter(self.filter, key)
        elif self.pages:
            self.pages[-1].press(key)
        elif self.log is not None and key == "tab":
            self._log_scrolls = not self._log_scrolls
        elif self.log is not None and self._log_scrolls and key in _SCROLL:
            self.log.scroll(_SCROLL[key])
        elif key in self.key_map:
            self.key_map[key]()

    def paste(self, text: str) -> None:
        """Only where text is being typed: elsewhere its letters would be commands."""
        if self.filter is not None or (self.pages and isinstance(self.pages[-1], EntryForm)):
            for character in text:
                self.press(character if character.isprintable() else " ")

    def _close(self, page: Page) -> None:
        if page in self.pages:
            self.pages.remove(page)
        if self._address is not None and not any(isinstance(page, AddressPage) for page in self.pages):
            self._address.stop()
            self._address = None

    def _open_filter(self) -> None:
        self.filter = Field(self.model.view.filter, fresh=False)

    def _press_filter(self, field: Field, key: str) -> None:
        if key in ("enter", "escape"):
            self.filter = None
        else:
            field.press(key)
        wanted = "" if key == "escape" else field.text
        if wanted != self.model.view.filter:
            self.model.change(filter=wanted)
            self._ask()

    def _open_form(self, name: str, talker: Talker | None) -> None:
        if talker is None:
            self.say((f"nobody here to {name}", ""))
            return
        self.model.cursor = talker.address

        def close(outcome: Change | Failure | None) -> None:
            self._close(form)
            if isinstance(outcome, Change):
                self._deeds.made(outcome)
            elif isinstance(outcome, Failure):
                self._deeds.failed(outcome)

        form = EntryForm(name, talker, self.model.rows(), self._deeds.ttl, self._deeds.submit, close)
        self.pages.append(form)

    def _open_help(self) -> None:
        page = HelpPage(lambda: self._close(page))
        self.pages.append(page)

    def _open_address(self) -> None:
        talker = self.model.chosen()
        if talker is None:
            return
        page = AddressPage(
            talker, lambda: self.model.name(talker.address), lambda: self._close(page), self._press_on_address
        )
        self.pages.append(page)

        def take(_: object, answer: tuple[Document, Document | None] | Failure) -> None:
            page.answer = answer

        self._address = self._deeds.feed(AskAddress(talker.address), take, ADDRESS_EVERY)

    def _press_on_address(self, key: str, talker: Talker) -> None:
        if key in ("b", "a"):
            self._open_form("block" if key == "b" else "allow", talker)
        else:
            self.key_map[key]()

    def _switch_events(self) -> None:
        if self.log is None:
            self.log = EventLog()
            self._follow_events()
        else:
            self.log, self._log_scrolls = None, False
            self._stop_events()

    @property
    def _events_wanted(self) -> Query:
        return {"interface": self.model.view.interface, "within": self.model.view.within}

    def _follow_events(self) -> None:
        self._stop_events()
        client, log = self._deeds.client(), self.log or EventLog()
        client.timeout = STREAM_TIMEOUT
        self._tail = Tail(client, self._events_wanted, lambda event: self._deeds.call(lambda: log.add(event)))

    def _stop_events(self) -> None:
        if self._tail is not None:
            self._tail.stop()
            self._tail = None

    # What comes in

    def say(self, message: Span) -> None:
        self._message, self._message_until = message, time.monotonic() + MESSAGE_SECONDS
        self._refresh()

    def _refresh(self) -> None:
        """Something was changed: look at once what became of it."""
        self._feed.ask(self.model.ask)
        if self._address is not None:
            self._address.ask(self._address.question)

    def _read(self, ask: object, answer: Reading | Failure) -> None:
        assert isinstance(ask, Ask)
        self.model.take(ask, answer, time.monotonic())
        interface = self.model.view.interface
        if isinstance(answer, Reading) and interface == ask.view.interface and interface not in self._past_asked:
            self._past_asked.add(interface)
            self._deeds.once(AskPast(interface), lambda past: self._remember(interface, past))

    def _remember(self, interface: str | None, past: Past | Failure) -> None:
        if isinstance(past, Past):
            self.model.remember(interface, past)

    def _situated(self, _: object, answer: tuple[Situation, Rules] | Failure) -> None:
        # The other feed tells when the daemon does not answer.
        if not isinstance(answer, Failure):
            self.model.situation, self.model.rules = answer

    # What is shown

    def body(self, width: int, height: int) -> tuple[list[Line], int | None]:
        """What stands below the header: the table with its titles, or a page, and the events."""
        events: list[Line] = []
        if self.log is not None:
            share = max(3, 2 * height // 5)
            style = "sorted" if self._log_scrolls else "title"
            events = [[(fit(self._events_title(), width), style)], *self.log.lines(width, share - 1)]
            events += [[] for _ in range(share - len(events))]
            height -= share
        self.model.height = max(1, height - 1)
        if self.pages:
            lines, cursor = self.pages[-1].lines(width, height)
        else:
            titles, rows, at = self.model.table()
            lines, cursor = [titles, *rows], None if at is None else at + 1
        if events:
            lines = [*lines[:height], *([] for _ in range(height - len(lines))), *events]
        return lines, cursor

    def _events_title(self) -> str:
        counted = self.model.situation.events
        if not counted or not any(counted):
            return "events"
        lost, limited = map(short, counted)
        return f"events · lost {lost}, beyond the bounds {limited}, since the daemon began"

    def bottom(self, width: int) -> list[Line]:
        """A message, or what the table does not show; then the keys."""
        if self.filter is not None:
            hint = filter_hint(self.filter.text)
            room = max(8, min(40, width - 10))
            typed: Line = [("filter ", "bold"), *self.filter.line(room, active=True), (f"  {hint}", "dim")]
            return [typed, hints((("Enter", "keep"), ("Esc", "no filter")))]
        told = self._message is not None and time.monotonic() < self._message_until
        text, style = self._message if told and self._message else self.model.summary()
        said: list[Line] = [[(line, style)] for line in wrap(text, width, MESSAGE_LINES)]
        return [*said, hints(self.pages[-1].keys) if self.pages else footer(width)]


_SCROLL = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -10, "pagedown": 10, "home": -(1 << 20), "end": 1 << 20}


def footer(width: int) -> Line:
    """As many keys as fit; help and the way out always."""
    shown = FOOTER
    while shown and width_of(hints(shown + LAST)) > width:
        shown = shown[:-1]
    return hints(shown + LAST)
