# SPDX-License-Identifier: Apache-2.0
"""Use cases that only look: status, readiness, what becomes of one address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from xdpfw import __version__
from xdpfw.clock import SECOND, to_datetime
from xdpfw.effects import effect_of, judge_address
from xdpfw.model.errors import XdpfwError
from xdpfw.model.interface import InterfaceState
from xdpfw.model.packet_views import EventsStatus
from xdpfw.model.prefix import Address, Prefix
from xdpfw.model.views import AddressView, Count, InterfaceView, MapView, MatchView, StatusView
from xdpfw.service.bans import BanUseCases
from xdpfw.service.confirm import ConfirmUseCases
from xdpfw.service.interfaces import InterfaceUseCases
from xdpfw.service.panic import PanicUseCases
from xdpfw.service.present import match_view, policy_view
from xdpfw.service.rules import RuleUseCases
from xdpfw.service.sets import SetUseCases
from xdpfw.service.verify import VerifyUseCases

NEARLY_FULL = 0.9


class SightUseCases(
    SetUseCases, RuleUseCases, InterfaceUseCases, BanUseCases, PanicUseCases, ConfirmUseCases, VerifyUseCases
):
    async def status(self) -> StatusView:
        interfaces, sets, maps = await asyncio.gather(
            self.list_interfaces(), self.list_sets(), asyncio.to_thread(self.kernel.fill)
        )
        problems = self._problems(interfaces)
        warnings = [*self._alarms(), *self.warnings, *self.troubles.warnings]
        warnings += [f"somebody changed the kernel's tables: {told}" for told in self._drift_told()]
        warnings += [f"{view.name}: {view.warning}" for view in interfaces if view.warning]
        warnings += [
            f"map {fill.name} is nearly full: {fill.used} of {fill.size}"
            for fill in maps
            if fill.used > NEARLY_FULL * fill.size
        ]
        warnings += await asyncio.to_thread(self.warn_of_bans)
        return StatusView(
            version=__version__,
            instance=self.instance,
            revision=self.revision,
            uptime=round((self.clock.monotonic() - self.started_monotonic) / SECOND, 1),
            started_at=to_datetime(self.started_at),
            ready=not problems,
            problems=problems,
            warnings=warnings,
            policy=policy_view(self.state.policy),
            panic=self.panic(),
            confirmations=self.confirmations(),
            interfaces=interfaces,
            sets=sets,
            maps={fill.name: MapView(fill.used if fill.used >= 0 else None, fill.size) for fill in maps},
            bans=self.bans_view(),
            operation=self.operation,
            drift=self.drifted(),
            events=EventsStatus(len(self.events.watchers), self.events.lost, self.events.limited),
            kernel=await asyncio.to_thread(self.kernel.features),
        )

    def _drift_told(self) -> list[str]:
        mended = {True: "it was written again", False: "it could not be mended at once"}
        return [
            f"{to_datetime(d.at):%H:%M:%S} UTC, {'; '.join(d.found)}; {mended[d.mended]}" for d in self.drift.lately()
        ]

    def _alarms(self) -> list[str]:
        """What nobody should overlook."""
        found = []
        if self.state.policy.panic:
            found.append("PANIC: everything is dropped but what is kept; `xdpfw panic --off` ends it")
        if self.pending:
            found.append(self.told(self.pending))
        return found

    def watch_status(self, interval: float, encode: Callable[[StatusView], bytes]) -> AsyncGenerator[bytes, None]:
        """The same, again and again, once for all who watch."""

        async def look() -> bytes:
            return encode(await self.status())

        return self.hub.watch("status", look, interval)

    async def problems(self) -> list[str]:
        """Why the firewall does not do what it was asked to; empty when it is ready to enforce."""
        try:
            return self._problems(await self.list_interfaces())
        except XdpfwError as error:
            return [error.detail]

    def _problems(self, interfaces: list[InterfaceView]) -> list[str]:
        waiting = [self.overdue] if self.overdue else []
        waiting += [f"the kernel does not hold what it should: {told}" for told in self.drift.problems]
        waiting += self.troubles.problems
        waiting += [f"{name}: {why}" for name, why in sorted(self.to_attach.items())]
        waiting += [f"{name}: {why}" for name, why in sorted(self.interfaces.incomplete.items())]
        return waiting + [
            f"{view.name}: {view.warning}"
            for view in interfaces
            if view.desired and view.state == InterfaceState.ERROR.value
        ]

    async def address(self, address: Address) -> AddressView:
        """Is it blocked, by what, until when, and where was it seen."""
        await self.keep_bans()
        state, names = self.state, sorted(self.interfaces.attached)
        bans, host = self.bans.sets, Prefix.host(address)
        effect = effect_of([host], "", state.sets, state.policy, attached=bool(names), bans=bans)
        matches, seen = await asyncio.gather(
            asyncio.to_thread(self._matches, address), asyncio.to_thread(self.traffic.address, names, address)
        )
        rule = judge_address(address, state.sets, state.policy, bans).rule
        return AddressView(str(address), effect.effective, rule.id if rule else None, effect.because, matches, seen)

    def _matches(self, address: Address, *, source: bool = True) -> list[MatchView]:
        """Entries that contain an address, and bans of it if it is a source."""
        sets = self.state.sets
        views = []
        for name, entry in sets.matches(address):
            [hits] = self.compiler.hits(sets, name, [entry.prefix], self.kernel.read_leaves)
            views.append(match_view(name, entry, Count(*hits)))
        for name, entry in self.bans.sets.matches(address) if source else ():
            [hits] = self.bans.hits([entry.prefix])
            views.append(match_view(name, entry, Count(*hits)))
        return views
