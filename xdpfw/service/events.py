# SPDX-License-Identifier: Apache-2.0
"""Use cases on events: who is talking, packet by packet, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from xdpfw.events import Event, EventFilter, Watcher
from xdpfw.kernel.port import EventBatch
from xdpfw.model.errors import NotFound
from xdpfw.model.feature import Feature
from xdpfw.policy.rows import features_of
from xdpfw.service.core import Core
from xdpfw.service.present import rule_names

READ_EVERY = 0.05
"""The packet path wakes nobody: the rings are looked at this often while somebody watches or a rule logs."""
QUIET = 10.0
"""Seconds without an event after which a watcher is told that it is still connected."""
BUDGET = 1000
"""Events a second from each CPU, whatever is asked."""


class EventUseCases(Core):
    async def watch_events(
        self, wanted: EventFilter, *, sample: bool | None, repeat: bool, snap: int
    ) -> AsyncGenerator[list[Event], None]:
        """Events as they come, some at once; an empty list says that none came for a while.

        `sample`: of all traffic, not only of rules that log; None: if no rule does.
        """
        if wanted.rule is not None and self.state.policy.rule(wanted.rule) is None:
            raise NotFound(f"there is no rule {wanted.rule!r}")
        logs = any(rule.log_rate and rule.enabled for rule in self.state.policy.rules)
        watcher = Watcher(wanted, not logs if sample is None else sample, repeat, snap)
        self.events.join(watcher)
        try:
            await self._wish()
            yield []
            while not self.events.closed:
                try:
                    async with asyncio.timeout(QUIET):
                        await watcher.news.wait()
                except TimeoutError:
                    yield []
                    continue
                watcher.news.clear()
                found = list(watcher.waiting)
                watcher.waiting.clear()
                if found:
                    yield found
        finally:
            self.events.leave(watcher)
            if not self.events.closed:
                # Shielded: a client that goes cancels this, and the packet path would go on writing for nobody.
                await asyncio.shield(self._wish())

    async def _wish(self) -> None:
        """Tell the packet path what is wanted now; its program writes events only while somebody watches."""
        watched = bool(self.events.watchers)
        extra = frozenset({Feature.EVENTS}) if watched else frozenset()
        if watched:
            await asyncio.to_thread(self.kernel.prepare, self.writer.wanted | extra)
        async with self.writer.lock:
            self.writer.ask("events", extra)
            if watched:
                await self.writer.call(self.writer.use, self.writer.wanted)
            await self.writer.call(self.kernel.wish, self.events.wish(BUDGET))
            if not self.watched.is_set():
                # What was left when the last watcher went is nobody's.
                await self.writer.call(self.kernel.read_events)
        self.watched.set()

    async def read_events(self) -> None:
        """Hand on what the packet path wrote. Waits while nothing can come."""
        if not (self.events.watchers or Feature.EVENTS in features_of(self.state.policy)):
            self.watched.clear()
            await self.watched.wait()
        names = rule_names(self.state.policy)

        def read() -> tuple[EventBatch, list[Event]]:
            batch = self.kernel.read_events()
            return batch, self.events.decode(batch, self.kernel.event_interfaces(), names)

        self.events.publish(*await asyncio.to_thread(read))
