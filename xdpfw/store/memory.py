# SPDX-License-Identifier: Apache-2.0
"""A store that forgets: for tests, and for whoever wants nothing on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from xdpfw.model.errors import StoreError
from xdpfw.model.ledger import AuditQuery, AuditRecord
from xdpfw.model.policy import Policy
from xdpfw.policy.sets import Edit, Sets
from xdpfw.store.port import STEPS, Before, Kept, Ledger, Packed, Saved, Step, StoredChange, TokenRecord

K = TypeVar("K")
V = TypeVar("V")


class MemoryStore:
    """Everything that it keeps is immutable, so a change is one assignment. It never runs out of room: all lists that
    were replaced, and all of the audit trail, are kept."""

    def __init__(self) -> None:
        self._saved = Saved(0, Sets.initial(), Policy(), {})
        self._tokens: dict[str, TokenRecord] = {}
        self._before: dict[int, Before] = {}
        self._audit: list[AuditRecord] = []
        self._recorded = 0

    def load(self) -> Saved:
        return self._saved

    def save(self, change: StoredChange) -> None:
        old, ledger = self._saved, change.ledger or Ledger()
        if ledger.kept:
            self._keep(change.revision, ledger.kept)
        self._saved = replace(
            old,
            revision=change.revision,
            sets=change.edit.sets if change.edit else old.sets,
            policy=change.policy or old.policy,
            interfaces=_changed(old.interfaces, change.interfaces),
            anchor=change.anchor or old.anchor,
            bases=old.bases if change.bases is None else dict(change.bases),
            epochs=_changed(old.epochs, change.epochs),
            bans=_changed(old.bans, change.bans),
        )
        self._write(ledger)

    def _keep(self, revision: int, kept: Kept) -> None:
        old = self._saved
        step = Step(revision, kept.made, kept.author, kept.policy, whole=True)
        comments = {info.name: info.comment for info in old.sets.infos()}
        self._before[revision] = Before(step, old.policy, comments, kept.deltas, old.anchor)

    def _write(self, ledger: Ledger) -> None:
        pending = self._saved.pending
        if ledger.withdrawn is not None:
            self._before.pop(ledger.withdrawn, None)
            self._audit = [record for record in self._audit if record.revision != ledger.withdrawn]
            pending = None if pending and pending.revision == ledger.withdrawn else pending
        pending = ledger.pending or (None if ledger.settled else pending)
        self._saved = replace(self._saved, pending=pending)
        policy = sorted(revision for revision, before in self._before.items() if before.step.policy)[-STEPS:]
        stays = {*policy, pending.revision if pending else -1}
        self._before = {revision: before for revision, before in self._before.items() if revision in stays}
        self.note(ledger.audit)

    def steps(self) -> list[Step]:
        return [self._before[revision].step for revision in sorted(self._before, reverse=True)]

    def before(self, revision: int) -> Before:
        if revision not in self._before:
            raise StoreError(f"what was before revision {revision} is not kept any more")
        return self._before[revision]

    def note(self, records: Sequence[AuditRecord]) -> None:
        for record in records:
            self._recorded += 1
            self._audit.append(replace(record, id=self._recorded))

    def audit(self, query: AuditQuery) -> tuple[list[AuditRecord], int]:
        found = [record for record in reversed(self._audit) if _wanted(record, query)]
        older = [record for record in found if query.before is None or record.id < query.before]
        return older[: query.limit], len(found)

    def pack(self, edit: Edit) -> Packed:
        return Packed()

    def tidy(self) -> None:
        pass

    def tokens(self) -> list[TokenRecord]:
        return list(self._tokens.values())

    def add_token(self, record: TokenRecord, audit: Sequence[AuditRecord] = ()) -> None:
        self._tokens[record.id] = record
        self.note(audit)

    def remove_token(self, id: str, audit: Sequence[AuditRecord] = ()) -> None:
        self._tokens.pop(id, None)
        self.note(audit)

    def close(self) -> None:
        pass


def _wanted(record: AuditRecord, query: AuditQuery) -> bool:
    paths = [record.author.request.partition(" ")[2].lstrip("/"), *(each.path for each in record.differences.items)]
    about = query.resource is None or any(f"{path}/".startswith(f"{query.resource}/") for path in paths)
    return (
        about
        and (query.actor is None or query.actor in (record.author.name, record.author.label))
        and (query.outcome is None or record.outcome is query.outcome)
    )


def _changed(old: Mapping[K, V], change: Mapping[K, V | None] | None) -> dict[K, V]:
    merged: dict[K, V | None] = {**old, **(change or {})}
    return {name: value for name, value in merged.items() if value is not None}
