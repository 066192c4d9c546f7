# SPDX-License-Identifier: Apache-2.0
"""The one door that every write goes through: is it free, what does it make different, what is written down."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xdpfw.clock import SECOND
from xdpfw.model.errors import Conflict
from xdpfw.model.interface import AttachMode
from xdpfw.model.ledger import NO_DIFFERENCES, AuditRecord, Difference, Differences, Outcome, Part, Pending
from xdpfw.model.policy import Policy
from xdpfw.model.requests import WriteOptions
from xdpfw.model.secrets import hidden
from xdpfw.model.views import Written
from xdpfw.policy.delta import Delta, deltas_of
from xdpfw.policy.differences import (
    bounded,
    entry_differences,
    interface_differences,
    policy_differences,
    set_differences,
)
from xdpfw.policy.probes import Situation, Touched
from xdpfw.policy.sets import Edit
from xdpfw.service.core import Core
from xdpfw.service.locks import meeting
from xdpfw.service.telling import tell
from xdpfw.state import NOTHING, Beside, State
from xdpfw.store.port import Kept, Ledger
from xdpfw.writer import Progress, ignore_progress

MOST_DIFFERENCES = {True: 1024, False: 4096}
"""Characters of differences that the audit trail keeps of a change: of entries alone, of anything else."""
SHOWN_ENTRIES = 10
SHOWN_RULES = 100


@dataclass(frozen=True, slots=True)
class Draft:
    """A change made out from the state as it is, and not in force yet.

    None and nothing: stays as it is. `interfaces`: modes that are wanted from now on (None: not attached any more), and
    in which they are to run now if that is more particular (`running`).
    `parts`: what it writes. `resources`: whose entity tags change. `status`: of the answer. `history`: it is a revision
    of the policy that one can go back to. `settles`: the id of the pending change that it ends. `detail`: for the audit
    trail.
    """

    parts: tuple[Part, ...]
    resources: tuple[str, ...] = ()
    edit: Edit | None = None
    policy: Policy | None = None
    interfaces: Mapping[str, AttachMode | None] = field(default_factory=dict)
    running: Mapping[str, AttachMode] = field(default_factory=dict)
    status: int = 200
    history: bool = False
    settles: str | None = None
    detail: str = ""

    @property
    def changed(self) -> bool:
        return bool(self.policy or self.interfaces or self.settles or (self.edit and self.edit.changed))


class Changes(Core):
    # In the writer's thread, with its lock held.

    def enforce(self, draft: Draft, opts: WriteOptions) -> bool:
        """Put a draft in force, or in a dry run find out whether that would work. Answers whether it changes anything.

        Raises Conflict when something else has to be confirmed first, and what `Writer.apply` raises.
        """
        self.check_free(draft.parts, opts)
        if not draft.changed:
            return False
        if opts.dry_run:
            self.writer.rehearse(draft.edit, draft.policy)
            return True
        self.writer.apply(draft.edit, self.beside(draft, opts))
        return True

    def check_free(self, parts: Iterable[Part], opts: WriteOptions) -> None:
        """Raises Conflict: a change that is not confirmed yet wrote the same, or another one may not wait beside it."""
        pending = self.pending
        if pending is None:
            return
        if opts.confirm_within is not None:
            raise Conflict(f"one change at a time can wait for confirmation, and {self.told(pending)}")
        if met := meeting(pending.parts, parts):
            raise Conflict(f"{met} was changed by what is not confirmed yet: {self.told(pending)}")

    def guard(self, draft: Draft, opts: WriteOptions, what: str) -> None:
        """Raises Guarded when the draft would lock somebody out. `what`: the change, for people."""
        if opts.force or not draft.changed:
            return
        state, now = self.state, {*self.interfaces.attached, *self.interfaces.desired}
        then = (now | draft.interfaces.keys()) - {name for name, mode in draft.interfaces.items() if mode is None}
        nowhere = {""}  # nothing is filtered yet: looked at all the same, as if on an interface that no rule names
        before = Situation(state.sets, state.policy, frozenset(now or nowhere))
        after = Situation(
            draft.edit.sets if draft.edit else state.sets, draft.policy or state.policy, frozenset(then or nowhere)
        )
        entries_alone = draft.edit and not (draft.policy or draft.interfaces)
        touched = Touched(draft.edit.touched) if draft.edit and entries_alone else None
        self.guards.check(before, after, opts, what, touched)

    def told(self, pending: Pending) -> str:
        left = max(0, -(-self.time_left(pending) // SECOND))
        return (
            f"{pending.author.request or 'a change'} waits for {left} s more; keep it (xdpfw confirm) or take it back "
            f"(xdpfw rollback), then repeat this. Its id is {pending.id}"
        )

    async def change_long(
        self,
        make: Callable[[State], Edit],
        finish: Callable[[Edit], Draft],
        opts: WriteOptions,
        progress: Progress = ignore_progress,
    ) -> Edit:
        """`enforce` with an edit of any size, not in the writer's thread and without its lock. When it takes effect,
        `make` makes the edit, and checks whether it may be made; `finish` makes the draft around it."""

        def beside(edit: Edit) -> Beside:
            draft = finish(edit)
            return self.beside(draft, opts) if draft.changed else NOTHING

        return await self.writer.change(make, progress, beside=beside)

    def beside(self, draft: Draft, opts: WriteOptions) -> Beside:
        """What goes with the draft's edit."""
        desired, written = self.interfaces.desired, list[Ledger]()
        attached = {name: draft.running.get(name, mode) for name, mode in draft.interfaces.items() if mode}

        def ledger() -> Ledger:
            written.append(self._ledger(draft, opts))
            return written[-1]

        def after() -> None:
            self._done(draft, written[-1])
            tell(written[-1].audit[-1])
            for name, mode in draft.interfaces.items():
                if mode is None:
                    self.interfaces.detach(name)

        return Beside(
            policy=draft.policy,
            interfaces=draft.interfaces,
            were={name: desired.get(name) for name in draft.interfaces},
            attach=lambda: self.interfaces.switch(attached),
            after=after,
            ledger=ledger,
        )

    def _done(self, draft: Draft, ledger: Ledger) -> None:
        """The draft is in force."""
        if ledger.pending or ledger.settled:
            self.pending = ledger.pending
            self.versions.changed("confirmations")
        for name, mode in draft.interfaces.items():
            self.to_attach.pop(name, None)
            if mode:
                self.interfaces.desired[name] = mode
            else:
                self.interfaces.desired.pop(name, None)
                self.traffic.epochs.pop(name, None)
        self.versions.changed(*draft.resources)

    def _ledger(self, draft: Draft, opts: WriteOptions) -> Ledger:
        deltas = deltas_of(draft.edit, self.state.sets) if draft.edit else ()
        found, more = self.differences(draft, deltas, SHOWN_ENTRIES, SHOWN_RULES)
        entries = not draft.history and draft.edit is not None
        kept = None
        if draft.history or opts.confirm_within is not None:
            kept = Kept(opts.author, self.clock.wall(), deltas, draft.history)
        differences = bounded(found, more, MOST_DIFFERENCES[entries])
        audit = self.audit_record(opts, Outcome.ACCEPTED, draft.status, differences, entries=entries)
        pending = None
        if opts.confirm_within is not None:
            pending = self._pending(draft, opts, opts.confirm_within, differences)
        audit = replace(audit, revision=self.revision + 1, detail=draft.detail)
        return Ledger((*self.notes(), audit), kept, pending, draft.settles)

    def accepted(
        self, opts: WriteOptions, status: int, differences: Differences = NO_DIFFERENCES
    ) -> tuple[AuditRecord, ...]:
        """For what the state does not hold: access tokens, from when talkers are counted."""
        return *self.notes(), self.audit_record(opts, Outcome.ACCEPTED, status, differences)

    def audit_record(
        self,
        opts: WriteOptions,
        outcome: Outcome,
        status: int,
        differences: Differences = NO_DIFFERENCES,
        *,
        entries: bool = False,
    ) -> AuditRecord:
        """At the present revision."""
        found = Differences(
            tuple(Difference(hidden(each.path), hidden(each.before), hidden(each.after)) for each in differences.items),
            differences.more,
        )
        author = replace(opts.author, request=hidden(opts.author.request))
        return AuditRecord(self.clock.wall(), author, outcome, status, self.revision, "", found, entries)

    def differences(
        self, draft: Draft, deltas: Sequence[Delta], most_entries: int, most_rules: int | None = None
    ) -> tuple[list[Difference], int]:
        """What the draft makes different, so many claims and rules at most, and how many more of these there are."""
        found: list[Difference] = []
        state, rules = self.state, 0
        if draft.policy:
            found, rules = policy_differences(state.policy, draft.policy, most_rules)
        if draft.edit and (draft.edit.defined or draft.edit.dropped):
            found += set_differences(state.sets, draft.edit.sets)
        found += interface_differences(self.interfaces.desired, draft.interfaces)
        entries, more = entry_differences(deltas, most_entries)
        return [*found, *entries], rules + more

    def _pending(self, draft: Draft, opts: WriteOptions, seconds: int, differences: Differences) -> Pending:
        sets, changed = self.state.sets.defined, list[str]()
        if draft.edit and (draft.edit.defined or draft.edit.dropped):
            changed = sorted(sets.keys() ^ draft.edit.sets.defined.keys())
            changed += [n for n, info in sets.items() if draft.edit.sets.defined.get(n, info) != info]
        window = seconds * SECOND
        rules = self.state.policy.rules if draft.policy else ()
        return Pending(
            id=secrets.token_hex(4),
            revision=self.revision + 1,
            author=opts.author,
            made=self.clock.wall(),
            window=window,
            boot=self.anchor.boot,
            deadline=self.clock.monotonic() + window,
            parts=draft.parts,
            differences=differences,
            interfaces={name: self.interfaces.desired.get(name) for name in draft.interfaces},
            ran={
                name: self.interfaces.attached[name].mode
                for name in draft.interfaces
                if name in self.interfaces.attached
            },
            sets={name: sets[name].comment if name in sets else None for name in changed},
            needed=tuple(dict.fromkeys(name for rule in rules for name in rule.set_names)),
            entries=not draft.history and not draft.interfaces,
        )

    def time_left(self, pending: Pending) -> int:
        """Nanoseconds."""
        return pending.left(self.anchor.boot, self.clock.wall(), self.clock.monotonic())

    def written(self, changed: bool, opts: WriteOptions, *, created: bool = False) -> Written:
        """The answer to a write that has just been enforced."""
        return Written(self.revision, changed, created, opts.dry_run, self.waiting(changed, opts))

    def waiting(self, changed: bool, opts: WriteOptions) -> str | None:
        """The id under which a write that has just been enforced waits for confirmation."""
        asked = changed and opts.confirm_within is not None and not opts.dry_run
        return self.pending.id if asked and self.pending else None
