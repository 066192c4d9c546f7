# SPDX-License-Identifier: Apache-2.0
"""What the database writes down with every change: how it was before, what is to be confirmed, and who did it.

Everything here runs inside a transaction of the caller's.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import zlib
from collections.abc import Sequence

from xdpfw.clock import ClockAnchor
from xdpfw.model.errors import StoreError
from xdpfw.model.ledger import AuditQuery, AuditRecord, Author, Outcome, Pending
from xdpfw.policy.claims import CLAIM
from xdpfw.policy.delta import Delta
from xdpfw.policy.table import Records
from xdpfw.store import large
from xdpfw.store.ledger_text import (
    author_of,
    author_text,
    differences_of,
    differences_text,
    pending_of,
    pending_text,
)
from xdpfw.store.packing import pack, unpack
from xdpfw.store.policy_text import policy_of
from xdpfw.store.port import KEPT_BYTES, STEPS, Before, Kept, Ledger, Packed, Step

ENTRIES, POLICY, NOTED = 0, 1, 2
MOST = {ENTRIES: 10_000, POLICY: 10_000, NOTED: 5_000}
"""Records of the audit trail: changes of entries, all other changes, and what changed nothing. Each kind has room of
its own, so that a flood of one does not push out the others."""

SLACK = 250
"""Records that may be there beyond that before the oldest are taken out."""

_FAST = 1
_AUDIT = "id, at, actor, label, source, pid, request, number, outcome, status, revision, detail, differences, more"
_BYTES = "length(before) + length(after) + length(texts)"


def keep(db: sqlite3.Connection, revision: int, kept: Kept, ready: Packed) -> None:
    """Before anything of the change is written: the database holds what was before. `ready`: lists that may be among
    those that are kept."""
    policy, boot, offset = db.execute("SELECT policy, boot, clock_offset FROM state").fetchone()
    sets = dict(db.execute("SELECT name, comment FROM sets"))
    before = zlib.compress(json.dumps({"policy": policy, "sets": sets}).encode(), _FAST)
    values = (revision, kept.made, author_text(kept.author), kept.policy, boot, offset, before)
    db.execute("INSERT INTO steps VALUES (?, ?, ?, ?, 1, ?, ?, ?)", values)
    for delta in kept.deltas:
        texts = zlib.compress(json.dumps([dict(delta.origins), dict(delta.comments)]).encode(), _FAST)
        lists = [_packed(records, ready) for records in (delta.before, delta.after)]
        large.insert(db, "INTO deltas", (revision, delta.name, delta.family, texts, *lists))


def _packed(records: Records, ready: Packed) -> bytes:
    found = ready.lists.get(id(records))
    return found[1] if found else pack(records)


def write(db: sqlite3.Connection, ledger: Ledger) -> None:
    """After the change is written."""
    if ledger.withdrawn is not None:
        db.execute("DELETE FROM steps WHERE revision = ?", (ledger.withdrawn,))
        db.execute("DELETE FROM audit WHERE revision = ?", (ledger.withdrawn,))
        found = pending(db)
        if found and found.revision == ledger.withdrawn:
            db.execute("DELETE FROM pending")
    if ledger.settled is not None:
        db.execute("DELETE FROM pending")
    if ledger.pending:
        db.execute("INSERT OR REPLACE INTO pending VALUES (1, ?)", (pending_text(ledger.pending),))
    if ledger.kept or ledger.settled is not None:
        _make_room(db)
    note(db, ledger.audit)


def _make_room(db: sqlite3.Connection) -> None:
    """Drop what nobody can go back to, then the oldest lists that are too much; never what is to be confirmed."""
    waiting = pending(db)
    spared = waiting.revision if waiting else -1
    db.execute(
        "DELETE FROM steps WHERE revision != ? AND revision NOT IN"
        " (SELECT revision FROM steps WHERE policy ORDER BY revision DESC LIMIT ?)",
        (spared, STEPS),
    )
    sizes = dict(db.execute(f"SELECT revision, sum({_BYTES}) FROM deltas GROUP BY revision ORDER BY revision"))
    total = sum(sizes.values())
    for revision, size in sizes.items():
        if total <= KEPT_BYTES:
            return
        if revision != spared:
            db.execute("DELETE FROM deltas WHERE revision = ?", (revision,))
            db.execute("UPDATE steps SET whole = 0 WHERE revision = ?", (revision,))
            total -= size


def pending(db: sqlite3.Connection) -> Pending | None:
    found = db.execute("SELECT document FROM pending").fetchone()
    return pending_of(found[0]) if found else None


def steps(db: sqlite3.Connection) -> list[Step]:
    rows = db.execute("SELECT revision, made, author, policy, whole FROM steps ORDER BY revision DESC")
    return [Step(revision, made, author_of(author), bool(policy), bool(whole))
            for revision, made, author, policy, whole in rows]  # fmt: skip


def before(db: sqlite3.Connection, revision: int) -> Before:
    found = db.execute("SELECT boot, clock_offset, before FROM steps WHERE revision = ?", (revision,)).fetchone()
    if found is None:
        raise StoreError(f"what was before revision {revision} is not kept any more")
    boot, offset, blob = found
    document = json.loads(zlib.decompress(blob))
    [step] = [step for step in steps(db) if step.revision == revision]
    rows = db.execute("SELECT name, family, texts, before, after FROM deltas WHERE revision = ?", (revision,))
    deltas = []
    for name, family, texts, old, new in rows:
        origins, comments = ({int(k): v for k, v in each.items()} for each in json.loads(zlib.decompress(texts)))
        dtype = CLAIM[family]
        deltas.append(Delta(name, family, unpack(old, dtype), unpack(new, dtype), origins, comments))
    anchor = None if boot is None else ClockAnchor(boot, offset)
    return Before(step, policy_of(document["policy"]), document["sets"], tuple(deltas), anchor)


# the audit trail


def note(db: sqlite3.Connection, records: Sequence[AuditRecord]) -> None:
    for record in records:
        kind = NOTED if record.outcome is not Outcome.ACCEPTED else ENTRIES if record.entries else POLICY
        author, found = record.author, record.differences
        who = (author.name, author.label, author.source, author.pid, author.request, author.number)
        what = (record.outcome, record.status, record.revision, record.detail, differences_text(found), found.more)
        columns = ", ".join("?" * 15)
        db.execute(f"INSERT INTO audit (kind, {_AUDIT}) VALUES ({columns})", (kind, None, record.at, *who, *what))
        number = db.execute("SELECT last_insert_rowid()").fetchone()[0]
        if number % SLACK == 0:
            _forget_oldest(db)


def _forget_oldest(db: sqlite3.Connection) -> None:
    for kind, most in MOST.items():
        db.execute(
            "DELETE FROM audit WHERE kind = ? AND id <="
            " (SELECT id FROM audit WHERE kind = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (kind, kind, most),
        )


def audit(db: sqlite3.Connection, query: AuditQuery) -> tuple[list[AuditRecord], int]:
    wanted, values = ["1"], list[object]()

    def where(condition: str, *given: object) -> None:
        wanted.append(condition)
        values.extend(given)

    if query.actor is not None:
        where("? IN (actor, label)", query.actor)
    if query.outcome is not None:
        where("outcome = ?", query.outcome)
    if query.resource is not None:
        name = query.resource.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        patterns = (f"% /{name}", f"% /{name}/%", f'%{{"path":"{name}"%', f'%{{"path":"{name}/%')
        fields = ("request", "request", "differences", "differences")
        where("(" + " OR ".join(f"{field} LIKE ? ESCAPE '\\'" for field in fields) + ")", *patterns)
    condition = " AND ".join(wanted)
    total = db.execute(f"SELECT count(*) FROM audit WHERE {condition}", values).fetchone()[0]
    older = query.before or sys.maxsize
    rows = db.execute(
        f"SELECT {_AUDIT} FROM audit WHERE {condition} AND id < ? ORDER BY id DESC LIMIT ?",
        (*values, older, query.limit),
    )
    return [_record(*row) for row in rows], total


def _record(
    id: int, at: int, actor: str, label: str, source: str, pid: int | None, request: str, number: str, outcome: str,
    status: int, revision: int, detail: str, differences: str, more: int,
) -> AuditRecord:  # fmt: skip
    author = Author(actor, label, source, pid, request, number)
    found = differences_of(differences, more)
    return AuditRecord(at, author, Outcome(outcome), status, revision, detail, found, id=id)
