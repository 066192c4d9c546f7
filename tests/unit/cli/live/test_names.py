# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import threading

import pytest

from cli.live.names import KEEP, KEEP_FAILURE, THREADS, WAITING, Names, system_name
from lab.waiting import eventually


class Resolver:
    """Answers when it is let."""

    def __init__(self, answers: dict[str, str | None]) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.may = threading.Event()

    def __call__(self, address: str) -> str | None:
        self.asked.append(address)
        self.may.wait(30)
        return self.answers.get(address)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RES_OPTIONS", raising=False)


def test_asking_does_not_wait_and_the_name_comes_later() -> None:
    resolver = Resolver({"192.0.2.1": "one.example"})
    names = Names(resolver)
    assert names.get("192.0.2.1") is None  # the resolver is stuck
    eventually(lambda: resolver.asked, "the resolver was asked")
    assert names.get("192.0.2.1") is None
    resolver.may.set()
    eventually(lambda: names.get("192.0.2.1") == "one.example", "the name is known")
    assert resolver.asked == ["192.0.2.1"]


def test_a_stuck_resolver_holds_few_threads_and_the_newest_wait_first() -> None:
    resolver = Resolver({})
    names = Names(resolver)
    before = threading.active_count()
    for number in range(500):
        names.get(f"10.0.{number // 250}.{number % 250}")
    eventually(lambda: len(resolver.asked) == THREADS, "all threads are stuck")
    assert threading.active_count() - before <= THREADS
    stuck = set(resolver.asked)
    resolver.may.set()
    eventually(lambda: len(resolver.asked) >= WAITING, "those that wait are asked")
    # Of 500 only the last ones were still waiting, and the newest came first.
    numbers = range(500 - WAITING - THREADS, 500)
    assert set(resolver.asked) - stuck <= {f"10.0.{n // 250}.{n % 250}" for n in numbers}
    assert resolver.asked[THREADS] in {f"10.0.1.{n}" for n in range(240, 250)}


def test_names_are_kept_for_a_while_and_failures_for_less() -> None:
    time = [0.0]
    resolver = Resolver({"192.0.2.1": "one.example"})
    resolver.may.set()
    names = Names(resolver, lambda: time[0])

    def known(address: str, times: int) -> None:
        names.get(address)
        eventually(lambda: resolver.asked.count(address) == times, "it was asked")

    known("192.0.2.1", 1)
    known("192.0.2.2", 1)
    eventually(lambda: names.get("192.0.2.1"), "the name is known")
    time[0] = KEEP_FAILURE - 1
    names.get("192.0.2.2")
    time[0] = KEEP_FAILURE + 1
    known("192.0.2.2", 2)
    assert names.get("192.0.2.1") == "one.example"
    assert resolver.asked.count("192.0.2.1") == 1
    time[0] = KEEP + 1
    known("192.0.2.1", 2)


def test_a_name_cannot_steer_the_terminal() -> None:
    resolver = Resolver({"192.0.2.1": "evil\x1b]0;title\x07.example"})
    resolver.may.set()
    names = Names(resolver)
    name = eventually(lambda: names.get("192.0.2.1"), "the name is known")
    assert name.isprintable()


def test_the_system_knows_localhost_and_what_has_no_name() -> None:
    assert system_name("127.0.0.1")
    assert system_name("not an address") is None


def test_the_resolver_is_told_to_give_up_early_unless_the_user_said_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(Resolver({}))
    assert "timeout:2" in os.environ["RES_OPTIONS"]
    monkeypatch.setenv("RES_OPTIONS", "timeout:9")
    Names(Resolver({}))
    assert os.environ["RES_OPTIONS"] == "timeout:9"
