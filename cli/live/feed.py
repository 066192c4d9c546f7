# SPDX-License-Identifier: Apache-2.0
"""Threads that wait for the daemon, so that the screen never does. They end with the process, come what may."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from cli.client import Client
from cli.errors import FAILED, Failure

T = TypeVar("T")
Question = Callable[[Client], T]
SOONEST = 0.1
"""Seconds between two questions at least, also when keys ask for more."""
AFTER_FAILURE = 1.0


def understood(target: object, parse: Callable[[], T]) -> T:
    """Raises Failure where an answer lacks what the API promises."""
    try:
        return parse()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Failure(FAILED, f"{target} answered something that is no xdpfw document ({error!r})") from None


class Feed(Generic[T]):
    """Asks a question again and again. `tell(question, answer)` is called in the feed's thread; an answer may be a
    Failure. Another question is asked at once."""

    def __init__(
        self,
        client: Client,
        question: Question[T],
        tell: Callable[[Question[T], T | Failure], None],
        every: float,
    ) -> None:
        self._client, self.question, self._tell, self._every = client, question, tell, every
        self._wake = threading.Event()
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="xdpfw-feed", daemon=True).start()

    def ask(self, question: Question[T]) -> None:
        self.question = question
        self._wake.set()

    def stop(self) -> None:
        self._ended.set()
        self._wake.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            began, question = time.monotonic(), self.question
            pause = self._every
            answer: T | Failure
            try:
                answer = question(self._client)
            except Failure as failure:
                answer, pause = failure, max(self._every, AFTER_FAILURE)
            if self._ended.is_set():
                break
            self._tell(question, answer)
            self._ended.wait(began + SOONEST - time.monotonic())
            self._wake.wait(max(0.0, began + pause - time.monotonic()))
        self._client.close()


class Jobs:
    """Requests that a key asked for, one after the other. `then(answer)` is called in the thread of the jobs."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._waiting: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="xdpfw-jobs", daemon=True).start()

    def do(self, question: Question[T], then: Callable[[T | Failure], None]) -> None:
        def work() -> None:
            answer: T | Failure
            try:
                answer = question(self._client)
            except Failure as failure:
                answer = failure
            then(answer)

        self._waiting.put(work)

    def stop(self) -> None:
        self._waiting.put(None)

    def _run(self) -> None:
        while work := self._waiting.get():
            work()
        self._client.close()
