# SPDX-License-Identifier: Apache-2.0
"""The threads, with questions that need no daemon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.client import Client, Target
from cli.errors import FAILED, Failure
from cli.live.feed import Feed, Jobs, understood
from cli.sse import MEDIA_TYPE, messages
from lab.waiting import eventually
from tests.canned import Canned, Told


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(Target(path=str(tmp_path / "absent")))


def test_a_feed_asks_again_and_again_until_it_is_stopped(client: Client) -> None:
    told: list[object] = []
    feed = Feed(client, lambda _: iter([len(told)]), lambda _, answer: told.append(answer), 0.01)
    eventually(lambda: len(told) > 3, "it was asked several times")
    feed.stop()
    ended = {thread for thread in threading.enumerate() if thread.name == "xdpfw-feed"}
    for thread in ended:
        thread.join(5)
    many = len(told)
    assert told == list(range(many))


def test_another_question_is_asked_at_once(client: Client) -> None:
    told: list[object] = []
    feed: Feed[str] = Feed(client, lambda _: iter(["one"]), lambda _, answer: told.append(answer), 60)
    eventually(lambda: told == ["one"], "the first answer")
    began = time.monotonic()
    feed.ask(lambda _: iter(["two"]))
    eventually(lambda: told == ["one", "two"], "the second answer", 5)
    assert time.monotonic() - began < 5  # and not after a minute
    feed.stop()


def stream(path: str) -> Callable[[Client], Iterator[Any]]:
    """A question whose answers do not end."""
    return lambda client: messages(client.lines(path, {}, MEDIA_TYPE))


@pytest.fixture
def endless(daemon: Canned) -> Iterator[Client]:
    """A daemon with two streams that tell one thing and then nothing for a minute."""
    over = threading.Event()
    for word in ("one", "two"):
        daemon.tells["GET", f"/{word}"] = Told(text=f'data: {{"said": "{word}"}}\n\n'.encode(), until=over)
    yield Client(Target(path=str(daemon.path)), 60)
    over.set()


def test_a_stream_is_told_as_it_comes_and_cut_off_for_another_question(endless: Client) -> None:
    told: list[Any] = []
    feed: Feed[Any] = Feed(endless, stream("/one"), lambda _, answer: told.append(answer), 60)
    eventually(lambda: told == [{"said": "one"}], "the first event")
    feed.ask(stream("/two"))
    eventually(lambda: told == [{"said": "one"}, {"said": "two"}], "the other stream", 20)
    feed.stop()
    threads = [thread for thread in threading.enumerate() if thread.name == "xdpfw-feed"]
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert told == [{"said": "one"}, {"said": "two"}]  # being cut off is no failure


def test_many_questions_at_once_end_with_the_last(endless: Client) -> None:
    told: list[Any] = []
    feed: Feed[Any] = Feed(endless, stream("/one"), lambda _, answer: told.append(answer), 60)
    for _ in range(20):
        feed.ask(stream("/one"))
    feed.ask(stream("/two"))
    eventually(lambda: told[-1:] == [{"said": "two"}], "the last question's answer", 20)
    feed.stop()
    assert all(isinstance(each, dict) for each in told)


def test_a_failure_is_told_and_it_goes_on(client: Client) -> None:
    told: list[object] = []

    def question(asked: Client) -> Iterator[str]:
        if not told:
            asked.get("/status")  # nobody listens there
        yield "well"

    feed = Feed(client, question, lambda _, answer: told.append(answer), 0.01)
    eventually(lambda: told[1:2] == ["well"], "it goes on")
    feed.stop()
    assert isinstance(told[0], Failure)


def test_jobs_are_done_in_their_order_and_failures_are_answers(client: Client) -> None:
    jobs, told = Jobs(client), list[object]()
    jobs.do(lambda _: 1, told.append)
    jobs.do(lambda asked: asked.get("/status"), told.append)
    jobs.do(lambda _: 3, told.append)
    eventually(lambda: len(told) == 3, "all are done")
    jobs.stop()
    assert (told[0], type(told[1]), told[2]) == (1, Failure, 3)


@pytest.mark.parametrize("error", [KeyError("items"), TypeError("x"), ValueError("x"), AttributeError("x")])
def test_a_document_that_lacks_something_is_a_failure_that_says_so(error: Exception) -> None:
    def parse() -> None:
        raise error

    with pytest.raises(Failure) as caught:
        understood("/run/socket", parse)
    assert caught.value.code == FAILED
    assert "no xdpfw document" in caught.value.message
