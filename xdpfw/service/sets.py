# SPDX-License-Identifier: Apache-2.0
"""Use cases on sets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from xdpfw.model.errors import Conflict
from xdpfw.model.policy import ALLOW, BLOCK
from xdpfw.model.requests import WriteOptions
from xdpfw.model.views import SetView, Written
from xdpfw.policy.sets import Edit, Sets
from xdpfw.service.core import Core
from xdpfw.versions import check_match
from xdpfw.writer import State


class SetUseCases(Core):
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
            self._apply(edit, opts, "sets", f"sets/{name}")
            return Written(self.revision, edit.changed, created=not exists, dry_run=opts.dry_run)

        async with self.writer.lock:
            written = await self.writer.call(work)
        view = None if opts.dry_run and written.created else await self.set_view(name)
        return view, written

    async def delete_set(self, name: str, opts: WriteOptions) -> Written:
        """Raises Conflict for a set that a row of the policy uses, and for `allow` and `block`."""

        def make(state: State) -> Edit:
            state.sets.info(name)
            check_match(opts.if_match, self.etag(f"sets/{name}"))
            if name in (ALLOW, BLOCK):
                raise Conflict(f"set {name} always exists; to empty it, replace its entries by nothing")
            if users := [rule.id for rule in state.policy.rules if name in rule.set_names]:
                raise Conflict(f"set {name} is used by rule {', '.join(users)}")
            return state.sets.drop(name)

        if opts.dry_run:
            make(self.state)
        else:
            await self.writer.change(make)
            self.versions.changed("sets", f"sets/{name}", f"sets/{name}/entries")
        return Written(self.revision, True, dry_run=opts.dry_run)

    def _apply(self, edit: Edit, opts: WriteOptions, *resources: str) -> None:
        if opts.dry_run:
            self.writer.rehearse(edit)
        elif edit.changed:
            self.writer.apply(edit)
            self.versions.changed(*resources)
