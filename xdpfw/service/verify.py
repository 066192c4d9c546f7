# SPDX-License-Identifier: Apache-2.0
"""Whether the kernel holds what the policy says: when somebody asks, and by itself."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

from xdpfw.clock import to_datetime
from xdpfw.model.deviation import Deviation
from xdpfw.model.errors import XdpfwError
from xdpfw.model.requests import WriteOptions
from xdpfw.model.views import DeviationView, DriftView, VerificationView, Written
from xdpfw.policy.expected import Expected
from xdpfw.service.changes import Changes
from xdpfw.store.port import Ledger

log = logging.getLogger("xdpfw.drift")

MANY = 50_000
"""From so many prefixes on it takes long to give memory back and to get it again: only after a look at everything."""


class VerifyUseCases(Changes):
    async def verify(self) -> VerificationView:
        """Compare everything. Waits for a long change to end; other writers go on."""
        began = time.monotonic()
        async with self.writer.no_long_change():
            found = await self._look(quick=False)
        return self._verification(found, began)

    async def repair(self, opts: WriteOptions) -> tuple[VerificationView, Written]:
        """Compare everything, and write again what differs; answers what did."""
        began = time.monotonic()
        async with self.writer.no_long_change(), self.writer.lock:
            found = await self.writer.call(self._verify_now, mend=not opts.dry_run)
            if found and not opts.dry_run:
                told = "; ".join(map(str, found))
                [*notes, record] = self.accepted(opts, 200)
                await self.writer.call(self.writer.record, Ledger((*notes, replace(record, detail=told))))
                self.drift.noticed([str(each) for each in found])
                left = await self.writer.call(self._verify_now)
                self.drift.settled([str(each) for each in left])
            written = self.written(bool(found), opts)
        return self._verification(found, began), written

    def _verification(self, found: list[Deviation], began: float) -> VerificationView:
        shown = [DeviationView(each.table, each.places, list(each.details)) for each in found]
        seconds = round(time.monotonic() - began, 3)
        return VerificationView(not found, shown, self.compiler.used()["leaves"], seconds)

    async def look_for_drift(self) -> None:
        """Has somebody changed what is in the kernel? What takes milliseconds is looked at each time, everything as
        often as it costs little."""
        if self.interfaces.held or self.writer.changes_long:
            return
        quick = not self.drift.whole_is_due
        found, sure = await self._glance(quick=quick)
        if not sure:  # a look with nobody writing takes seconds: only for what was seen twice
            before = found
            found, sure = await self._glance(quick=quick)
            if not sure and before != found and not {*map(str, before or ())} & {*map(str, found or ())}:
                return
        if not sure:
            found = await self._look_alone(quick=quick)
        if found:
            await self._mend(found)
        elif not quick:
            self.drift.settled()

    async def _mend(self, seen: list[Deviation]) -> None:
        """While a long change is under way, the tables hold more than is known here, and what it put in must stay. It
        cannot begin while we have the lock."""
        async with self.writer.lock:
            if self.writer.changes_long:
                return
            try:
                found = await self.writer.call(self._verify_now, mend=True)
                if found:
                    self.drift.noticed([str(each) for each in found])
                left = await self.writer.call(self._verify_now) if found else []
            except XdpfwError as error:
                self.drift.noticed([*map(str, seen), error.detail])
                return
        self.drift.settled([str(each) for each in left])

    async def _look(self, *, quick: bool) -> list[Deviation]:
        """For whoever keeps long changes from beginning. What is found is found again with nobody writing: an interface
        may have been detached meanwhile."""
        found, _ = await self._glance(quick=quick)
        return [] if found == [] else await self._look_alone(quick=quick)

    async def _look_alone(self, *, quick: bool) -> list[Deviation]:
        async with self.writer.lock:
            return await self.writer.call(self._verify_now, quick=quick)

    async def _glance(self, *, quick: bool) -> tuple[list[Deviation] | None, bool]:
        """Without keeping others from writing: what was found (None: no looking was possible), and whether it means
        anything. Where others wrote meanwhile it means little."""
        async with self.writer.lock:
            before, expected = self.writer.performed, await self.writer.call(self.compiler.expected)
        many = expected.prefixes >= MANY
        to_give_back = not quick if many else not self.traffic.watched
        try:
            found = await asyncio.to_thread(self._timed, expected, quick=quick)
        except Exception:
            async with self.writer.lock:  # so that whoever is writing has said so
                if self.writer.performed == before:
                    raise
            log.debug("what was looked at changed meanwhile", exc_info=True)
            return None, False
        finally:
            del expected
            if to_give_back:
                await asyncio.to_thread(self.give_back)
        return found, not found or self.writer.performed == before

    def _timed(self, expected: Expected, *, quick: bool) -> list[Deviation]:
        began = time.thread_time()
        found = self.kernel.verify(expected, quick=quick)
        if not quick:
            self.drift.looked(time.thread_time() - began)
        return found

    def _verify_now(self, *, mend: bool = False, quick: bool = False) -> list[Deviation]:
        """In the writer's thread, with its lock held."""
        return self.kernel.verify(self.compiler.expected(), mend=mend, quick=quick)

    def drifted(self) -> list[DriftView]:
        return [DriftView(to_datetime(each.at), list(each.found), each.mended) for each in self.drift.lately()]
