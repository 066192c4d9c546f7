# SPDX-License-Identifier: Apache-2.0
"""What the live view asks the daemon, again and again. A question is called with a client, in a feed's thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from cli.client import Answer, Client, Document, segment
from cli.errors import Refused
from cli.live.decide import Rules
from cli.live.feed import understood
from cli.live.reading import Past, Reading, Situation
from cli.live.rows import View
from cli.live.track import SECONDS
from cli.sse import MEDIA_TYPE, messages

EVERY, SITUATION_EVERY, ADDRESS_EVERY = 0.5, 2.0, 1.0
ASKED = 100
"""Talkers to ask for, unless the screen is higher."""
MOST_RULES = 10_000
NOT_MODIFIED, BUSY = 304, 503


@dataclass(frozen=True, slots=True)
class Ask:
    """Who talks, as the view wants it."""

    view: View
    limit: int = ASKED
    frozen: bool = False

    def __call__(self, client: Client) -> Iterator[Reading]:
        """A stream: all who watch share the daemon's reading. Where it has no more streams to give, one answer."""
        path = f"{_scope(self.view.interface)}/talkers"
        query = self.view.query(self.limit, frozen=self.frozen)
        try:
            for answer in messages(client.lines(f"{path}/stream", query | {"interval": EVERY}, MEDIA_TYPE)):
                yield understood(client.target, partial(Reading.of, answer))
        except Refused as refused:
            if refused.status != BUSY:
                raise
            once = client.get(path, query)
            yield understood(client.target, partial(Reading.of, once))


class AskSituation:
    """Status, and the rules when they have changed."""

    def __init__(self) -> None:
        self._documents: list[Document] = []
        self._tag: str | None = None
        self._rules = Rules()

    def __call__(self, client: Client) -> Iterator[tuple[Situation, Rules]]:
        status = client.get("/status")
        answer = client.read("/rules", {"limit": MOST_RULES}, known=self._tag)
        yield understood(
            client.target, lambda: (Situation.of(status), self._ruled(answer, status["policy"]["default"]))
        )

    def _ruled(self, answer: Answer, default: str) -> Rules:
        known = answer.status == NOT_MODIFIED
        if not known:
            self._documents = answer.document["items"]
        if not known or default != self._rules.default:
            self._rules = Rules.of(self._documents, default)
        if not known:
            self._tag = answer.headers.get("ETag")
        return self._rules


@dataclass(frozen=True, slots=True)
class AskPast:
    """What the daemon remembers of an interface, or of all. Asked once."""

    interface: str | None

    def __call__(self, client: Client) -> Past:
        answer = client.get(f"{_scope(self.interface)}/history", {"window": SECONDS, "step": 1})
        return understood(client.target, lambda: Past.of([answer] if self.interface else answer["items"]))


@dataclass(frozen=True, slots=True)
class AskAddress:
    """What `GET /addresses` says, and the talker, if it is tracked."""

    address: str

    def __call__(self, client: Client) -> Iterator[tuple[Document, Document | None]]:
        shown = client.get(f"/addresses/{segment(self.address)}")
        answer = client.get("/talkers", {"within": self.address, "limit": 1})
        yield understood(client.target, lambda: (shown, answer["items"][0] if answer["items"] else None))


def _scope(interface: str | None) -> str:
    return f"/interfaces/{segment(interface)}" if interface else ""
