# SPDX-License-Identifier: Apache-2.0
"""Pieces of a long job are as large as their time allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from xdpfw import turns
from xdpfw.turns import FIRST, LEAST, LONGEST, MOST, Turns


def sizes(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[int], float], count: int = 20) -> list[int]:
    """Of so many turns, each of which takes the seconds that its size wants."""
    now = 0.0
    monkeypatch.setattr(turns.time, "monotonic", lambda: now)

    async def work() -> list[int]:
        nonlocal now
        found, some = [], Turns(asyncio.Lock())
        for _ in range(count):
            async with some.turn() as size:
                found.append(size)
                now += seconds(size)
        return found

    return asyncio.run(work())


@pytest.mark.parametrize(("each", "settles_at"), [(1e-6, 75_000), (2e-6, 37_500), (1e-9, MOST), (1e-3, LEAST)])
def test_a_turn_takes_its_time(monkeypatch: pytest.MonkeyPatch, each: float, settles_at: int) -> None:
    found = sizes(monkeypatch, lambda size: size * each)
    assert found[0] == FIRST
    assert found[-1] == pytest.approx(settles_at, rel=0.01)


def test_one_slow_turn_is_not_taken_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = iter([LONGEST, 100 * LONGEST])
    found = sizes(monkeypatch, lambda _: next(slow, LONGEST / 2))
    assert min(found) == FIRST // 2
    assert found[-1] == MOST
