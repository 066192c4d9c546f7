# SPDX-License-Identifier: Apache-2.0
"""What the daemon does by itself: readings, expiry, steps of the clock, interfaces that come back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from xdpfw.clock import SECOND, ClockAnchor
from xdpfw.log import told
from xdpfw.model.feature import widest
from xdpfw.service.audit import AuditUseCases
from xdpfw.service.bans import BanUseCases
from xdpfw.service.confirm import ConfirmUseCases
from xdpfw.service.events import READ_EVERY, EventUseCases
from xdpfw.service.verify import VerifyUseCases
from xdpfw.store.port import StoredChange

log = logging.getLogger("xdpfw.upkeep")

EXPIRE_EVERY = 0.25
BANS_EVERY = 1.0
SETTLE_EVERY = 1.0
NOTE_EVERY = 1.0
DRIFT_EVERY = 2.5
WIDEN_EVERY = 30.0
"""Not at once: a start has better things to do."""
RECONCILE_EVERY = 5.0
"""Also without any news from the kernel: an attach that failed is tried again."""
AFTER_DEFECT = 5.0
"""At least so long after what nobody thought of: it may go on for long."""


class Upkeep(BanUseCases, EventUseCases, ConfirmUseCases, AuditUseCases, VerifyUseCases):
    """The packet path stops matching a timed entry by itself; here it is only cleared away."""

    async def run_upkeep(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._every(RECONCILE_EVERY, self.follow_links))
            tasks.create_task(self._every(EXPIRE_EVERY, self.expire))
            tasks.create_task(self._every(EXPIRE_EVERY, self.take_back_overdue))
            tasks.create_task(self._every(BANS_EVERY, self.keep_bans))
            tasks.create_task(self._every(RECONCILE_EVERY, self.reconcile))
            tasks.create_task(self._every(DRIFT_EVERY, self.look_for_drift))
            tasks.create_task(self._every(SETTLE_EVERY, self.settle))
            tasks.create_task(self._every(SETTLE_EVERY, self.trim))
            tasks.create_task(self._every(WIDEN_EVERY, self.widen, after=WIDEN_EVERY))
            tasks.create_task(self._every(READ_EVERY, self.read_events))
            tasks.create_task(self._every(NOTE_EVERY, self.write_notes))

    async def _every(self, seconds: float, job: Callable[[], Awaitable[None]], after: float = 0) -> None:
        """Whatever one of them meets, the others go on, and so does whoever wants to change something."""
        await asyncio.sleep(after)
        while True:
            await asyncio.sleep(max(seconds, await self._try(job)))

    async def _try(self, job: Callable[[], Awaitable[None]]) -> float:
        """Answers the seconds that it has to rest."""
        name = job.__name__.replace("_", " ")
        with self.troubles.of(name):
            await job()
        return AFTER_DEFECT if self.troubles.has_defect(name) else 0.0

    async def _watch(self) -> None:
        """Pauses at least as long as it took: it never takes more than half of a core, whatever is asked."""
        while True:
            began = time.monotonic()
            rest = await self._try(self.take_readings)
            await self.hub.tick()
            spent = time.monotonic() - began
            await asyncio.sleep(max(self.hub.period - spent, spent, rest))

    async def follow_links(self) -> None:
        async for _ in self.kernel.changes():
            await self.reconcile()

    async def take_readings(self) -> None:
        looked = await asyncio.to_thread(self.traffic.sample, sorted(self.interfaces.attached))
        if looked and not self.traffic.watched:  # what that took is not needed before the next look, in some seconds
            await asyncio.to_thread(self.give_back)

    async def settle(self) -> None:
        async with self.writer.lock:
            await self.writer.call(self.writer.settle)

    async def trim(self) -> None:
        """A program that has more features than anybody asks for is right, and slower than it need be. Bans ask
        for one, also those that were made a moment ago."""
        await self.keep_bans()
        if not self.writer.has_too_much:
            return
        wanted = self.writer.wanted
        await asyncio.to_thread(self.kernel.compile, wanted)
        async with self.writer.lock:
            if self.writer.wanted == wanted:
                await self.writer.call(self.writer.use, wanted)

    async def widen(self) -> None:
        """Have a program at hand that can do everything: it is right until the compiler is done with the one that a
        change of the policy asks for."""
        await asyncio.to_thread(self.kernel.compile, widest(self.writer.wanted))

    async def reconcile(self) -> None:
        """Attach what is wanted and has come back."""
        async with self.writer.lock:
            before = dict(self.interfaces.attached)
            changed = await self.writer.call(self.interfaces.reconcile)
            self.writer.performed += bool(changed)
            if lost := self.interfaces.taken_off():
                self.drift.noticed([f"{name}: somebody took the program off" for name in lost])
                self.drift.settled([f"{name} is not attached again" for name in lost if name in self.interfaces.errors])
        for name in changed:
            self.versions.changed("interfaces", f"interfaces/{name}")
            attachment, last = self.interfaces.attached.get(name), before.get(name)
            if attachment and last and (last.index, last.mode) == (attachment.index, attachment.mode):
                continue  # another program, as the policy asked for
            if attachment:
                what = told("attach", interface=name, mode=attachment.mode)
                log.info("%s is attached (%s)", name, attachment.mode, extra=what)
            else:
                why = self.interfaces.errors.get(name, "the interface or its program is gone")
                log.warning("%s is not attached: %s", name, why, extra=told("detach", interface=name, detail=why))

    async def expire(self) -> None:
        """Clear away what has run out, and follow a step of the wall clock."""
        anchor = ClockAnchor.take(self.clock)
        if step := anchor.step_since(self.anchor):
            log.warning("the wall clock was stepped by %.3f s: remaining times are kept", step / SECOND)
            async with self.writer.lock:
                await self.writer.call(self._follow_step, anchor, step)
        due, now = self.state.sets.next_expiry(), self.clock.wall()
        if due is None or due > now:
            return
        edit = await self.writer.change(lambda state: state.sets.expire(now), counts=False)
        for name in edit.sets.names():
            self.versions.changed("sets", f"sets/{name}", f"sets/{name}/entries")

    def _follow_step(self, anchor: ClockAnchor, step: int) -> None:
        edit = self.state.sets.shift(step)
        if edit.changed:
            self.writer.apply(edit, counts=False, anchor=anchor)
        else:
            self.store.save(StoredChange(self.revision, anchor=anchor))
        self.anchor = anchor
        self.bans.recheck()
