# SPDX-License-Identifier: Apache-2.0
"""Threads that wait for the daemon, so that the screen never does. They end with the process, come what may."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from cli.client import Client
from cli.errors import FAILED, Failure

T = TypeVar("T")
Question = Callable[[Client], T]
Answers = Callable[[Client], Iterator[T]]
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
    """Asks a question again and again; a question has one answer or a stream of them. `tell(question, answer)` is
    called in the feed's thread; an answer may be a Failure. Another question is asked at once."""

    def __init__(
        self, client: Client, question: Answers[T], tell: Callable[[Answers[T], T | Failure], None], every: float
    ) -> None:
        self._client, self.question, self._tell, self._every = client, question, tell, every
        self._asking: Answers[T] | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="xdpfw-feed", daemon=True).start()

    def ask(self, question: Answers[T]) -> None:
        with self._lock:
            self.question = question
            if self._asking not in (None, question):
                self._client.cut()
        self._wake.set()

    def stop(self) -> None:
        with self._lock:
            self._ended.set()
            self._client.cut()
        self._wake.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._wake.clear()
            began, pause = time.monotonic(), self._every
            with self._lock:
                self._asking = question = self.question
            try:
                self._answers(question)
            except Failure as failure:
                self._client.close()
                # Else it was cut off because another question waits.
                if not self._is_over(question):
                    pause = max(self._every, AFTER_FAILURE)
                    self._tell(question, failure)
            with self._lock:
                self._asking = None
            self._ended.wait(began + SOONEST - time.monotonic())
            self._wake.wait(began + pause - time.monotonic())
        self._client.close()

    def _answers(self, question: Answers[T]) -> None:
        for answer in question(self._client):
            if self._is_over(question):
                self._client.close()  # in the middle of a stream
                return
            self._tell(question, answer)

    def _is_over(self, question: Answers[T]) -> bool:
        return self._ended.is_set() or self.question != question


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
