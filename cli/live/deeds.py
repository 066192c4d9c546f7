# SPDX-License-Identifier: Apache-2.0
"""What keys do beyond looking: block, allow, undo. Requests wait in a thread, the outcome comes back by `call`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cli.client import Client
from cli.errors import UNREACHABLE, Failure
from cli.live.changes import Change, Wish, make, undo
from cli.live.feed import Answers, Feed, Jobs, Question
from cli.live.text import Span
from cli.render import duration

T = TypeVar("T")
DEFAULT_TTL = "1h"


class Deeds:
    """`call(work)` has work done in the application's thread; `say` shows a line."""

    def __init__(
        self,
        client: Callable[[], Client],
        call: Callable[[Callable[[], None]], None],
        say: Callable[[Span], None],
    ) -> None:
        self.client, self.call, self._say = client, call, say
        self._jobs = Jobs(client())
        self._done: list[Change] = []
        self.ttl = DEFAULT_TTL

    def feed(self, question: Answers[T], take: Callable[[Answers[T], T | Failure], None], every: float) -> Feed[T]:
        """Ask again and again. `take(question, answer)` is called in the application's thread."""
        return Feed(self.client(), question, lambda asked, answer: self.call(lambda: take(asked, answer)), every)

    def once(self, question: Question[T], then: Callable[[T | Failure], None]) -> None:
        self._jobs.do(question, lambda answer: self.call(lambda: then(answer)))

    def submit(self, wish: Wish, force: bool, then: Callable[[Change | Failure], None]) -> None:
        self.once(lambda client: make(client, wish, force=force), then)

    def made(self, change: Change) -> None:
        """Remember what was done, and tell."""
        self.ttl = "" if change.wish.ttl is None else duration(change.wish.ttl).replace(" ", "")
        text, effective = change.said()
        if change.written["changed"]:
            self._done.append(change)
            text += "; z undoes it"
        self._say((text, "good" if effective else "warning"))

    def undo(self) -> None:
        if not self._done:
            self._say(("nothing to undo: nothing was blocked or allowed from here", ""))
            return
        change = self._done.pop()
        self._say((f"undoing {change.wish.prefix} in {change.wish.set}…", "dim"))
        self.once(lambda client: undo(client, change), lambda answer: self._undone(change, answer))

    def stop(self) -> None:
        self._jobs.stop()

    def failed(self, failure: Failure) -> None:
        self._say(("; ".join([failure.message, *failure.notes]), "trouble"))

    def _undone(self, change: Change, answer: str | Failure) -> None:
        if isinstance(answer, Failure):
            if answer.code == UNREACHABLE:
                self._done.append(change)
            self.failed(answer)
        else:
            self._say((answer, "good"))
