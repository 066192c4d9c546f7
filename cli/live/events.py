# SPDX-License-Identifier: Apache-2.0
"""Events of the daemon: sampled packets with their verdicts, as they come (server-sent events, `GET /events`)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import islice

from cli.client import Client, Query
from cli.errors import NOT_FOUND, Failure
from cli.live.reading import Document
from cli.live.text import Line, fit
from cli.sse import MEDIA_TYPE, messages
from cli.times import clock

KEPT = 2000
_WIDE = 120
AGAIN = 2.0
"""Seconds until a stream that broke off is asked for again."""


def line_of(event: Document, width: int) -> Line:
    """`12:03:04 drop lan1   192.0.2.1:1234 → 198.51.100.2:80  udp    60 B    rule:block`. What passes only because
    it is monitored is marked by its colour and a star."""

    def said(name: str) -> str:
        value = event.get(name)
        return "" if value is None else str(value)

    wide = width >= _WIDE
    verdict = said("verdict") + ("*" if event.get("monitored") else "")
    why = f"rule:{said('rule')}" if said("rule") else said("reason")
    between = f"{_end(event, 'source')} → {_end(event, 'destination')}"
    size = f"{said('length')} B" if said("length") else ""
    return [
        (fit(clock(said("time")), 12 if wide else 8, ellipsis="") + " ", "dim"),
        (fit(verdict, 6), {"drop": "dropped", "pass": "passed", "pass*": "warning"}.get(verdict, "")),
        (fit(said("interface"), 9 if wide else 6) + " ", ""),
        (fit(between, max(len(between), 60 if wide else 33)), ""),
        (f" {fit(said('protocol'), 6)} {fit(size, 6)} ", ""),
        (fit(why, max(len(why), 10)), "dim"),
    ]


def _end(event: Document, end: str) -> str:
    address, port = event.get(end), event.get(f"{end}_port")
    if address is None:
        return "?"
    if port is None:
        return str(address)
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"


class EventLog:
    """The last events as lines. It follows the newest, unless somebody scrolled back."""

    def __init__(self) -> None:
        self._events: deque[Document | Failure] = deque(maxlen=KEPT)
        self._back = 0

    def add(self, event: Document | Failure) -> None:
        self._events.append(event)
        if self._back:
            self._back = min(self._back + 1, len(self._events))

    def scroll(self, lines: int) -> None:
        """Up when negative."""
        self._back = max(0, min(self._back - lines, len(self._events)))

    def lines(self, width: int, height: int) -> list[Line]:
        end = max(len(self._events) - self._back, min(height, len(self._events)))
        shown = islice(self._events, max(0, end - height), end)
        return [
            [(event.message, "warning")] if isinstance(event, Failure) else line_of(event, width) for event in shown
        ]


class Tail:
    """Follows the events in a thread of its own, and begins again where a stream breaks off. `tell` is called there
    with each event, or with a Failure."""

    def __init__(self, client: Client, query: Query, tell: Callable[[Document | Failure], None]) -> None:
        self._client, self.query, self._tell = client, query, tell
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="xdpfw-events", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()
        self._client.cut()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                for event in messages(self._client.lines("/events", self.query, MEDIA_TYPE)):
                    if self._ended.is_set():
                        break
                    self._tell(event)
            except Failure as failure:
                if self._ended.is_set():
                    break
                if failure.code == NOT_FOUND:
                    self._tell(Failure(NOT_FOUND, "this daemon has no events (GET /events answers 404)"))
                    break
                self._tell(failure)
            self._client.close()
            self._ended.wait(AGAIN)
        self._client.close()
