# SPDX-License-Identifier: Apache-2.0
"""Many viewers, one answer; slow ones skip; a bounded number; all end when the hub does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from itertools import pairwise
from typing import Any

import pytest

from tests.hand_clock import HandClock
from xdpfw.hub import EVERY, Hub, together
from xdpfw.model.errors import NotFound, Unavailable


class Asked:
    """An answer that counts how often it was worked out."""

    def __init__(self) -> None:
        self.times = 0
        self.error: Exception | None = None

    async def __call__(self) -> bytes:
        if self.error:
            raise self.error
        self.times += 1
        return b"%d" % self.times


def on_loop(test: Callable[[Hub, HandClock], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    def run() -> None:
        clock = HandClock()

        async def limited() -> None:
            async with asyncio.timeout(10):
                await test(Hub(clock, most=100), clock)

        asyncio.run(limited())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def second(hub: Hub, clock: HandClock, seconds: float = 1) -> None:
    clock.advance(seconds)
    await hub.tick()


@on_loop
async def test_any_number_of_viewers_cost_one_answer(hub: Hub, clock: HandClock) -> None:
    asked = Asked()
    viewers = [hub.watch("question", asked, 1) for _ in range(50)]
    assert await asyncio.gather(*map(anext, viewers)) == [b"1"] * 50
    for number in range(2, 5):
        await second(hub, clock)
        assert await asyncio.gather(*map(anext, viewers)) == [b"%d" % number] * 50
    assert asked.times == 4
    assert hub.viewers == 50


@on_loop
async def test_distinct_questions_are_answered_each(hub: Hub, clock: HandClock) -> None:
    one, other = Asked(), Asked()
    viewers = [hub.watch("one", one, 1), hub.watch("other", other, 1), hub.watch("one", one, 10)]
    await asyncio.gather(*map(anext, viewers))
    await second(hub, clock)
    assert (one.times, other.times) == (3, 2)


@on_loop
async def test_a_slow_viewer_skips(hub: Hub, clock: HandClock) -> None:
    asked = Asked()
    slow = hub.watch("question", asked, 1)
    assert await anext(slow) == b"1"
    for _ in range(100):
        await second(hub, clock)
    assert await anext(slow) == b"101"


@on_loop
async def test_each_has_its_interval(hub: Hub, clock: HandClock) -> None:
    often, seldom = Asked(), Asked()
    viewers = [hub.watch("often", often, 0.5), hub.watch("seldom", seldom, 3)]
    await asyncio.gather(*map(anext, viewers))
    assert hub.period == 0.5
    for _ in range(12):
        await second(hub, clock, 0.5)
    assert (often.times, seldom.times) == (13, 3)
    for viewer in viewers:
        await viewer.aclose()
    assert hub.period == EVERY


@on_loop
async def test_nobody_watches_nothing_is_worked_out(hub: Hub, clock: HandClock) -> None:
    asked = Asked()
    viewer = hub.watch("question", asked, 1)
    await anext(viewer)
    await viewer.aclose()
    await second(hub, clock)
    assert (asked.times, hub.viewers) == (1, 0)


@on_loop
async def test_a_viewer_that_is_cancelled_is_counted_no_more(hub: Hub, clock: HandClock) -> None:
    viewer = hub.watch("question", Asked(), 1)
    await anext(viewer)
    waiting = asyncio.ensure_future(anext(viewer))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert hub.viewers == 0


@on_loop
async def test_there_are_so_many_viewers_and_no_more(hub: Hub, clock: HandClock) -> None:
    viewers: list[AsyncGenerator[bytes, None]] = [hub.watch(number % 3, Asked(), 1) for number in range(100)]
    await asyncio.gather(*map(anext, viewers))
    with pytest.raises(Unavailable, match="100 streams"):
        await anext(hub.watch("one more", Asked(), 1))
    await viewers.pop().aclose()
    assert await anext(hub.watch("one more", Asked(), 1)) == b"1"


@on_loop
async def test_an_error_reaches_every_viewer_and_the_next_one_asks_afresh(hub: Hub, clock: HandClock) -> None:
    asked = Asked()
    asked.error = NotFound("not attached")
    with pytest.raises(NotFound):
        await anext(hub.watch("question", asked, 1))
    asked.error = None
    viewers = [hub.watch("question", asked, 1) for _ in range(3)]
    await asyncio.gather(*map(anext, viewers))
    asked.error = NotFound("detached")
    await second(hub, clock)
    for viewer in viewers:
        with pytest.raises(NotFound, match="detached"):
            await anext(viewer)
    assert hub.viewers == 0
    asked.error = None
    assert await anext(hub.watch("question", asked, 1)) == b"2"


@on_loop
async def test_a_defect_is_theirs_who_ask_that_question_and_nobody_elses(hub: Hub, clock: HandClock) -> None:
    asked = Asked()
    failing, others = hub.watch("question", asked, 1), hub.watch("another", Asked(), 1)
    await asyncio.gather(anext(failing), anext(others))
    asked.error = ZeroDivisionError("nobody thought of this")
    await second(hub, clock)
    with pytest.raises(ZeroDivisionError):
        await anext(failing)
    assert await anext(others) == b"2"


@on_loop
async def test_closing_ends_every_stream_at_once(hub: Hub, clock: HandClock) -> None:
    viewers = [hub.watch("question", Asked(), 1) for _ in range(5)]
    await asyncio.gather(*map(anext, viewers))
    waiting = [asyncio.ensure_future(anext(viewer, b"end")) for viewer in viewers]
    await asyncio.sleep(0)
    hub.close()
    assert await asyncio.gather(*waiting) == [b"end"] * 5
    with pytest.raises(Unavailable):
        await anext(hub.watch("question", Asked(), 1))


@on_loop
async def test_streams_together_are_one(hub: Hub, clock: HandClock) -> None:
    both = together({b" often ": hub.watch(1, Asked(), 1), b" seldom ": hub.watch(2, Asked(), 3)})
    told = [await anext(both)]
    assert sorted(told[0].split()) == [b"1", b"1", b"often", b"seldom"]
    for _ in range(3):
        await second(hub, clock)
        told.append(await anext(both))
    while b"seldom 2" not in b"".join(told[1:]):
        told.append(await anext(both))
    words = b"".join(told[1:]).split()
    assert [b for a, b in pairwise(words) if a == b"often"] == [b"2", b"3", b"4"]
    assert [b for a, b in pairwise(words) if a == b"seldom"] == [b"2"]
    await both.aclose()
    assert hub.viewers == 0


@on_loop
async def test_streams_together_begin_with_all_or_not_at_all(hub: Hub, clock: HandClock) -> None:
    asked = Asked()
    asked.error = NotFound("not attached")
    with pytest.raises(NotFound):
        await anext(together({b"a ": hub.watch(1, Asked(), 1), b"b ": hub.watch(2, asked, 1)}))
    assert hub.viewers == 0


@on_loop
async def test_streams_together_end_with_the_hub(hub: Hub, clock: HandClock) -> None:
    both = together({b"a ": hub.watch(1, Asked(), 1), b"b ": hub.watch(2, Asked(), 1)})
    await anext(both)
    waiting = asyncio.ensure_future(anext(both, b"end"))
    await asyncio.sleep(0)
    hub.close()
    assert await waiting == b"end"
    assert hub.viewers == 0
