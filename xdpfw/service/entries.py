# SPDX-License-Identifier: Apache-2.0
"""Use cases on entries: read, write one, patch several, replace all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

from xdpfw.clock import SECOND, from_datetime, to_datetime
from xdpfw.effects import Effect, effect_of
from xdpfw.model.errors import Guarded, InvalidInput, NotFound
from xdpfw.model.ledger import Part
from xdpfw.model.policy import Claim, Entry
from xdpfw.model.prefix import Prefix
from xdpfw.model.requests import WriteOptions
from xdpfw.model.views import Count, EntriesWritten, EntryPage, EntryView, OperationView
from xdpfw.policy.bulk import Bulk
from xdpfw.policy.guard import shrunk, whole_family
from xdpfw.policy.keys import texts
from xdpfw.policy.ops import NEVER
from xdpfw.policy.replacement import Replacement, Since
from xdpfw.policy.sets import Edit, Sets
from xdpfw.service.changes import Changes, Draft
from xdpfw.service.present import entry_view
from xdpfw.service.reading import Form
from xdpfw.state import State
from xdpfw.versions import check_match
from xdpfw.writer import LONG

PAGE = 5_000


class EntryUseCases(Changes):
    async def entries(
        self, name: str, *, after: str | None, limit: int, within: Prefix | None, origin: str | None
    ) -> EntryPage:
        """A page of entries in address order, IPv4 first; `after` is the last prefix of the page before."""
        sets = self.sets_with(name)
        position = Prefix.parse(after) if after else None

        def page() -> EntryPage:
            found = sets.entries(name, after=position, limit=limit, within=within, origin=origin)
            total = sum(sets.count(name, within=within, origin=origin).values())
            more = str(found[-1].prefix) if len(found) == limit else None
            return EntryPage(self._views(sets, name, found), more, total)

        return await asyncio.to_thread(page)

    def check_set(self, name: str) -> None:
        """Raises NotFound unless there is such a set: before a large body is read for it."""
        self.sets_with(name)

    def sets_with(self, name: str) -> Sets:
        """The sets among which one is. Raises NotFound."""
        self.state.sets.info(name)
        return self.state.sets

    async def entry(self, name: str, prefix: Prefix) -> EntryView:
        return await asyncio.to_thread(self._entry, self.sets_with(name), name, prefix)

    def _entry(self, sets: Sets, name: str, prefix: Prefix, *, new: bool = False) -> EntryView:
        """`new`: its counts begin now."""
        entry = sets.entry(name, prefix)
        if entry is None:
            raise NotFound(f"{prefix} is not an entry of set {name}; `xdpfw show` tells what covers an address")
        return self._views(sets, name, [entry], [(0, 0)] if new else None)[0]

    def _views(
        self, sets: Sets, name: str, entries: Sequence[Entry], hits: Sequence[tuple[int, int]] | None = None
    ) -> list[EntryView]:
        """`hits`: packets and bytes of each, unless they have to be read."""
        now = self.clock.wall()
        if hits is None:
            hits = self._hits(sets, name, [entry.prefix for entry in entries])
        return [entry_view(entry, Count(*counts), now) for entry, counts in zip(entries, hits, strict=True)]

    def _hits(self, sets: Sets, name: str, prefixes: Sequence[Prefix]) -> list[tuple[int, int]]:
        return self.compiler.hits(sets, name, prefixes, self.kernel.read_leaves)

    def entry_tag(self, name: str, prefix: Prefix) -> str | None:
        """The entity tag of one entry: it changes with the entry alone. None if there is no such entry."""
        entry = self.sets_with(name).entry(name, prefix)
        return None if entry is None else f'"{hash(entry) & 0xFFFFFFFFFFFF:012x}"'

    async def export(self, name: str, *, within: Prefix | None, origin: str | None) -> AsyncIterator[list[EntryView]]:
        """All entries of a set as it is now, page by page."""
        sets = self.sets_with(name)
        after: Prefix | None = None
        while True:
            found = await asyncio.to_thread(sets.entries, name, after=after, limit=PAGE, within=within, origin=origin)
            if found:
                yield await asyncio.to_thread(self._views, sets, name, found)
            if len(found) < PAGE:
                return
            after = found[-1].prefix

    async def export_prefixes(
        self, name: str, *, within: Prefix | None, origin: str | None
    ) -> AsyncIterator[list[str]]:
        """Their canonical texts alone, for lists of any size."""
        if within or origin is not None:
            async for page in self.export(name, within=within, origin=origin):
                yield [view.prefix for view in page]
            return
        sets = self.sets_with(name)
        for family, keys in sets.iter_keys(name):
            yield await asyncio.to_thread(texts, family, keys)

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
        """Set exactly what is said. The view is None in a dry run."""
        now = self.clock.wall()
        claim = Claim(prefix, origin, self._expiry(ttl, expires_at, now), comment, now)
        views: list[EntryView] = []
        written = await self._write(
            name,
            lambda state: state.sets.upsert(name, [claim], longest=False),
            opts,
            tag=lambda: self.entry_tag(name, prefix),
            about=[prefix],
            origins=[origin],
            status=lambda edit: 201 if edit.added else 200,
            then=lambda edit: views.append(self._entry(self.state.sets, name, prefix, new=edit.added > 0)),
        )
        return (views[0] if views else None), written

    async def delete_entry(self, name: str, prefix: Prefix, origin: str | None, opts: WriteOptions) -> EntriesWritten:
        return await self._write(
            name,
            lambda state: state.sets.remove(name, [prefix], origin=origin),
            opts,
            tag=lambda: self.entry_tag(name, prefix),
            about=[prefix],
            origins=[origin],
            status=lambda _: 204,
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
        """All or nothing. `origin`: remove only that origin's claims."""

        def make(state: State) -> Edit:
            return state.sets.patch(name, add, remove, longest=longest, ignore_missing=ignore_missing, origin=origin)

        about = [*(claim.prefix for claim in add), *remove]
        origins = [*(claim.origin for claim in add), *(origin for _ in remove)]
        if len(about) > LONG:
            draft = Draft((_entries(name),))
            return await self._write_long(name, make, opts, draft, about=about, origins=origins)
        tag = f"sets/{name}/entries"
        return await self._write(name, make, opts, tag=lambda: self.etag(tag), about=about, origins=origins)

    async def read_list(self, chunks: AsyncIterator[bytes], form: Form, *, skip_invalid: bool = False) -> Bulk:
        """A list that arrives, of which more is not known yet. Raises InvalidInput for lines that are no prefixes, and
        Unreadable when it is not of that form at all."""
        bulk = await self.readers.read(chunks, form, self.clock.wall(), skip_invalid=skip_invalid)
        if bulk.faults:
            raise InvalidInput(f"{bulk.invalid} of the lines cannot be used; nothing was changed", bulk.faults)
        return bulk

    @contextmanager
    def arriving(self, name: str) -> Iterator[Since]:
        """While a list arrives and takes the place of a set's entries: what others write meanwhile stays, also what was
        so. Raises NotFound unless there is such a set."""
        since = Since(self.state.sets, name)
        self.lists.append(since)
        try:
            yield since
        finally:
            self.lists.remove(since)

    async def replace_entries(
        self,
        name: str,
        bulk: Bulk,
        *,
        origin: str | None,
        ttl: int | None,
        expires_at: datetime | None = None,
        comment: str = "",
        since: Since | None = None,
        opts: WriteOptions,
    ) -> EntriesWritten:
        """Replace all claims (of one origin, if given) at once. Claims written while it runs stay; also those written
        `since` the body began to arrive."""
        if since is None:
            with self.arriving(name) as since:
                return await self.replace_entries(
                    name, bulk, origin=origin, ttl=ttl, expires_at=expires_at, comment=comment, since=since, opts=opts
                )
        now = self.clock.wall()
        expires = self._expiry(ttl, expires_at, now)
        replacement = await asyncio.to_thread(
            Replacement,
            name,
            bulk,
            origin=origin,
            now=now,
            since=since,
            expires=NEVER if expires is None else expires,
            comment=comment,
        )
        draft = Draft((replace(_entries(name), origin=origin),), history=True)
        written = await self._write_long(name, lambda state: replacement.edit(state.sets), opts, draft, whole=True)
        skipped = [{"pointer": fault.pointer, "detail": fault.detail} for fault in bulk.skipped]
        return replace(written, skipped=skipped)

    # The two ways to write: at once, or in pieces.

    async def _write(
        self,
        name: str,
        make: Callable[[State], Edit],
        opts: WriteOptions,
        *,
        tag: Callable[[], str | None],
        about: Sequence[Prefix],
        origins: Sequence[str | None],
        status: Callable[[Edit], int] = lambda _: 200,
        then: Callable[[Edit], None] = lambda _: None,
    ) -> EntriesWritten:
        """`origins`: whose claims on the prefixes, None for all. `then` looks at the outcome, in the same thread and
        before anybody else writes."""
        at = f"sets/{name}/entries"
        parts = tuple(Part(at, str(prefix), origin) for prefix, origin in zip(about, origins, strict=True))

        def work() -> EntriesWritten:
            if opts.if_match is not None:
                check_match(opts.if_match, tag())
            edit = make(self.state)
            self._check(name, edit, opts, whole=False)
            self.enforce(Draft(parts, _resources(name), edit, status=status(edit)), opts)
            if not opts.dry_run:
                self._tell_lists(name, edit, about, origins)
                then(edit)
            return self._answer(name, edit, opts, about)

        async with self.writer.lock:
            return await self.writer.call(work)

    def _tell_lists(self, name: str, edit: Edit, about: Sequence[Prefix], origins: Sequence[str | None]) -> None:
        """What the edit changes they see by themselves, and sooner."""
        for since in tuple(self.lists) if edit.kept else ():
            said = zip(about, origins, strict=True)
            since.written(name, [(prefix, origin) for prefix, origin in said if origin is not None])

    async def _write_long(
        self,
        name: str,
        make: Callable[[State], Edit],
        opts: WriteOptions,
        draft: Draft,
        *,
        about: Sequence[Prefix] | None = None,
        origins: Sequence[str | None] = (),
        whole: bool = False,
    ) -> EntriesWritten:
        """`about`: the prefixes written, None for all of the set; `origins`: as for `_write`; `whole`: the set is
        replaced."""
        draft = replace(draft, resources=_resources(name))

        def checked(state: State) -> Edit:
            check_match(opts.if_match, self.etag(f"sets/{name}/entries"))
            self.check_free(draft.parts, opts)
            edit = make(state)
            self._check(name, edit, opts, whole=whole)
            if not opts.dry_run:
                self._tell_lists(name, edit, about or (), origins)
            return edit

        if opts.dry_run:
            async with self.writer.lock:
                edit = await self.writer.call(checked, self.state)
                await self.writer.call(self.writer.rehearse, edit)
        else:
            edit = await self._run_long(name, checked, draft, opts)
        return await asyncio.to_thread(self._answer, name, edit, opts, about)

    async def _run_long(self, name: str, make: Callable[[State], Edit], draft: Draft, opts: WriteOptions) -> Edit:
        started = to_datetime(self.clock.wall())

        def progress(done: int, total: int) -> None:
            self.operation = OperationView("import", name, done, total, started)

        progress(0, 0)
        try:
            return await self.change_long(make, lambda edit: replace(draft, edit=edit), opts, progress)
        finally:
            self.operation = None

    def _check(self, name: str, edit: Edit, opts: WriteOptions, *, whole: bool) -> None:
        """The guards. Raises Guarded."""
        if opts.force or not edit.changed:
            return
        before, policy = self.state.sets, self.state.policy
        refusal = whole_family(edit, before, policy)
        if whole and not refusal:
            refusal = shrunk(edit, sum(before.count(name).values()))
        if refusal:
            raise Guarded(refusal)
        self.guard(Draft((), edit=edit), opts, f"this change of set {name}")

    def _answer(self, name: str, edit: Edit, opts: WriteOptions, about: Sequence[Prefix] | None) -> EntriesWritten:
        effect = self._effect(name, edit, about)
        return EntriesWritten(
            revision=self.revision,
            changed=edit.changed,
            added=edit.added,
            refreshed=edit.refreshed,
            removed=edit.removed,
            kept=edit.kept,
            total=edit.total,
            effective=effect.effective,
            because=effect.because,
            created=edit.added > 0,
            dry_run=opts.dry_run,
            confirmation=self.waiting(edit.changed, opts),
        )

    def _effect(self, name: str, edit: Edit, about: Sequence[Prefix] | None) -> Effect:
        attached = bool(self.interfaces.attached)
        return effect_of(about, name, edit.sets, self.state.policy, attached=attached, bans=self.bans.sets)

    @staticmethod
    def _expiry(ttl: int | None, expires_at: datetime | None, now: int) -> int | None:
        """Wall clock ns, or None for ever."""
        if ttl is not None and expires_at is not None:
            raise InvalidInput("give ttl or expires_at, not both")
        if ttl is not None:
            return now + ttl * SECOND
        if expires_at is None:
            return None
        expires = from_datetime(expires_at)
        if expires <= now:
            raise InvalidInput(f"expires_at {expires_at.isoformat()} is in the past")
        return expires


def _resources(name: str) -> tuple[str, ...]:
    return f"sets/{name}", f"sets/{name}/entries", "sets"


def _entries(name: str) -> Part:
    """All of them, as a part of the state."""
    return Part(f"sets/{name}/entries")
