# SPDX-License-Identifier: Apache-2.0
"""The terminal: keys go to the desk, its lines come on the screen."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message

from cli.client import Client
from cli.errors import DONE, INTERRUPTED
from cli.live.deeds import Deeds
from cli.live.desk import Desk
from cli.live.model import Model
from cli.live.text import fill
from cli.live.widgets import Lines

SOONEST = 0.1
"""Seconds between two repaintings that nobody asked for by a key (events may come by the hundred)."""


class Call(Message):
    """From another thread: something to be done in the application's own."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self.work = work


def keys_of(event: events.Key) -> list[str]:
    """As the desk takes them. Escape and a key that follow each other at once look like Alt with that key."""
    if event.key.startswith("alt+"):
        return ["escape", event.key.removeprefix("alt+")]
    character = event.character
    return [character if character and character.isprintable() else event.key]


class TopApp(App[int]):
    """`client` makes a client of its own for each thread."""

    CSS = "Screen { layout: vertical; } #body { height: 1fr; }"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "interrupt", priority=True),
        Binding("ctrl+z", "suspend_process", priority=True),
        Binding("ctrl+l", "redraw", priority=True),
    ]

    def __init__(self, model: Model, client: Callable[[], Client]) -> None:
        super().__init__(ansi_color=True)
        self.model, self._client = model, client
        self.desk: Desk | None = None
        self._due = False
        self._head, self._body, self._bottom = (Lines(id=name) for name in ("head", "body", "bottom"))

    def compose(self) -> ComposeResult:
        yield from (self._head, self._body, self._bottom)

    def on_mount(self) -> None:
        self.theme = "ansi-dark"
        deeds = Deeds(self._client, self._later, self._say)
        self.desk = Desk(self.model, deeds, lambda: self.exit(DONE))
        self.set_interval(1.0, self.paint)
        # The terminal has forgotten what stood there.
        self.app_resume_signal.subscribe(self, lambda _: self.action_redraw())

    def on_unmount(self) -> None:
        if self.desk is not None:
            self.desk.stop()

    def _later(self, work: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop ended while the thread was about to tell
            self.post_message(Call(work))

    def _say(self, message: tuple[str, str]) -> None:
        assert self.desk is not None
        self.desk.say(message)

    def on_call(self, call: Call) -> None:
        call.work()
        if not self._due:
            self._due = True
            self.set_timer(SOONEST, self._paint_due)

    def _paint_due(self) -> None:
        self._due = False
        self.paint()

    def on_key(self, event: events.Key) -> None:
        event.stop()
        event.prevent_default()
        if self.desk is not None:
            for key in keys_of(event):
                self.desk.press(key)
            self.paint()

    def on_paste(self, event: events.Paste) -> None:
        if self.desk is not None:
            self.desk.paste(event.text)
            self.paint()

    def on_resize(self) -> None:
        self.call_after_refresh(self.paint)

    def action_redraw(self) -> None:
        for lines in (self._head, self._body, self._bottom):
            lines.refresh()

    def paint(self) -> None:
        """Show what there is now; only lines that changed are written."""
        width, height = self.size
        if self.desk is None or not width or not self._body.is_attached:
            return
        self.model.width = width
        below = len(self.desk.bottom(width))
        head = self.model.head()[: max(1, height - below - 2)]
        self._head.styles.height, self._bottom.styles.height = len(head), below
        body, cursor = self.desk.body(width, max(1, height - len(head) - below))
        self._head.show(head)
        self._body.show([fill(line, width) for line in body], cursor)
        # It tells which rows the body shows.
        self._bottom.show([fill(line, width) for line in self.desk.bottom(width)[-below:]])

    def action_interrupt(self) -> None:
        self.exit(INTERRUPTED)


def run(model: Model, client: Callable[[], Client]) -> int:
    """Until the user leaves; answers the exit code."""
    if not os.environ.get("NO_COLOR"):
        # Textual takes the empty variable for a wish too; no-color.org does not.
        os.environ.pop("NO_COLOR", None)
    for name in ("COLUMNS", "LINES"):
        # They would win over the terminal itself, which may be another one by now, or change its size.
        os.environ.pop(name, None)
    # Without the mouse, the terminal's own selecting and copying work.
    code = TopApp(model, client).run(mouse=False)
    return DONE if code is None else code
