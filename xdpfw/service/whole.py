# SPDX-License-Identifier: Apache-2.0
"""Changes of several things in one step: sets, their entries, policy and interfaces, all of it or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from xdpfw.model.interface import AttachMode
from xdpfw.model.ledger import POLICY, RULES, Differences, Part
from xdpfw.model.ledger_views import ChangeView
from xdpfw.model.policy import Policy
from xdpfw.model.requests import WriteOptions
from xdpfw.policy.delta import deltas_of, joined
from xdpfw.policy.sets import Edit, Sets
from xdpfw.service.changes import Changes, Draft
from xdpfw.service.policy import changed_resources, check_rules, no_panic
from xdpfw.service.present import difference_views
from xdpfw.state import State

MOST_SHOWN = 1000
"""Entries whose difference an answer tells."""


class WholeChanges(Changes):
    async def change_whole(self, make: Callable[[State], Draft], opts: WriteOptions, what: str) -> ChangeView:
        """`make` makes the draft from the state at the moment when it takes effect, and is called before, too, to learn
        how much is to be done; it raises to refuse. `what`: the change, for people."""
        drafts: list[Draft] = []
        shown = Differences()

        def made(state: State) -> Edit:
            nonlocal shown
            draft = make(state)
            edit = draft.edit or joined(state.sets, [])
            self.check_free((*draft.parts, *_sets_named(draft.policy)), opts)
            if draft.policy:
                no_panic(state.policy)
                check_rules(draft.policy.calm().rules, edit.sets)
            self.guard(draft, opts, what)
            found, more = self.differences(draft, deltas_of(edit, state.sets), MOST_SHOWN)
            drafts[:], shown = [draft], Differences(tuple(found), more)
            return edit

        if opts.dry_run:
            async with self.writer.lock:
                edit = await self.writer.call(made, self.state)
                await self.writer.call(self.writer.rehearse, edit, drafts[0].policy)
        else:
            await asyncio.to_thread(made, self.state)
            if new := drafts[0].policy:
                # Before the lock, so that nobody else waits for the compiler.
                await asyncio.to_thread(self.kernel.prepare, self.writer.wanted_between(self.state.policy, new))
            await self.change_long(made, lambda _: drafts[0], opts)
        changed = drafts[0].changed
        return ChangeView(
            self.revision,
            changed,
            opts.dry_run,
            self.waiting(changed, opts),
            difference_views(shown),
            shown.more,
        )


def parts_of(
    edit: Edit | None, sets: Sets, old: Policy, new: Policy | None, interfaces: Mapping[str, AttachMode | None]
) -> tuple[Part, ...]:
    """What a change writes, of a state with these sets and the old policy."""
    found = [Part(f"interfaces/{name}") for name in interfaces]
    if new and new.rules != old.rules:
        found.append(RULES)
    if new and replace(new, rules=old.rules) != old:
        found.append(POLICY)
    if edit:
        found += _parts_of_sets(edit, sets)
    return tuple(found)


def _parts_of_sets(edit: Edit, sets: Sets) -> Iterator[Part]:
    before, after = sets.defined, edit.sets.defined
    for name in dict.fromkeys((*before, *after)):
        if before.get(name) != after.get(name):
            yield Part(f"sets/{name}")
        if name not in before or name not in after or _tables_differ(edit, before[name].id):
            yield Part(f"sets/{name}/entries")


def _tables_differ(edit: Edit, set_id: int) -> bool:
    return any(table[0] == set_id for table in (*edit.rows, *edit.gone, *edit.bulk))


def tags_of(parts: tuple[Part, ...], old: Policy, new: Policy | None) -> tuple[str, ...]:
    """Whose entity tags change."""
    found = [part.resource for part in parts]
    found += [above for above in ("sets", "interfaces") if any(name.startswith(f"{above}/") for name in found)]
    return (*found, *(changed_resources(old, new) if new else ()))


def _sets_named(policy: Policy | None) -> list[Part]:
    """Sets that must stay, as parts of the state."""
    rules = policy.rules if policy else ()
    return [Part(f"sets/{name}") for rule in rules for name in rule.set_names]
