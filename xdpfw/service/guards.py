# SPDX-License-Identifier: Apache-2.0
"""The lock-out guard: nobody cuts the branch they sit on by accident. What is asked is in policy/probes.py; here is
whom it is asked for."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from xdpfw.clock import SECOND, Clock, to_datetime
from xdpfw.kernel.port import Kernel
from xdpfw.model.errors import Guarded
from xdpfw.model.interface import Route
from xdpfw.model.prefix import Address, Prefix
from xdpfw.model.requests import WriteOptions
from xdpfw.policy.probes import Lost, Role, Situation, Target, Touched, lost

FRESH = SECOND
"""How long it is good for entries what was read about peers, gateways and routes: reading it takes as long as all the
rest of a write."""

ROLES = {"ssh": Role.SSH, "gateway": Role.GATEWAY, "resolver": Role.RESOLVER}


class Guards:
    """Protected are the peer that asks, the ssh peers of this host, the default gateways, the name servers, and the
    configured management prefixes. `protect_ssh` False: only the first and the last of these."""

    def __init__(self, kernel: Kernel, clock: Clock, management: Iterable[Prefix], *, protect_ssh: bool) -> None:
        self._kernel = kernel
        self._clock = clock
        self.management = tuple(management)
        self._protect_ssh = protect_ssh
        self._targets: list[Target] = []
        self._routes: dict[str, Route] = {}
        self._read: int | None = None

    def check(
        self, before: Situation, after: Situation, opts: WriteOptions, what: str, touched: Touched | None = None
    ) -> None:
        """Raises Guarded when packets of somebody protected would be dropped that were not before. Blocks for some
        milliseconds. `what`: the change, for people; `touched`: it is of these entries alone."""
        targets = self.targets(opts, fresh=touched is None)
        found = list(lost(targets, before, after, self._clock.wall(), touched))
        if found:
            told = "; ".join(dict.fromkeys(map(_told, found)))
            raise Guarded(
                f"{what} would lock out {told}. Allow what must stay reachable first, or force it; "
                "confirm_within takes it back unless you confirm it"
            )

    def targets(self, opts: WriteOptions, *, fresh: bool) -> list[Target]:
        """Who must stay reachable, for a request. `fresh`: as it is now, not as it was a moment ago."""
        now = self._clock.monotonic()
        if fresh or self._read is None or now - self._read > FRESH:
            self._routes.clear()
            self._targets = [*self._neighbours(), *(self._target(p, Role.MANAGEMENT) for p in self.management)]
            self._read = now
        found = list(self._targets)
        if opts.peer:
            found.append(self._target(_host(opts.peer), Role.REQUEST, opts.local, opts.port))
        if opts.ssh:
            peer, local, port = opts.ssh
            found.append(self._target(_host(peer), Role.SSH, local, port))
        return [target for target in found if not target.where.network.is_loopback]

    def _neighbours(self) -> list[Target]:
        return [
            Target(_host(each.address), ROLES[each.role], _address(each.route.local), interface=each.route.interface)
            for each in (self._kernel.neighbours() if self._protect_ssh else ())
            # A name server to which there is no way serves nobody.
            if each.role != "resolver" or each.route.interface
        ]

    def _target(self, where: Prefix, role: Role, local: str | None = None, port: int | None = None) -> Target:
        address = str(ipaddress.ip_address(where.address))
        if address not in self._routes:
            self._routes[address] = self._kernel.route(address)
        route = self._routes[address]
        return Target(where, role, _address(local or route.local), port or 22, route.interface)


def _told(lost: Lost) -> str:
    target = lost.target
    who = str(lost.address) if target.where.is_host else f"{lost.address} of {target.where}"
    by = f"rule {lost.rule.id}" if lost.rule else "the default"
    when = "" if lost.at is None else f" from {to_datetime(lost.at):%Y-%m-%d %H:%M:%S} UTC on, when an entry runs out,"
    return f"{who} ({target.role}):{when} {lost.probe.what} would be dropped by {by}"


def _host(text: str) -> Prefix:
    return Prefix.host(ipaddress.ip_address(text.partition("%")[0]))


def _address(text: str | None) -> Address | None:
    if text is None:
        return None
    return ipaddress.ip_address(_host(text).address)
