# SPDX-License-Identifier: Apache-2.0
"""The database's schema, version by version. `PRAGMA user_version` says which one a file has."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from xdpfw.model.errors import StoreError

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE state (
            id INTEGER PRIMARY KEY CHECK (id = 1),
            revision INTEGER NOT NULL,
            policy TEXT,
            boot TEXT,
            clock_offset INTEGER,
            next_set_id INTEGER NOT NULL,
            bases BLOB
        )""",
        "INSERT INTO state (id, revision, next_set_id) VALUES (1, 0, 3)",
        "CREATE TABLE sets (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, comment TEXT NOT NULL)",
        "INSERT INTO sets VALUES (1, 'allow', ''), (2, 'block', '')",
        "CREATE TABLE origins (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
        "CREATE TABLE comments (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
        """CREATE TABLE blobs (
            set_id INTEGER NOT NULL REFERENCES sets ON DELETE CASCADE,
            family INTEGER NOT NULL CHECK (family IN (4, 6)),
            records BLOB NOT NULL,
            PRIMARY KEY (set_id, family)
        )""",
        """CREATE TABLE overlay (
            set_id INTEGER NOT NULL REFERENCES sets ON DELETE CASCADE,
            family INTEGER NOT NULL CHECK (family IN (4, 6)),
            key BLOB NOT NULL,
            record BLOB,
            PRIMARY KEY (set_id, family, key)
        ) WITHOUT ROWID""",
        "CREATE TABLE interfaces (name TEXT PRIMARY KEY, mode TEXT NOT NULL)",
        """CREATE TABLE epochs (
            name TEXT PRIMARY KEY,
            since INTEGER NOT NULL,
            passed_packets INTEGER NOT NULL,
            passed_bytes INTEGER NOT NULL,
            dropped_packets INTEGER NOT NULL,
            dropped_bytes INTEGER NOT NULL
        )""",
        """CREATE TABLE tokens (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            role TEXT NOT NULL CHECK (role IN ('read', 'write', 'admin')),
            digest BLOB NOT NULL,
            created INTEGER NOT NULL
        )""",
    ),
    (
        "ALTER TABLE tokens ADD COLUMN expires INTEGER",
        "ALTER TABLE tokens ADD COLUMN sources TEXT NOT NULL DEFAULT ''",
    ),
    (
        """CREATE TABLE steps (
            revision INTEGER PRIMARY KEY,
            made INTEGER NOT NULL,
            author TEXT NOT NULL,
            policy INTEGER NOT NULL,
            whole INTEGER NOT NULL,
            boot TEXT,
            clock_offset INTEGER,
            before BLOB NOT NULL
        )""",
        """CREATE TABLE deltas (
            revision INTEGER NOT NULL REFERENCES steps ON DELETE CASCADE,
            name TEXT NOT NULL,
            family INTEGER NOT NULL CHECK (family IN (4, 6)),
            texts BLOB NOT NULL,
            before BLOB NOT NULL,
            after BLOB NOT NULL,
            PRIMARY KEY (revision, name, family)
        )""",
        "CREATE TABLE pending (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), document TEXT NOT NULL)",
        """CREATE TABLE audit (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            kind INTEGER NOT NULL,
            at INTEGER NOT NULL,
            actor TEXT NOT NULL,
            label TEXT NOT NULL,
            source TEXT NOT NULL,
            pid INTEGER,
            request TEXT NOT NULL,
            number TEXT NOT NULL,
            outcome TEXT NOT NULL,
            status INTEGER NOT NULL,
            revision INTEGER NOT NULL,
            detail TEXT NOT NULL,
            differences TEXT NOT NULL,
            more INTEGER NOT NULL
        )""",
        "CREATE INDEX audit_kinds ON audit (kind, id)",
    ),
    (
        """CREATE TABLE bans (
            address BLOB NOT NULL,
            length INTEGER NOT NULL,
            rule TEXT NOT NULL,
            expires INTEGER NOT NULL,
            added INTEGER NOT NULL,
            packets INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            PRIMARY KEY (address, length)
        ) WITHOUT ROWID""",
    ),
)
"""Statements that lead from each version to the next; a published one is never changed."""


def migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date, within the caller's transaction. Raises StoreError for one from the future."""
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path} was written by a newer xdpfw (schema {version}; this one knows {len(MIGRATIONS)}); start that "
            "version again, or give this one another --state-dir"
        )
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
