# SPDX-License-Identifier: Apache-2.0
"""Panic: everything is dropped but what must stay reachable, until somebody says that it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from xdpfw.clock import to_datetime
from xdpfw.model.errors import Guarded, NotFound
from xdpfw.model.ledger import POLICY, RULES
from xdpfw.model.policy import PANIC_KEEP, Policy
from xdpfw.model.prefix import Prefix
from xdpfw.model.requests import WriteOptions
from xdpfw.model.views import PanicView, Written
from xdpfw.policy.probes import Role
from xdpfw.service.policy import PolicyUseCases

KEPT = (Role.REQUEST, Role.SSH, Role.MANAGEMENT)
"""Who is kept beside what is asked for."""


class PanicUseCases(PolicyUseCases):
    def panic(self) -> PanicView:
        return panic_view(self.state.policy)

    async def start_panic(self, keep: Sequence[Prefix], opts: WriteOptions) -> tuple[PanicView, Written]:
        """Keeps these, the ssh peers, whoever asks, and the management prefixes. The policy waits behind, as it is."""
        targets = await asyncio.to_thread(self.guards.targets, opts, fresh=True)
        kept = [*keep, *(target.where for target in targets if target.role in KEPT)]
        if not kept and not opts.force:
            raise Guarded(
                "nobody has an ssh session here, and nothing is to be kept: over what is attached, nobody could reach "
                "this host any more. Name who may"
            )
        now = self.clock.wall()
        policy, written = await self.replace_policy(
            lambda old: old.in_panic(kept, now), opts, tag="policy", what="panic", parts=(RULES, POLICY), status=200,
            guarded=False,
        )  # fmt: skip
        return panic_view(policy), written

    async def end_panic(self, opts: WriteOptions) -> Written:
        """The policy is exactly as it was before. Raises NotFound when there is no panic."""

        def make(old: Policy) -> Policy:
            if old.panic is None:
                raise NotFound("there is no panic")
            return old.calm()

        what = "the policy of before the panic"
        _, written = await self.replace_policy(make, opts, tag="policy", what=what, parts=(RULES, POLICY), status=204)
        return written


def panic_view(policy: Policy) -> PanicView:
    if policy.panic is None:
        return PanicView(False, None, [])
    keep = policy.rule(PANIC_KEEP)
    return PanicView(True, to_datetime(policy.panic.since), list(map(str, keep.match.source.prefixes)) if keep else [])
