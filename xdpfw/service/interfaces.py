# SPDX-License-Identifier: Apache-2.0
"""Use cases on interfaces: list, attach, detach, counters, talkers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from functools import partial

from xdpfw.model.errors import NotFound
from xdpfw.model.interface import AttachMode
from xdpfw.model.ledger import Part
from xdpfw.model.prefix import Address
from xdpfw.model.requests import TalkerQuery, WriteOptions
from xdpfw.model.rule import Slots
from xdpfw.model.views import CountersView, HistoryView, InterfaceView, TalkersView, Written
from xdpfw.service.changes import Changes, Draft
from xdpfw.service.telling import tell
from xdpfw.state import NOTHING
from xdpfw.store.port import Ledger
from xdpfw.versions import check_match


class InterfaceUseCases(Changes):
    async def list_interfaces(self) -> list[InterfaceView]:
        return await asyncio.to_thread(self.interfaces.views)

    async def interface(self, name: str) -> InterfaceView:
        return await asyncio.to_thread(self.interfaces.view, name)

    async def attach(self, name: str, mode: AttachMode, opts: WriteOptions) -> tuple[InterfaceView, Written]:
        """Attach now, and again whenever the interface comes back or the daemon starts."""
        async with self.writer.lock:
            check_match(opts.if_match, self.etag(f"interfaces/{name}"))
            fresh = name not in self.interfaces.desired
            changed = await self.writer.call(self._attach, name, mode, opts, fresh=fresh)
            if not opts.dry_run:
                self.to_attach.pop(name, None)
            written = self.written(changed, opts, created=fresh and not opts.dry_run)
        return await self.interface(name), written

    def _attach(self, name: str, mode: AttachMode, opts: WriteOptions, *, fresh: bool) -> bool:
        changed = self.interfaces.check_attach(name, mode, force=opts.force)
        draft = _draft(name)
        if changed:
            draft = replace(draft, interfaces={name: mode}, status=201 if fresh else 200)
            self.guard(draft, opts, f"attaching {name} with the present policy")
        return self.enforce(draft, opts)

    async def want(self, name: str, mode: AttachMode) -> None:
        """Attach an absent interface as soon as it comes."""
        async with self.writer.lock:
            if self.interfaces.desired.get(name) != mode:
                await self.writer.call(self._want, name, mode)

    def _want(self, name: str, mode: AttachMode) -> None:
        draft = replace(_draft(name), interfaces={name: mode})
        self.writer.apply(None, replace(self.beside(draft, WriteOptions()), attach=NOTHING.attach))

    async def detach(self, name: str, opts: WriteOptions) -> Written:
        async with self.writer.lock:
            check_match(opts.if_match, self.etag(f"interfaces/{name}"))
            if name not in self.interfaces.desired.keys() | self.interfaces.attached.keys() | self.to_attach.keys():
                raise NotFound(f"{name} is not attached by this firewall")
            draft = replace(_draft(name), interfaces={name: None}, status=204)
            return self.written(await self.writer.call(self.enforce, draft, opts), opts)

    async def counters(self, name: str, *, reasons: bool = True) -> CountersView:
        await self._check_attached(name)
        return await asyncio.to_thread(self.traffic.counters, name, self._slots(reasons))

    async def all_counters(self, *, reasons: bool = True) -> list[CountersView]:
        """Of all attached interfaces."""
        slots = self._slots(reasons)
        names = sorted(self.interfaces.attached)
        return await asyncio.to_thread(lambda: [self.traffic.counters(name, slots) for name in names])

    async def talkers(self, name: str | None, query: TalkerQuery) -> TalkersView:
        """Of one interface, or of all that are attached, summed by address."""
        if name is not None:
            await self._check_attached(name)
        names = [name] if name is not None else sorted(self.interfaces.attached)
        return await asyncio.to_thread(self.traffic.talkers, names, query, self._sets_of, show_interfaces=name is None)

    def watch_talkers(
        self, name: str | None, query: TalkerQuery, interval: float, encode: Callable[[TalkersView], bytes]
    ) -> AsyncGenerator[bytes, None]:
        """The same, again and again, of the readings that all viewers share."""

        def look() -> bytes:
            names = [name] if name is not None else sorted(self.interfaces.attached)
            return encode(self.traffic.talkers(names, query, self._sets_of, show_interfaces=name is None, shared=True))

        return self.hub.watch(("talkers", name, query), partial(asyncio.to_thread, look), interval)

    def _slots(self, reasons: bool) -> Slots | None:
        return self.state.policy.slots if reasons else None

    def watch_counters(
        self, name: str | None, reasons: bool, interval: float, encode: Callable[[list[CountersView]], bytes]
    ) -> AsyncGenerator[bytes, None]:
        """Of one interface, or of all that are attached."""

        def look() -> bytes:
            names = [name] if name is not None else sorted(self.interfaces.attached)
            return encode([self.traffic.counters(n, self._slots(reasons), shared=True) for n in names])

        return self.hub.watch(("counters", name, reasons), partial(asyncio.to_thread, look), interval)

    async def history(self, name: str | None, window: int, step: int) -> list[HistoryView]:
        """Of one interface, or of all that are attached. In seconds."""
        if name is not None:
            await self._check_attached(name)
        names = [name] if name is not None else sorted(self.interfaces.attached)
        return await asyncio.to_thread(lambda: [self.traffic.history(each, window, step) for each in names])

    async def reset_talkers(self, name: str, opts: WriteOptions) -> Written:
        async with self.writer.lock:
            await self._check_attached(name)
            check_match(opts.if_match, self.etag(f"interfaces/{name}"))
            if not opts.dry_run:
                await self.writer.call(self._reset_talkers, name, opts)
            return self.written(True, opts)

    def _reset_talkers(self, name: str, opts: WriteOptions) -> None:
        epoch, audit = self.traffic.reset(name), self.accepted(opts, 204)
        self.writer.save_epoch(name, epoch, Ledger(audit))
        tell(audit[-1])

    def _sets_of(self, address: Address) -> list[str]:
        return list(dict.fromkeys(name for name, _ in self.state.sets.matches(address)))

    async def _check_attached(self, name: str) -> None:
        if name in self.interfaces.attached:
            return
        await asyncio.to_thread(self.interfaces.refresh)
        if name not in self.interfaces.attached:
            raise NotFound(f"{name} is not attached, so nothing is counted there: `xdpfw attach {name}`")


def _draft(name: str) -> Draft:
    return Draft((Part(f"interfaces/{name}"),), ("interfaces", f"interfaces/{name}"))
