# SPDX-License-Identifier: Apache-2.0
"""The desired state as one document: read out, and put in force in one step."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from xdpfw.model.errors import Guarded, TooLarge
from xdpfw.model.interface import AttachMode
from xdpfw.model.ledger_views import ChangeView
from xdpfw.model.prefix import FAMILIES
from xdpfw.model.requests import WriteOptions
from xdpfw.policy.config import MOST_ENTRIES, Desired, DesiredSet, read_config, show_config
from xdpfw.policy.delta import joined
from xdpfw.policy.guard import shrunk, whole_family
from xdpfw.policy.replacement import Replacement, Since
from xdpfw.policy.sets import Edit, Sets
from xdpfw.service.changes import Draft
from xdpfw.service.policy import check_rules, keeps_own_rules
from xdpfw.service.whole import WholeChanges, parts_of, tags_of
from xdpfw.state import State
from xdpfw.versions import check_match

WHAT = "this configuration"


class ConfigUseCases(WholeChanges):
    async def config(self, filled: Sequence[str] | None = ()) -> dict[str, Any]:
        """`filled`: sets whose entries are told, None for all of them. Raises NotFound, and TooLarge for very long
        lists."""
        sets = self.state.sets
        names = sets.names() if filled is None else list(filled)
        total = sum(len(sets.table(sets.info(name).id, family)) for name in names for family in FAMILIES)
        if total > MOST_ENTRIES:
            raise TooLarge(
                f"these are {total:,} entries, and a document holds at most {MOST_ENTRIES:,}: name fewer sets, and "
                "take long lists from GET /sets/{set}/entries"
            )
        return await asyncio.to_thread(self._shown, self.state, names)

    def _shown(self, state: State, filled: Sequence[str]) -> dict[str, Any]:
        return show_config(state.policy, state.sets, self.interfaces.desired, filled, self.clock.wall())

    def config_tag(self) -> str:
        """Changes with what a document without entries says."""
        text = json.dumps(self._shown(self.state, ()), sort_keys=True)
        return f'"{hashlib.sha256(text.encode()).hexdigest()[:16]}"'

    async def read_config(self, document: Any) -> Desired:
        """Raises InvalidInput, with the places of all faults."""
        return await asyncio.to_thread(read_config, document, self.clock.wall())

    async def put_config(self, desired: Desired, opts: WriteOptions) -> ChangeView:
        """What the document names becomes as it says; everything else stays."""

        def make(state: State) -> Draft:
            if opts.if_match is not None:
                check_match(opts.if_match, self.config_tag())
            calm = state.policy.calm()
            new = desired.policy(calm)
            policy = new if new != calm else None
            edit = self._edit(desired, state.sets)
            if policy:
                check_rules(policy.rules, edit.sets, lambda number: f"/rules/{number}")
            if not opts.force:
                keeps_own_rules(calm, new, WHAT)
                self._check_lists(desired, edit, state)
            interfaces = self._wanted(desired, opts)
            parts = parts_of(edit, state.sets, state.policy, policy, interfaces)
            return Draft(
                parts,
                tags_of(parts, state.policy, policy),
                edit if edit.changed else None,
                policy,
                interfaces,
                history=bool(policy or edit.changed),
            )

        view = await self.change_whole(make, opts, WHAT)
        present = {link.name for link in await asyncio.to_thread(self.kernel.interfaces)}
        absent = [name for name, mode in desired.interfaces.items() if mode and name not in present]
        warnings = [f"there is no interface {name} now; it is attached as soon as it comes" for name in absent]
        return replace(view, warnings=warnings)

    def _edit(self, desired: Desired, sets: Sets) -> Edit:
        made: list[Edit] = []

        def step(edit: Edit) -> None:
            nonlocal sets
            made.append(edit)
            sets = edit.sets

        for name, said in desired.sets.items():
            if said is None:
                if name in sets.defined:
                    step(sets.drop(name))
                continue
            if name not in sets.defined:
                step(sets.create(name, said.comment or ""))
            elif said.comment is not None:
                step(sets.describe(name, said.comment))
            if said.entries is not None:
                step(self._filled(name, said, sets))
        return joined(sets, made)

    def _filled(self, name: str, said: DesiredSet, sets: Sets) -> Edit:
        assert said.entries is not None
        return Replacement(name, said.entries, origin=None, now=self.clock.wall(), since=Since(sets, name)).edit(sets)

    def _check_lists(self, desired: Desired, edit: Edit, state: State) -> None:
        """Raises Guarded for lists that are hardly meant."""
        refusal = whole_family(edit, state.sets, desired.policy(state.policy))
        for name, said in desired.sets.items():
            if said and said.entries is not None and name in state.sets.defined and not refusal:
                before = state.sets.total(name)
                alone = self._filled(name, said, state.sets)
                refusal = shrunk(alone, before)
                refusal = refusal and f"set {name}: {refusal}"
        if refusal:
            raise Guarded(refusal)

    def _wanted(self, desired: Desired, opts: WriteOptions) -> dict[str, AttachMode | None]:
        """Of the interfaces that are named those that are not as they are to be."""
        found: dict[str, AttachMode | None] = {}
        self.interfaces.refresh()
        present = {link.name for link in self.kernel.interfaces()}
        for name, mode in desired.interfaces.items():
            if mode is None:
                if name in self.interfaces.desired or name in self.interfaces.attached:
                    found[name] = None
            elif name not in present:
                if self.interfaces.desired.get(name) != mode:
                    found[name] = mode
            elif self.interfaces.check_attach(name, mode, force=opts.force):
                found[name] = mode
        return found
