# SPDX-License-Identifier: Apache-2.0
"""Guards: changes that are valid but hardly meant, refused unless forced."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from xdpfw.clock import SECOND, Clock
from xdpfw.effects import outcomes
from xdpfw.kernel.port import Kernel
from xdpfw.model.errors import Guarded
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Address, Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Mode
from xdpfw.policy.sets import Sets

FRESH = SECOND
"""How long a list of ssh peers and gateways is good for when entries are written: reading it takes as long as all
the rest of a write."""


class Guards:
    """The lock-out guard: nobody cuts the branch they sit on by accident.

    Protected are the peer that asks, the established ssh peers of this host, the default gateways, and the configured
    management prefixes.
    """

    def __init__(self, kernel: Kernel, clock: Clock, management: Iterable[Prefix], *, protect_ssh: bool) -> None:
        self._kernel = kernel
        self._clock = clock
        self._management = tuple(management)
        self._protect_ssh = protect_ssh
        self._peers: tuple[Address, ...] = ()
        self._peers_read: int | None = None

    def check_lockout(
        self,
        before: tuple[Sets, Policy] | None,
        after: tuple[Sets, Policy],
        peer: str | None,
        what: str,
        *,
        fresh: bool = False,
    ) -> None:
        """Raises Guarded when a protected address would be dropped that was not before. Blocks for some milliseconds.

        `before` None: nothing was enforced. `what`: the change, for people. `fresh`: look at the peers anew.
        """
        lost = [
            f"{prefix.network.network_address if prefix.is_host else prefix} ({role})"
            for prefix, role in self.protected(peer, fresh=fresh)
            if _drops(prefix, *after) and not (before and _drops(prefix, *before))
        ]
        if lost:
            raise Guarded(
                f"{what} would drop {', '.join(lost)}: you could lock yourself out. "
                "Allow what must stay reachable first, or force it"
            )

    def protected(self, peer: str | None = None, *, fresh: bool = False) -> list[tuple[Prefix, str]]:
        """Prefixes that nothing may cut off by accident, and what they are. Blocks for some milliseconds."""
        protected = [(Prefix.host(address), "an ssh peer or default gateway") for address in self._current_peers(fresh)]
        protected += [(prefix, "a management prefix") for prefix in self._management]
        if peer:
            protected.append((Prefix.host(_address(peer)), "the address that this request comes from"))
        return [(prefix, role) for prefix, role in protected if not prefix.network.is_loopback]

    def _current_peers(self, fresh: bool) -> tuple[Address, ...]:
        now = self._clock.monotonic()
        if not self._protect_ssh:
            return ()
        if fresh or self._peers_read is None or now - self._peers_read > FRESH:
            self._peers = tuple(dict.fromkeys(map(_address, self._kernel.peers())))
            self._peers_read = now
        return self._peers


def _drops(prefix: Prefix, sets: Sets, policy: Policy) -> bool:
    """Whether any part of a prefix is dropped."""
    if policy.mode is Mode.MONITOR:
        return False
    found = outcomes(prefix, sets, policy)
    return any(outcome.verdict is Verdict.DROP for outcome in found if not outcome.conditional)


def _address(text: str) -> Address:
    return ipaddress.ip_address(text.partition("%")[0])
