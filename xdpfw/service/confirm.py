# SPDX-License-Identifier: Apache-2.0
"""Changes that hold only if somebody confirms them in time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from xdpfw.clock import SECOND, to_datetime
from xdpfw.model.errors import Conflict, NotFound
from xdpfw.model.ledger import DAEMON, Pending
from xdpfw.model.ledger_views import ConfirmationView
from xdpfw.model.requests import WriteOptions
from xdpfw.model.views import Written
from xdpfw.policy.sets import Edit
from xdpfw.service.changes import Changes, Draft
from xdpfw.service.policy import changed_resources
from xdpfw.service.present import author_view, difference_views
from xdpfw.service.telling import tell
from xdpfw.service.undoing import policy_without, sets_without, undone
from xdpfw.state import State
from xdpfw.store.port import Before, Ledger
from xdpfw.versions import check_match

MOST_PARTS = 100
"""Parts of a change that are shown."""


class ConfirmUseCases(Changes):
    def confirmations(self) -> list[ConfirmationView]:
        """What waits to be confirmed: one change at most."""
        self.writer  # noqa: B018 - raises while it is not known yet
        return [self._view(self.pending)] if self.pending else []

    def _view(self, pending: Pending) -> ConfirmationView:
        left = max(0, self.time_left(pending))
        return ConfirmationView(
            pending.id,
            pending.revision,
            to_datetime(pending.made),
            to_datetime(self.clock.wall() + left),
            -(-left // SECOND),
            author_view(pending.author),
            [str(part) for part in pending.parts[:MOST_PARTS]],
            difference_views(pending.differences),
            pending.differences.more,
        )

    async def confirm(self, id: str, opts: WriteOptions) -> Written:
        """The change stays. Raises Conflict when its time is over."""

        def work() -> None:
            pending = self._pending_of(id)
            check_match(opts.if_match, self.etag("confirmations"))
            if self.time_left(pending) <= 0:
                raise Conflict(f"the time to confirm {id} is over: the change is being taken back")
            if not opts.dry_run:
                detail = f"revision {pending.revision} stays: {pending.author.request} of {pending.author.name}"
                [*notes, record] = self.accepted(opts, 200)
                record = replace(record, detail=detail)
                self.writer.record(Ledger((*notes, record), settled=id))
                tell(record)
                self.pending = None
                self.versions.changed("confirmations")

        async with self.writer.lock:
            await self.writer.call(work)
            return self.written(True, opts)

    async def take_back(self, id: str, opts: WriteOptions) -> Written:
        """As if the change had never been made; everything else stays."""
        pending = self._pending_of(id)
        check_match(opts.if_match, self.etag("confirmations"))
        if not opts.dry_run:
            await self._take_back(pending, opts, "taken back")
        return self.written(True, opts)

    async def take_back_overdue(self) -> None:
        """Silence is no consent."""
        pending = self.pending
        if pending is None or self.time_left(pending) > 0:
            return
        author = replace(DAEMON, request=f"DELETE /confirmations/{pending.id}")
        waited = f"not confirmed within {pending.window // SECOND} s"
        try:
            await self._take_back(pending, WriteOptions(author=author), waited)
        except NotFound:  # somebody was quicker
            return
        except Exception as error:
            self.overdue = f"revision {pending.revision} was {waited} and cannot be taken back: {error}"
            raise
        self.overdue = None

    def _pending_of(self, id: str) -> Pending:
        if self.pending is None or self.pending.id != id:
            raise NotFound(f"nothing waits to be confirmed under {id!r}")
        return self.pending

    async def _take_back(self, pending: Pending, opts: WriteOptions, why: str) -> None:
        before = await asyncio.to_thread(self.store.before, pending.revision)
        shift, now = self.anchor.step_since(before.anchor), self.clock.wall()
        policy = self.state.policy
        wanted = self.writer.wanted_between(policy, policy_without(pending, before, policy))
        await asyncio.to_thread(self.kernel.prepare, wanted)

        def make(state: State) -> Edit:
            self._pending_of(pending.id)
            return sets_without(pending, before, state.sets, now, shift)

        await self.change_long(make, lambda edit: self._undoing(pending, before, edit, why), opts)

    def _undoing(self, pending: Pending, before: Before, edit: Edit, why: str) -> Draft:
        old = self.state.policy
        new = policy_without(pending, before, old)
        resources = {part.resource for part in pending.parts}
        return Draft(
            pending.parts,
            (*resources, "sets", "interfaces", *(changed_resources(old, new) if new != old else ())),
            edit if edit.changed else None,
            new if new != old else None,
            pending.interfaces,
            pending.ran,
            status=204,
            history=before.step.policy,
            settles=pending.id,
            detail=undone(pending, why),
        )
