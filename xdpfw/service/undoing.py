# SPDX-License-Identifier: Apache-2.0
"""How the state is without a change: pure, so that a daemon that starts can ask before anything is in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from xdpfw.clock import SECOND
from xdpfw.model.ledger import DAEMON, POLICY, RULES, AuditRecord, Difference, Differences, Outcome, Pending
from xdpfw.model.policy import Policy
from xdpfw.policy.delta import Delta, deltas_of, joined, undo
from xdpfw.policy.sets import Edit, Sets
from xdpfw.store.port import Before, Kept, Ledger, Saved, StoredChange


def sets_without(pending: Pending, before: Before, sets: Sets, now: int, shift: int) -> Edit:
    """What a pending change wrote as it was, and everything else as it is. `shift`: by how much (ns) the wall clock was
    stepped since."""
    return with_definitions(sets, pending.sets, before.deltas, now, shift)


def policy_without(pending: Pending, before: Before, policy: Policy) -> Policy:
    """The parts of the policy that a pending change wrote as they were, and the others as they are."""
    old = before.policy
    if RULES in pending.parts:
        policy = replace(policy, rules=old.rules)
    if POLICY in pending.parts:
        policy = replace(policy, default=old.default, mode=old.mode, ethertypes=old.ethertypes, panic=old.panic)
    return policy


def with_definitions(
    sets: Sets,
    comments: Mapping[str, str | None],
    deltas: Sequence[Delta],
    now: int,
    shift: int,
) -> Edit:
    """Sets with these comments (None: without the set), and changes of their entries taken back, newest first."""
    made: list[Edit] = []

    def step(edit: Edit) -> None:
        nonlocal sets
        made.append(edit)
        sets = edit.sets

    for name, comment in comments.items():
        if comment is not None:
            step(sets.describe(name, comment) if name in sets.defined else sets.create(name, comment))
    gone = [name for name, comment in comments.items() if comment is None and name in sets.defined]
    step(undo(sets, [delta for delta in deltas if delta.name not in gone], now, shift=shift))
    for name in gone:
        step(sets.drop(name))
    return joined(sets, made)


def overdue(saved: Saved, pending: Pending, before: Before, now: int, shift: int) -> tuple[Saved, StoredChange]:
    """For a start: what a store holds without the change that nobody confirmed, and how to write that down."""
    edit = sets_without(pending, before, saved.sets, now, shift)
    policy = policy_without(pending, before, saved.policy).following(saved.policy)
    wanted = {**saved.interfaces, **pending.interfaces}
    author = replace(DAEMON, request=f"DELETE /confirmations/{pending.id}")
    back = tuple(Difference(each.path, each.after, each.before) for each in pending.differences.items)
    audit = AuditRecord(
        now,
        author,
        Outcome.ACCEPTED,
        204,
        saved.revision + 1,
        undone(pending, f"not confirmed within {pending.window // SECOND} s"),
        Differences(back, pending.differences.more),
    )
    kept = Kept(author, now, deltas_of(edit, saved.sets)) if before.step.policy else None
    change = StoredChange(
        saved.revision + 1,
        edit if edit.changed else None,
        policy,
        pending.interfaces,
        ledger=Ledger((audit,), kept, settled=pending.id),
    )
    interfaces = {name: mode for name, mode in wanted.items() if mode is not None}
    return replace(
        saved, revision=change.revision, sets=edit.sets, policy=policy, interfaces=interfaces, pending=None
    ), change


def undone(pending: Pending, why: str) -> str:
    """For the audit trail."""
    return f"revision {pending.revision} ({pending.author.request} of {pending.author.name}) was {why}"
