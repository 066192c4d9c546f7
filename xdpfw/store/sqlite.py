# SPDX-License-Identifier: Apache-2.0
"""The store on disk: SQLite in WAL mode (https://sqlite.org/wal.html), `synchronous=FULL`, so that what was committed
outlives a power cut.

Claims are kept per set and family as one packed blob with an overlay of rows (a row without a record is a tombstone):
one changed prefix is one small row, also in a set of a million, and a million are one blob. A change of very many rows,
or an overlay that has grown long, becomes the new blob.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xdpfw.clock import ClockAnchor
from xdpfw.model.ban import Ban
from xdpfw.model.errors import StoreError
from xdpfw.model.interface import AttachMode, Epoch
from xdpfw.model.ledger import AuditQuery, AuditRecord
from xdpfw.model.prefix import Family, Prefix
from xdpfw.policy.claims import CLAIM
from xdpfw.policy.edits import BULK_ROWS
from xdpfw.policy.sets import Edit, SetInfo, Sets
from xdpfw.policy.strings import Strings
from xdpfw.policy.table import Records, SortedTable
from xdpfw.store import large, ledger
from xdpfw.store.packing import pack, pack_bases, slices, unpack, unpack_bases
from xdpfw.store.policy_text import policy_of, policy_text
from xdpfw.store.port import Before, Ledger, Packed, Saved, Step, StoredChange, TokenRecord
from xdpfw.store.schema import migrate

BUSY_SECONDS = 5.0
CHECKPOINT_PAGES = 1000
WAL_LIMIT = 64 << 20
"""Bytes of write-ahead log that are kept on disk after a large write."""
DAMAGED = (
    "the database is damaged; stop the daemon (filters stay in force) and put a copy in its place (xdpfw restore "
    "FILE); without one, move it away, take the filters off (xdpfw detach --all --offline) and import the sets anew"
)

Table = tuple[int, Family]


class SqliteStore:
    """One connection, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or make the database; its directory and itself are for this user alone. Raises StoreError."""
        self.path = path
        self._lock = threading.Lock()
        self._overlay: Counter[Table] = Counter()
        self._origins_saved = self._comments_saved = 1
        self._unused: list[tuple[str, int]] = []
        with self._errors():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made here, because SQLite would make it readable for others. The log beside it takes over its mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            path.chmod(0o600)
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._file = path.stat().st_ino
        try:
            with self._errors():
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA foreign_keys = ON")
                self._db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT}")
            with self._transaction():
                migrate(self._db, path)
        except StoreError:
            self._db.close()
            raise

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(_advice(self.path, error)) from error
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}; check the disk and the owner of --state-dir") from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing. Raises StoreError."""
        with self._lock, self._errors():
            self._check_place()
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # a full disk makes SQLite roll back by itself
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _check_place(self) -> None:
        """What is written to a file without a name is lost with this process."""
        if not self.path.exists() or self.path.stat().st_ino != self._file:
            raise StoreError(
                f"{self.path} was deleted or replaced under the daemon, and nothing can be kept: put it back "
                "(xdpfw restore, with the daemon stopped) and start the daemon again; what is in force stays"
            )

    # reading

    def load(self) -> Saved:
        with self._transaction():
            revision, policy, boot, offset, next_id, bases = self._db.execute(
                "SELECT revision, policy, boot, clock_offset, next_set_id, bases FROM state"
            ).fetchone()
            return Saved(
                revision,
                self._load_sets(next_id),
                policy_of(policy),
                {name: AttachMode(mode) for name, mode in self._db.execute("SELECT name, mode FROM interfaces")},
                None if boot is None else ClockAnchor(boot, offset),
                unpack_bases(bases or b""),
                self._load_epochs(),
                self._load_bans(),
                ledger.pending(self._db),
            )

    def _load_epochs(self) -> dict[str, Epoch]:
        rows = self._db.execute("SELECT * FROM epochs")
        return {name: Epoch(since, (a, b, c, d)) for name, since, a, b, c, d in rows}

    def _load_bans(self) -> dict[Prefix, Ban]:
        rows = self._db.execute("SELECT address, length, rule, expires, added, packets, bytes FROM bans")
        found = {Prefix(4 if len(address) == 4 else 6, address, length): rest for address, length, *rest in rows}
        return {prefix: Ban(prefix, *rest) for prefix, rest in found.items()}

    def _load_sets(self, next_id: int) -> Sets:
        rows = self._db.execute("SELECT id, name, comment FROM sets ORDER BY id")
        infos = [SetInfo(*row) for row in rows]
        tables: dict[Table, Records] = {}
        for info in infos:
            for family, dtype in CLAIM.items():
                tables[info.id, family] = self._load_table((info.id, family), dtype)
        filled = [records for records in tables.values() if len(records)]
        origins = self._texts("origins", [number for records in filled for number in _distinct(_origins(records))])
        comments = self._texts("comments", [number for records in filled for number in _distinct(records["comment"])])
        sets = Sets.restored(infos, tables, origins, comments, next_id)
        self._origins_saved, self._comments_saved = sets.origins.next_number, sets.comments.next_number
        return sets

    def _load_table(self, table: Table, dtype: np.dtype[Any]) -> Records:
        found = self._db.execute("SELECT records FROM blobs WHERE set_id = ? AND family = ?", table).fetchone()
        records = unpack(found[0], dtype) if found else np.empty(0, dtype)
        overlay = self._db.execute(
            "SELECT key, record FROM overlay WHERE set_id = ? AND family = ? ORDER BY key", table
        ).fetchall()
        self._overlay[table] = len(overlay)
        if not overlay:
            return records
        written = np.frombuffer(b"".join(record for _, record in overlay if record is not None), dtype)
        gone = np.array([key for key, record in overlay if record is None], dtype["key"])
        return SortedTable.of(records).merge(written, gone).array()

    def _texts(self, table: str, used: Iterable[int]) -> dict[int, str]:
        """Those that some claim uses. The others go with the next change: their numbers may be given out again."""
        texts: dict[int, str] = dict(self._db.execute(f"SELECT id, text FROM {table}"))
        unused = texts.keys() - set(map(int, used))
        self._unused += [(table, number) for number in unused]
        return {number: text for number, text in texts.items() if number not in unused}

    # writing

    def pack(self, edit: Edit) -> Packed:
        tables = {table: edit.sets.table(*table) for table in edit.bulk}
        lists = [records for both in edit.replaced.values() for records in both]
        return Packed(
            {table: (rows, pack(rows.array())) for table, rows in tables.items()},
            {id(records): (records, pack(records)) for records in lists},
        )

    def tidy(self) -> None:
        """Move what was written to its place. On a connection of its own it is in nobody's way."""
        with self._errors(), contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_SECONDS)) as db:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def save(self, change: StoredChange) -> None:
        written = change.ledger or Ledger()
        is_large = change.edit is not None and bool(change.edit.bulk)
        with self._transaction():
            # The log of a large change is left to `tidy`, or else to the next one: nobody has to wait for that.
            self._db.execute(f"PRAGMA wal_autocheckpoint = {0 if is_large else CHECKPOINT_PAGES}")
            if written.kept:
                ledger.keep(self._db, change.revision, written.kept, change.packed)
            for table, number in self._unused:
                self._db.execute(f"DELETE FROM {table} WHERE id = ?", (number,))
            self._db.execute("UPDATE state SET revision = ?", (change.revision,))
            if change.policy:
                self._db.execute("UPDATE state SET policy = ?", (policy_text(change.policy),))
            if change.anchor:
                values = (change.anchor.boot, change.anchor.offset)
                self._db.execute("UPDATE state SET boot = ?, clock_offset = ?", values)
            if change.bases is not None:
                self._db.execute("UPDATE state SET bases = ?", (pack_bases(change.bases),))
            self._save_interfaces(change.interfaces or {})
            self._save_epochs(change.epochs or {})
            self._save_bans(change.bans or {})
            saved = self._save_edit(change.edit, change.packed) if change.edit else None
            ledger.write(self._db, written)
        # Only now: what was rolled back was not saved.
        self._unused.clear()
        if saved:
            self._overlay = saved.overlay
            self._origins_saved, self._comments_saved = saved.origins, saved.comments

    def _save_interfaces(self, interfaces: Mapping[str, AttachMode | None]) -> None:
        for name, mode in interfaces.items():
            if mode is None:
                self._db.execute("DELETE FROM interfaces WHERE name = ?", (name,))
            else:
                self._db.execute("INSERT OR REPLACE INTO interfaces VALUES (?, ?)", (name, mode.value))

    def _save_epochs(self, epochs: Mapping[str, Epoch | None]) -> None:
        for name, epoch in epochs.items():
            if epoch is None:
                self._db.execute("DELETE FROM epochs WHERE name = ?", (name,))
            else:
                self._db.execute(
                    "INSERT OR REPLACE INTO epochs VALUES (?, ?, ?, ?, ?, ?)", (name, epoch.since, *epoch.totals)
                )

    def _save_bans(self, bans: Mapping[Prefix, Ban | None]) -> None:
        gone = [(prefix.address, prefix.length) for prefix, ban in bans.items() if ban is None]
        self._db.executemany("DELETE FROM bans WHERE address = ? AND length = ?", gone)
        rows = [
            (ban.prefix.address, ban.prefix.length, ban.rule, ban.expires, ban.added, ban.packets, ban.bytes)
            for ban in bans.values()
            if ban is not None
        ]
        self._db.executemany("INSERT OR REPLACE INTO bans VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _save_edit(self, edit: Edit, packed: Packed) -> _Marks:
        self._db.executemany("DELETE FROM sets WHERE id = ?", [(id,) for id in edit.dropped])
        if edit.defined:
            self._save_infos(edit.sets)
        marks = _Marks(
            Counter(self._overlay),
            self._save_texts("origins", edit.sets.origins, self._origins_saved),
            self._save_texts("comments", edit.sets.comments, self._comments_saved),
        )
        for table in edit.rows.keys() | edit.gone.keys() | edit.bulk:
            if table[0] not in edit.dropped:
                marks.overlay[table] = self._save_table(edit, table, packed.tables.get(table))
        return marks

    def _save_table(self, edit: Edit, table: Table, packed: tuple[SortedTable, bytes] | None) -> int:
        """Answers the number of rows in the overlay, at most."""
        rows, gone = edit.rows.get(table, ()), edit.gone.get(table, ())
        length = self._overlay[table] + len(rows) + len(gone)
        if table in edit.bulk or length > BULK_ROWS:
            now = edit.sets.table(*table)
            then, blob = packed or (now, pack(now.array()))
            self._db.execute("DELETE FROM overlay WHERE set_id = ? AND family = ?", table)
            large.insert(self._db, "OR REPLACE INTO blobs", (*table, blob))
            rows, gone = now.changes_since(then), then.missing_from(now)
            length = len(rows) + len(gone)
        width = CLAIM[table[1]]["key"].itemsize
        written: list[tuple[int, int, bytes, bytes | None]] = []
        if len(rows):
            written += [(*table, record[:width], record) for record in slices(rows)]
        if len(gone):
            written += [(*table, key, None) for key in slices(gone)]
        self._db.executemany("INSERT OR REPLACE INTO overlay VALUES (?, ?, ?, ?)", written)
        return length

    def _save_infos(self, sets: Sets) -> None:
        for info in sets.infos():
            self._db.execute(
                "INSERT INTO sets VALUES (?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET name = excluded.name, comment = excluded.comment",
                (info.id, info.name, info.comment),
            )
        self._db.execute("UPDATE state SET next_set_id = max(next_set_id, ?)", (sets.next_id,))

    def _save_texts(self, table: str, texts: Strings, first: int) -> int:
        """Save texts numbered `first` and up; answers the first number that is not saved yet."""
        new = texts.items(first)
        self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", new.items())
        return max(new, default=first - 1) + 1

    # tokens

    def tokens(self) -> list[TokenRecord]:
        with self._transaction():
            rows = self._db.execute("SELECT id, name, role, digest, created, expires, sources FROM tokens")
            return [
                TokenRecord(id, name, role, digest, created, expires, tuple(map(Prefix.parse, sources.split())))
                for id, name, role, digest, created, expires, sources in rows
            ]

    def add_token(self, record: TokenRecord, audit: Sequence[AuditRecord] = ()) -> None:
        with self._transaction():
            ledger.note(self._db, audit)
            values = (record.id, record.name, record.role, record.digest, record.created, record.expires)
            sources = " ".join(map(str, record.sources))
            self._db.execute("INSERT INTO tokens VALUES (?, ?, ?, ?, ?, ?, ?)", (*values, sources))

    def remove_token(self, id: str, audit: Sequence[AuditRecord] = ()) -> None:
        with self._transaction():
            ledger.note(self._db, audit)
            self._db.execute("DELETE FROM tokens WHERE id = ?", (id,))

    # what was, and who did it

    def steps(self) -> list[Step]:
        with self._transaction():
            return ledger.steps(self._db)

    def before(self, revision: int) -> Before:
        with self._transaction():
            return ledger.before(self._db, revision)

    def note(self, records: Sequence[AuditRecord]) -> None:
        with self._transaction():
            ledger.note(self._db, records)

    def audit(self, query: AuditQuery) -> tuple[list[AuditRecord], int]:
        with self._transaction():
            return ledger.audit(self._db, query)


def wanted_interfaces(path: Path) -> dict[str, AttachMode]:
    """What the database wants attached, read beside everything else; empty when it cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return {name: AttachMode(mode) for name, mode in db.execute("SELECT name, mode FROM interfaces")}
    except (sqlite3.Error, ValueError):
        return {}


@dataclass(frozen=True, slots=True)
class _Marks:
    """How far a transaction has got: rows in the overlays, first numbers of texts that are not saved."""

    overlay: Counter[Table]
    origins: int
    comments: int


def _origins(records: Records) -> Any:
    """The numbers of claims' origins: the last two bytes of their keys, big endian."""
    width = records.dtype["key"].itemsize
    octets = np.ascontiguousarray(records["key"]).view(np.uint8).reshape(len(records), width)
    return octets[:, -2].astype(np.uint32) << 8 | octets[:, -1]


def _distinct(numbers: Any) -> Any:
    """Small ones. `np.unique` imports another part of numpy first, which takes longer than a small database."""
    return np.flatnonzero(np.bincount(numbers))


def _advice(path: Path, error: sqlite3.Error) -> str:
    """What went wrong, and what to do about it. Primary result codes: https://sqlite.org/rescode.html"""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    what = {
        sqlite3.SQLITE_BUSY: "another program holds the database locked; close it there (a sqlite3 shell?) and repeat",
        sqlite3.SQLITE_LOCKED: "another program holds the database locked; close it there and repeat",
        sqlite3.SQLITE_FULL: "the disk is full; make room there and repeat",
        sqlite3.SQLITE_IOERR: "the disk does not read or write; look at the kernel's log and the room left on it",
        sqlite3.SQLITE_READONLY: "it cannot be written; check the mount and who owns the state directory",
        sqlite3.SQLITE_PERM: "it cannot be opened; check who owns the state directory",
        sqlite3.SQLITE_CANTOPEN: "it cannot be opened; check the mount and who owns the state directory",
        sqlite3.SQLITE_CORRUPT: DAMAGED,
        sqlite3.SQLITE_NOTADB: DAMAGED,
    }.get(code, "this is unexpected")
    return f"{path}: {what} ({error})"
