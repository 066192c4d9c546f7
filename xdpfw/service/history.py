# SPDX-License-Identifier: Apache-2.0
"""Back to an earlier revision of the policy: rules, default, sets' definitions, and lists that were replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xdpfw.clock import to_datetime
from xdpfw.model.errors import Fault, Guarded, InvalidInput, NotFound
from xdpfw.model.ledger_views import ChangeView, StepView
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Family
from xdpfw.model.requests import WriteOptions
from xdpfw.policy.delta import joined, towards, undo
from xdpfw.policy.edits import TableEdit
from xdpfw.policy.sets import Edit, Sets
from xdpfw.policy.table import SortedTable
from xdpfw.service.changes import Draft
from xdpfw.service.present import author_view
from xdpfw.service.whole import WholeChanges, parts_of, tags_of
from xdpfw.state import State
from xdpfw.store.port import STEPS, Step


@dataclass(frozen=True, slots=True)
class Way:
    """What leads back to a revision: steps to be undone, newest first, and how it was before the last of them."""

    steps: Sequence[Step]
    policy: Policy
    comments: dict[str, str]


class HistoryUseCases(WholeChanges):
    async def revisions(self) -> list[StepView]:
        """Revisions of the policy that can be gone back to, newest first: the last is how it was before all others."""
        steps = [step for step in await asyncio.to_thread(self.store.steps) if step.policy]
        views, whole = [], True
        for step in steps:
            views.append(StepView(step.revision, to_datetime(step.made), author_view(step.author), whole))
            whole = whole and step.whole
        if steps:
            views.append(StepView(steps[-1].revision - 1, None, None, whole))
        return views

    async def roll_back(self, revision: int, opts: WriteOptions) -> ChangeView:
        """The policy as it was at a revision. Entries written one by one stay as they are, bans too."""
        way = await asyncio.to_thread(self._way, revision)
        if way is None:
            return ChangeView(self.revision, False, opts.dry_run, None, [], 0)
        lost = [str(step.revision) for step in way.steps if not step.whole]
        if lost and not opts.force:
            raise Guarded(
                f"lists that revision {', '.join(lost)} replaced are not kept any more: forcing brings back all else "
                f"of revision {revision}, and leaves those lists as they are"
            )

        def make(state: State) -> Draft:
            edit = self._sets_as_of(way, state.sets)
            new = way.policy if way.policy != state.policy else None
            parts = parts_of(edit, state.sets, state.policy, new, {})
            return Draft(
                parts,
                tags_of(parts, state.policy, new),
                edit if edit.changed else None,
                new,
                history=True,
            )

        return await self.change_whole(make, opts, f"going back to revision {revision}")

    def _way(self, revision: int) -> Way | None:
        """None: nothing of it has changed since. Raises InvalidInput and NotFound for revisions that are not there."""
        if revision > self.revision:
            detail = f"revision {revision} is not reached yet; this is revision {self.revision}"
            raise InvalidInput(detail, [Fault("/revision", detail)])
        steps = [step for step in self.store.steps() if step.policy]
        undone = [step for step in steps if step.revision > revision]
        if not undone:
            return None
        oldest = steps[-1].revision - 1
        if revision < oldest and len(steps) >= STEPS:
            kept = f"the last {STEPS} revisions of the policy are, back to {oldest}"
            raise NotFound(f"revision {revision} is not kept any more: {kept}")
        first = self.store.before(undone[-1].revision)
        return Way(undone, first.policy, first.sets)

    def _sets_as_of(self, way: Way, sets: Sets) -> Edit:
        made = list(_defined(sets, way.comments))
        before = made[-1].sets if made else sets
        wanted = before
        for step in way.steps:
            found = self.store.before(step.revision)
            shift = self.anchor.step_since(found.anchor)
            wanted = undo(wanted, found.deltas, self.clock.wall(), shift=shift, careful=True).sets
        for name, info in before.defined.items():
            made.append(before.edited(info.id, _Towards(wanted, info.id)))
            before = made[-1].sets
            # A set that did not exist then stays while it holds entries that were written one by one.
            if name not in way.comments and not before.total(name):
                made.append(before.drop(name))
                before = made[-1].sets
        return joined(before, made)


@dataclass(frozen=True, slots=True)
class _Towards:
    wanted: Sets
    set_id: int

    def __call__(self, family: Family, table: SortedTable) -> TableEdit:
        return towards(table, self.wanted.table(self.set_id, family))


def _defined(sets: Sets, comments: dict[str, str]) -> Iterator[Edit]:
    for name, comment in comments.items():
        edit = sets.describe(name, comment) if name in sets.defined else sets.create(name, comment)
        yield edit
        sets = edit.sets
