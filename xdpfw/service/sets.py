# SPDX-License-Identifier: Apache-2.0
"""Use cases on sets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from xdpfw.model.errors import Conflict
from xdpfw.model.ledger import Part
from xdpfw.model.policy import ALLOW, BLOCK
from xdpfw.model.requests import WriteOptions
from xdpfw.model.views import SetView, Written
from xdpfw.policy.sets import Edit, Sets
from xdpfw.service.changes import Changes, Draft
from xdpfw.state import State
from xdpfw.versions import check_match


class SetUseCases(Changes):
    async def list_sets(self) -> list[SetView]:
        return await asyncio.to_thread(self._set_views, self.state.sets, self.state.sets.names())

    async def set_view(self, name: str) -> SetView:
        [view] = await asyncio.to_thread(self._set_views, self.state.sets, [name])
        return view

    def _set_views(self, sets: Sets, names: Sequence[str]) -> list[SetView]:
        hits = self.compiler.totals(sets, self.kernel.read_leaves)
        return [self._set_view(sets, name, hits) for name in names]

    @staticmethod
    def _set_view(sets: Sets, name: str, hits: Mapping[str, tuple[int, int]]) -> SetView:
        info, count = sets.info(name), sets.count(name)
        packets, size = hits[name]
        return SetView(name, info.comment, count[4] + count[6], count[4], count[6], packets, size)

    async def put_set(self, name: str, comment: str, opts: WriteOptions) -> tuple[SetView | None, Written]:
        """Create a set or change its comment. The view is None when a dry run would create it."""

        def work() -> Written:
            sets = self.state.sets
            exists = name in sets.names()
            check_match(opts.if_match, self.etag(f"sets/{name}") if exists else None)
            edit = sets.describe(name, comment) if exists else sets.create(name, comment)
            parts = (Part(f"sets/{name}"),) if exists else whole(name)
            draft = Draft(parts, ("sets", f"sets/{name}"), edit, status=200 if exists else 201, history=True)
            return self.written(self.enforce(draft, opts), opts, created=not exists)

        async with self.writer.lock:
            written = await self.writer.call(work)
        view = None if opts.dry_run and written.created else await self.set_view(name)
        return view, written

    async def delete_set(self, name: str, opts: WriteOptions) -> Written:
        """Raises Conflict for a set that a row of the policy uses, and for `allow` and `block`."""
        draft = Draft(whole(name), ("sets", f"sets/{name}", f"sets/{name}/entries"), status=204, history=True)

        def make(state: State) -> Edit:
            state.sets.info(name)
            check_match(opts.if_match, self.etag(f"sets/{name}"))
            if name in (ALLOW, BLOCK):
                raise Conflict(f"set {name} always exists; to empty it, replace its entries by nothing")
            if users := [rule.id for rule in state.policy.rules if name in rule.set_names]:
                raise Conflict(f"set {name} is used by rule {', '.join(users)}")
            if self.pending and name in self.pending.needed:
                raise Conflict(f"set {name} is used by rules that may come back: {self.told(self.pending)}")
            self.check_free(draft.parts, opts)
            edit = state.sets.drop(name)
            self.guard(replace(draft, edit=edit), opts, f"deleting set {name}")
            return edit

        if opts.dry_run:
            make(self.state)
            return self.written(True, opts)
        await self.change_long(make, lambda edit: replace(draft, edit=edit), opts)
        return self.written(True, opts)


def whole(name: str) -> tuple[Part, ...]:
    """A set with all that is in it."""
    return Part(f"sets/{name}"), Part(f"sets/{name}/entries")
