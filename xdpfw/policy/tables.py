# SPDX-License-Identifier: Apache-2.0
"""What both generations of the packet path's tables hold, and changes as operations on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from xdpfw.model.limits import Limits
from xdpfw.model.policy import MAX_SLOTS, Policy
from xdpfw.model.prefix import Family
from xdpfw.policy import keys as k
from xdpfw.policy.leaves import Leaves
from xdpfw.policy.match import RuleTables, class_vectors, rule_tables
from xdpfw.policy.memberships import Memberships
from xdpfw.policy.ops import (
    ClearLeaves,
    ClearRules,
    DeletePrefixes,
    Flip,
    Grace,
    Ids,
    InsertPrefixes,
    Op,
    WriteLeaves,
    WritePolicy,
    WriteVectors,
)
from xdpfw.policy.plan import NO_IDS, Change, Outcome, Piece, Plan
from xdpfw.policy.sets import Sets

ENOUGH_DEAD = 256
"""Dead leaves that are worth an operation of their own."""


class Tables:
    """`generation` is in force. `_value` is what every leaf holds there; in the other one `stale` leaves may hold
    something else, and the policy or vectors may be `_behind`: the next flip brings them along."""

    def __init__(self, generation: int, limits: Limits) -> None:
        self.generation = generation
        self._room = limits.vectors
        self._rules: tuple[Policy, RuleTables] | None = None
        leaves = limits.leaves + 1
        self._value: npt.NDArray[np.uint32] = np.zeros(leaves, np.uint32)
        self.stale: Ids = NO_IDS
        self._behind = True
        self._hosts_deleted: set[Family] = set()
        self.memberships_swept = False

    def put(self, ids: Ids, memberships: Ids) -> None:
        """What leaves of adopted tables hold in force; nothing is known of the other generation."""
        self._value[ids] = memberships
        self.stale = self._union(self.stale, ids)

    def announced(self, piece: Piece) -> None:
        self._value[piece.leaves] = piece.covers

    def assemble(
        self,
        changes: Sequence[Change],
        sets: Sets,
        policy: Policy,
        memberships: Memberships,
        leaves: Leaves,
        *,
        old_policy: Policy,
        first: bool = False,
        more: bool = False,
    ) -> Plan:
        """Operations for changes (with leaf ids) and perhaps a new policy. `more`: there is more to be deleted."""
        new_policy = policy != old_policy
        deletes = [
            DeletePrefixes(change.family, *change.deleted, change.instead, more)
            for change in changes
            if change.region.gone.any()
        ]
        flips = new_policy or first or not _one_step(changes)
        reclaimed = _reclaimed(changes, leaves)
        before = self._before(changes, memberships, leaves, reclaimed)
        if flips:
            steps = list(self._flip(changes, sets, policy, memberships, new_policy))
            unused = _unused_slots(old_policy, policy, first)
            graced = bool(deletes) or first or bool(len(unused))
            steps += [Grace()] * graced
            steps += [ClearRules(unused)] * bool(len(unused))
        else:
            steps, graced = list(self._in_place(changes, sets, policy, memberships)), False
        enough = len(leaves.dead) >= (1 if flips else ENOUGH_DEAD) and not len(reclaimed)
        cleared = leaves.dead if enough else NO_IDS
        after = [ClearLeaves(cleared)] if enough else []
        return Plan(
            (*before, *steps, *deletes, *after),
            Outcome(
                changes=tuple(changes),
                sets=sets,
                policy=policy,
                flips=flips,
                graced=graced or (bool(before) and isinstance(before[0], Grace)),
                cleared=cleared,
                reclaimed=reclaimed,
                first=first,
            ),
        )

    def announce(self, pieces: Sequence[Piece]) -> Plan:
        """Operations for new prefixes that hold what covers them today."""
        unsafe = any(piece.family in self._hosts_deleted and k.is_host(piece.keys).any() for piece in pieces)
        ids = np.concatenate([piece.leaves for piece in pieces])
        covers = np.concatenate([piece.covers for piece in pieces])
        ops: list[Op] = [Grace()] * unsafe
        ops += (WriteLeaves(generation, ids, covers) for generation in (1 - self.generation, self.generation))
        ops += (InsertPrefixes(piece.family, piece.keys, piece.leaves) for piece in pieces)
        return Plan(tuple(ops), Outcome(announced=tuple(pieces), graced=unsafe))

    def _before(self, changes: Sequence[Change], memberships: Memberships, leaves: Leaves, reclaimed: Ids) -> list[Op]:
        """Waiting and clearing that has to come before ids and hash elements are used again."""
        inserted = {change.family for change in changes if k.is_host(change.inserted).any()}
        pending = memberships.pending()
        unsafe = bool(inserted & self._hosts_deleted) or (self.memberships_swept and pending is not None)
        steps: list[Op] = [Grace()] * (unsafe or bool(len(reclaimed) and leaves.dying))
        if len(reclaimed):
            steps.append(ClearLeaves(reclaimed))
        return [*steps, pending] if pending is not None else steps

    def _in_place(
        self, changes: Sequence[Change], sets: Sets, policy: Policy, memberships: Memberships
    ) -> Iterator[Op]:
        """A change that packets see in one place at most."""
        yield from self._new_vectors(sets, policy, memberships)
        for change in changes:
            ids, values = change.moved_to_stay
            if len(ids):
                yield WriteLeaves(1 - self.generation, ids, values)
                yield WriteLeaves(self.generation, ids, values)
        yield from _inserts(changes)

    def _new_vectors(self, sets: Sets, policy: Policy, memberships: Memberships) -> Iterator[Op]:
        if memberships.new_classes:
            names = memberships.class_names(sets, memberships.new_classes)
            yield WriteVectors(self.generation, *class_vectors(self._rules_of(policy), names))

    def _flip(
        self, changes: Sequence[Change], sets: Sets, policy: Policy, memberships: Memberships, new_policy: bool
    ) -> Iterator[Op]:
        """A change that becomes visible at once."""
        other = 1 - self.generation
        new = np.concatenate([NO_IDS, *(change.leaves for change in changes)])
        if len(new):
            yield WriteLeaves(self.generation, new, np.concatenate([change.today for change in changes]))
            yield from _inserts(changes)
        moved = [change.moved for change in changes]
        ids = np.concatenate([NO_IDS, *(part for part, _ in moved)])
        values = np.concatenate([NO_IDS, *(part for _, part in moved)])
        behind = self._without(self.stale, ids)
        if len(ids) or len(behind):
            yield WriteLeaves(other, np.concatenate((behind, ids)), np.concatenate((self._value[behind], values)))
        if new_policy or self._behind or memberships.new_classes:
            rules = self._rules_of(policy)
            yield WritePolicy(other, policy, rules, *class_vectors(rules, memberships.class_names(sets)))
        yield Flip(other)

    def in_force(self, sets: Sets, policy: Policy, memberships: Memberships, classes: Ids) -> WritePolicy:
        """What the policy is in the generation in force, with the vectors of these classes."""
        rules = self._rules_of(policy)
        vectors = class_vectors(rules, memberships.class_names(sets, classes.tolist()))
        return WritePolicy(self.generation, policy, rules, *vectors)

    def _rules_of(self, policy: Policy) -> RuleTables:
        """Made once for each policy: entries change more often than rules."""
        if self._rules is None or self._rules[0] is not policy:
            self._rules = policy, rule_tables(policy, self._room)
        return self._rules[1]

    def commit(self, plan: Plan) -> None:
        done = plan.outcome
        moved = [change.moved for change in done.changes]
        ids = np.concatenate([NO_IDS, *(part for part, _ in moved)])
        if len(ids):
            self._value[ids] = np.concatenate([part for _, part in moved])
        if done.flips:
            self.generation = 1 - self.generation
            self.stale = ids
        written = any(isinstance(op, WritePolicy) for op in plan.ops)
        vectors = any(isinstance(op, WriteVectors) for op in plan.ops)
        self._behind = vectors or written or (self._behind and not done.flips)
        if done.graced:
            self._hosts_deleted.clear()
            self.memberships_swept = False
        for change in done.changes:
            if k.is_host(change.deleted[0]).any():
                self._hosts_deleted.add(change.family)

    def abort(self, plan: Plan) -> None:
        for op in plan.ops:
            if isinstance(op, WriteLeaves) and op.generation != self.generation:
                self.stale = self._union(self.stale, op.ids)
            elif isinstance(op, WritePolicy):
                self._behind = True

    # A flag for every leaf is many times faster than sorting or hashing a million ids.

    def _union(self, ids: Ids, others: Ids) -> Ids:
        among = np.zeros(len(self._value), np.bool_)
        among[ids] = among[others] = True
        return np.flatnonzero(among).astype(np.uint32)

    def _without(self, ids: Ids, others: Ids) -> Ids:
        if not len(ids) or not len(others):
            return ids
        among = np.zeros(len(self._value), np.bool_)
        among[ids] = True
        among[others] = False
        return np.flatnonzero(among).astype(np.uint32)


def _inserts(changes: Sequence[Change]) -> Iterator[Op]:
    return (InsertPrefixes(change.family, change.inserted, change.leaves) for change in changes if len(change.leaves))


def _one_step(changes: Sequence[Change]) -> bool:
    """Whether packets see a change in one place at most, so that it needs no flip."""
    places = sum(int((change.region.cover != change.region.new_cover).sum()) for change in changes)
    if not places:
        return True
    steps = sum(int((change.region.added | change.region.gone | change.region.changed).sum()) for change in changes)
    return steps == 1


def _reclaimed(changes: Sequence[Change], leaves: Leaves) -> Ids:
    """Leaves that have to be cleared at once, since there are no others left."""
    wanted = sum(len(change.leaves) for change in changes)
    return leaves.waiting_ids() if wanted > leaves.free else NO_IDS


def _unused_slots(old: Policy, new: Policy, first: bool) -> Ids:
    """Counters of rules that are gone with a change; at a start, of all that are none of the policy's."""
    before = range(MAX_SLOTS) if first else old.slots.of.values()
    return np.array(sorted(set(before) - set(new.slots.of.values())), np.uint32)
