# SPDX-License-Identifier: Apache-2.0
"""How many requests without a valid token are answered, and that counting them takes bounded memory."""

from __future__ import annotations

import logging

import pytest

from api import failures
from api.failures import BURST, SECONDS_EACH, Failures, TooManyFailures


class Hand:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def exhaust(counted: Failures, source: str) -> int:
    """How many failures are let by; answers when the first is one too many."""
    for number in range(BURST * 2):
        try:
            counted.count(source)
        except TooManyFailures:
            return number
    raise AssertionError("never too many")


def test_a_burst_then_one_at_a_time() -> None:
    clock = Hand()
    counted = Failures(clock)
    assert exhaust(counted, "192.0.2.1") == BURST
    clock.now += SECONDS_EACH
    counted.count("192.0.2.1")
    with pytest.raises(TooManyFailures) as caught:
        counted.count("192.0.2.1")
    assert 0 < caught.value.retry_after <= SECONDS_EACH + 1
    clock.now += caught.value.retry_after
    counted.count("192.0.2.1")


def test_trying_on_does_not_prolong_it() -> None:
    clock = Hand()
    counted = Failures(clock)
    exhaust(counted, "192.0.2.1")
    for _ in range(1000):
        with pytest.raises(TooManyFailures):
            counted.count("192.0.2.1")
    clock.now += SECONDS_EACH * BURST
    assert exhaust(counted, "192.0.2.1") == BURST


def test_others_are_not_concerned() -> None:
    counted = Failures(Hand())
    exhaust(counted, "192.0.2.1")
    assert exhaust(counted, "192.0.2.2") == BURST


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures, "SOURCES", 100)
    counted = Failures(Hand())
    exhaust(counted, "192.0.2.1")
    for number in range(10_000):
        counted.count(f"source {number}")
        if number % 50 == 0:  # who goes on failing is not forgotten
            with pytest.raises(TooManyFailures):
                counted.count("192.0.2.1")
    assert len(counted) == 100


def test_the_log_tells_of_it_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Hand()
    counted = Failures(clock)
    with caplog.at_level(logging.DEBUG):
        for _ in range(500):
            clock.now += SECONDS_EACH / 10
            try:
                counted.count("192.0.2.1")
            except TooManyFailures:
                continue
    assert len(caplog.records) == 1
    assert "192.0.2.1" in caplog.text
