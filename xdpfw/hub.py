# SPDX-License-Identifier: Apache-2.0
"""Live answers for any number of viewers: each distinct question is answered once per tick, for all who ask it.

A viewer is given the newest answer when it is ready for one. So a slow viewer skips answers, nothing queues for it, and
it holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field

from xdpfw.clock import SECOND, Clock
from xdpfw.model.errors import Unavailable

Answer = Callable[[], Awaitable[bytes]]

MOST_VIEWERS = 256
EVERY = 1.0
"""Seconds between ticks unless somebody wants them more often."""
_EARLY = 0.25
"""A tick may come by this share of an interval too early for a question and still be its tick."""


@dataclass(slots=True, eq=False)
class _Channel:
    """One question. `answer` works it out; `turn` is held while that goes on."""

    answer: Answer
    interval: float
    viewers: int = 0
    newest: bytes | Exception | None = None
    version: int = 0
    asked: float = 0.0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def is_due(self, now: float) -> bool:
        return self.viewers > 0 and now - self.asked >= self.interval - _EARLY * min(self.interval, EVERY)

    def wake(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


class Hub:
    """All methods belong to the event loop. A tick's answers are worked out one after the other."""

    def __init__(self, clock: Clock, most: int = MOST_VIEWERS) -> None:
        self._clock = clock
        self._most = most
        self._channels: dict[Hashable, _Channel] = {}
        self._closed = False

    @property
    def viewers(self) -> int:
        return sum(channel.viewers for channel in self._channels.values())

    @property
    def period(self) -> float:
        """Seconds until the next tick is wanted."""
        return min([EVERY, *(channel.interval for channel in self._channels.values())])

    async def watch(self, question: Hashable, answer: Answer, interval: float) -> AsyncGenerator[bytes, None]:
        """The answer now, and then again each time it was worked out anew, about every `interval` seconds. Ends when
        the hub is closed.

        Raises Unavailable when too many watch already, and whatever `answer` raises.
        """
        channel = self._join((question, interval), answer, interval)
        try:
            if channel.newest is None:
                await self._work_out(channel, self._clock.monotonic() / SECOND, only_first=True)
                channel.wake()
            seen = 0
            while not self._closed:
                news = channel.news
                if isinstance(channel.newest, Exception):
                    raise channel.newest
                if channel.newest is not None and channel.version > seen:
                    seen = channel.version
                    yield channel.newest
                else:
                    await news.wait()
        finally:
            self._leave((question, interval), channel)

    def _join(self, key: Hashable, answer: Answer, interval: float) -> _Channel:
        if self._closed:
            raise Unavailable("the daemon is stopping")
        if self.viewers >= self._most:
            raise Unavailable(f"{self._most} streams are open, the most there may be; close one, or poll instead")
        channel = self._channels.setdefault(key, _Channel(answer, interval))
        channel.viewers += 1
        return channel

    def _leave(self, key: Hashable, channel: _Channel) -> None:
        channel.viewers -= 1
        if channel.viewers == 0 and self._channels.get(key) is channel:
            del self._channels[key]

    async def tick(self) -> None:
        """Answer every question whose time has come. Viewers are told when all are answered: whoever follows several
        is sent one piece."""
        now = self._clock.monotonic() / SECOND
        due = [(key, channel) for key, channel in self._channels.items() if channel.is_due(now)]
        for key, channel in due:
            await self._work_out(channel, now)
            if isinstance(channel.newest, Exception):
                # Its viewers are told and go; whoever asks from now on asks afresh.
                self._channels.pop(key, None)
        for _, channel in due:
            channel.wake()

    async def _work_out(self, channel: _Channel, now: float, *, only_first: bool = False) -> None:
        async with channel.turn:
            if only_first and channel.newest is not None:
                return
            channel.asked = now
            try:
                newest: bytes | Exception = await channel.answer()
            except Exception as error:  # noqa: BLE001 - theirs who ask this, and nobody else's
                newest = error
            channel.newest, channel.version = newest, channel.version + 1

    def close(self) -> None:
        """End every stream at once."""
        self._closed = True
        for channel in self._channels.values():
            channel.wake()


async def together(streams: Mapping[bytes, AsyncGenerator[bytes, None]]) -> AsyncGenerator[bytes, None]:
    """Several streams as one: first what each begins with, then whatever comes, each behind its name. Ends with the
    first that ends."""
    waiting = {asyncio.ensure_future(anext(stream)): name for name, stream in streams.items()}
    until = asyncio.FIRST_EXCEPTION
    try:
        while True:
            done, _ = await asyncio.wait(waiting, return_when=until)
            until = asyncio.FIRST_COMPLETED
            news = b""
            for each in done:
                name = waiting.pop(each)
                try:
                    news += name + each.result()
                except StopAsyncIteration:
                    return
                waiting[asyncio.ensure_future(anext(streams[name]))] = name
            yield news
    finally:
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams.values():
            await stream.aclose()
