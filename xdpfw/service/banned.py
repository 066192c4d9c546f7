# SPDX-License-Identifier: Apache-2.0
"""The set `banned` among the others: its entries are looked at and lifted like any set's, and written by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from xdpfw.bans import COMMENT
from xdpfw.effects import Effect, effect_of
from xdpfw.model.ban import BANNED
from xdpfw.model.policy import Claim
from xdpfw.model.prefix import Prefix
from xdpfw.model.requests import WriteOptions
from xdpfw.model.views import EntriesWritten, EntryPage, EntryView, SetView, Written
from xdpfw.policy.bulk import Bulk
from xdpfw.policy.sets import Edit, Sets
from xdpfw.service.bans import BanUseCases
from xdpfw.service.entries import EntryUseCases
from xdpfw.service.sets import SetUseCases


class BannedSet(EntryUseCases, SetUseCases, BanUseCases):
    # the set

    async def list_sets(self) -> list[SetView]:
        await self.keep_bans()
        views = await super().list_sets()
        return [*views, await self.set_view(BANNED)] if self.shows_banned else views

    async def set_view(self, name: str) -> SetView:
        if name != BANNED:
            return await super().set_view(name)
        await self.keep_bans()
        count, hits = self.bans.sets.count(BANNED), await asyncio.to_thread(self.bans.totals)
        return SetView(BANNED, COMMENT, sum(count.values()), count[4], count[6], *hits, dynamic=True)

    async def put_set(self, name: str, comment: str, opts: WriteOptions) -> tuple[SetView | None, Written]:
        self.refuse_by_hand(name)
        return await super().put_set(name, comment, opts)

    async def delete_set(self, name: str, opts: WriteOptions) -> Written:
        self.refuse_by_hand(name)
        return await super().delete_set(name, opts)

    # its entries

    def sets_with(self, name: str) -> Sets:
        return self.bans.sets if name == BANNED else super().sets_with(name)

    def _hits(self, sets: Sets, name: str, prefixes: Sequence[Prefix]) -> list[tuple[int, int]]:
        return self.bans.hits(prefixes) if name == BANNED else super()._hits(sets, name, prefixes)

    async def entries(
        self, name: str, *, after: str | None, limit: int, within: Prefix | None, origin: str | None
    ) -> EntryPage:
        await self._look_first(name)
        return await super().entries(name, after=after, limit=limit, within=within, origin=origin)

    async def entry(self, name: str, prefix: Prefix) -> EntryView:
        await self._look_first(name)
        return await super().entry(name, prefix)

    async def export(self, name: str, *, within: Prefix | None, origin: str | None) -> AsyncIterator[list[EntryView]]:
        await self._look_first(name)
        async for page in super().export(name, within=within, origin=origin):
            yield page

    async def export_prefixes(
        self, name: str, *, within: Prefix | None, origin: str | None
    ) -> AsyncIterator[list[str]]:
        await self._look_first(name)
        async for page in super().export_prefixes(name, within=within, origin=origin):
            yield page

    async def _look_first(self, name: str) -> None:
        if name == BANNED:
            await self.keep_bans()

    # writes: lifting alone

    def check_set(self, name: str) -> None:
        self.refuse_by_hand(name)
        super().check_set(name)

    async def put_entry(
        self,
        name: str,
        prefix: Prefix,
        *,
        ttl: int | None,
        expires_at: datetime | None,
        comment: str,
        origin: str,
        opts: WriteOptions,
    ) -> tuple[EntryView | None, EntriesWritten]:
        self.refuse_by_hand(name)
        said: dict[str, Any] = {"ttl": ttl, "expires_at": expires_at, "comment": comment, "origin": origin}
        return await super().put_entry(name, prefix, **said, opts=opts)

    async def replace_entries(self, name: str, bulk: Bulk, **said: Any) -> EntriesWritten:
        self.refuse_by_hand(name)
        return await super().replace_entries(name, bulk, **said)

    async def delete_entry(self, name: str, prefix: Prefix, origin: str | None, opts: WriteOptions) -> EntriesWritten:
        if name != BANNED:
            return await super().delete_entry(name, prefix, origin, opts)
        return await self._lift(
            [prefix], opts, origin=origin, missing=False, tag=self.entry_tag(name, prefix), status=204
        )

    async def patch_entries(
        self,
        name: str,
        add: Sequence[Claim],
        remove: Sequence[Prefix],
        *,
        longest: bool,
        ignore_missing: bool,
        opts: WriteOptions,
        origin: str | None = None,
    ) -> EntriesWritten:
        if add:
            self.refuse_by_hand(name)
        if name == BANNED:
            return await self._lift(remove, opts, origin=origin, missing=ignore_missing)
        said: dict[str, Any] = {"longest": longest, "ignore_missing": ignore_missing, "origin": origin}
        return await super().patch_entries(name, add, remove, **said, opts=opts)

    async def _lift(
        self,
        prefixes: Sequence[Prefix],
        opts: WriteOptions,
        *,
        origin: str | None,
        missing: bool,
        tag: str | None = None,
        status: int = 200,
    ) -> EntriesWritten:
        edit = await self.lift_bans(prefixes, opts, origin=origin, missing=missing, tag=tag, status=status)
        return await asyncio.to_thread(self._answer, BANNED, edit, opts, prefixes)

    def _effect(self, name: str, edit: Edit, about: Sequence[Prefix] | None) -> Effect:
        if name != BANNED:
            return super()._effect(name, edit, about)
        state, attached = self.state, bool(self.interfaces.attached)
        return effect_of(about, "", state.sets, state.policy, attached=attached, bans=edit.sets)
