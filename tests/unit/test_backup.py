# SPDX-License-Identifier: Apache-2.0
"""Copies of the database: what is copied is what is put back, whoever writes meanwhile; and what is refused."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from xdpfw.model.errors import Conflict, InvalidInput, NotFound
from xdpfw.model.interface import AttachMode
from xdpfw.model.policy import Claim
from xdpfw.model.prefix import Prefix
from xdpfw.policy.sets import Sets
from xdpfw.store.backup import backup, restore
from xdpfw.store.port import StoredChange, TokenRecord
from xdpfw.store.schema import MIGRATIONS
from xdpfw.store.sqlite import SqliteStore

TOKEN = TokenRecord("1", "a", "read", b"\0" * 32, 5)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "state" / "xdpfw.db"


@pytest.fixture
def store(database: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(database)) as made:
        made.add_token(TOKEN)
        block(made, "192.0.2.1", 1)
        yield made


def block(store: SqliteStore, prefix: str, revision: int) -> None:
    edit = store.load().sets.upsert("block", [Claim(Prefix.parse(prefix))], longest=False)
    store.save(StoredChange(revision, edit, interfaces={"eth0": AttachMode.NATIVE}))


def blocked(sets: Sets) -> list[str]:
    return [str(entry.prefix) for entry in sets.entries("block", after=None, limit=100)]


def test_a_copy_is_of_one_moment_and_complete(store: SqliteStore, database: Path, tmp_path: Path) -> None:
    """While the store is open and its log is not folded in."""
    copy = tmp_path / "copy.db"
    assert backup(database, copy) == 1
    block(store, "192.0.2.2", 2)
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert not list(tmp_path.glob("copy.db-*"))
    with closing(SqliteStore(copy)) as copied:
        saved = copied.load()
        assert (saved.revision, blocked(saved.sets)) == (1, ["192.0.2.1/32"])
        assert saved.interfaces == {"eth0": AttachMode.NATIVE}
        assert copied.tokens() == [TOKEN]


def test_it_is_put_back_and_what_was_there_is_kept(store: SqliteStore, database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup(database, copy)
    block(store, "192.0.2.2", 2)
    store.close()
    revision, old = restore(copy, database)
    assert revision == 1
    assert old is not None
    for path, expected in ((database, ["192.0.2.1/32"]), (old, ["192.0.2.1/32", "192.0.2.2/32"])):
        with closing(SqliteStore(path)) as found:
            assert blocked(found.load().sets) == expected
    assert restore(copy, database) == (1, old)  # and again
    assert stat.S_IMODE(database.stat().st_mode) == 0o600


def test_the_log_of_a_killed_daemon_is_not_taken_for_the_copys(
    store: SqliteStore, database: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.db"
    backup(database, copy)
    block(store, "192.0.2.2", 2)
    log = database.with_name("xdpfw.db-wal")
    left = log.read_bytes()
    store.close()
    log.write_bytes(left)
    _, old = restore(copy, database)
    assert old is not None
    with closing(SqliteStore(database)) as found:
        assert blocked(found.load().sets) == ["192.0.2.1/32"]
    with closing(SqliteStore(old)) as kept:
        assert blocked(kept.load().sets) == ["192.0.2.1/32", "192.0.2.2/32"]


def test_a_lost_database_is_restored(store: SqliteStore, database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    backup(database, copy)
    store.close()
    database.unlink()
    assert restore(copy, database) == (1, None)
    database.write_bytes(b"no database at all" * 1000)
    _, old = restore(copy, database)
    assert old is not None
    assert old.read_bytes().startswith(b"no database")
    with closing(SqliteStore(database)) as found:
        assert found.load().revision == 1


def test_a_copy_of_an_older_version_is_brought_up_to_date(store: SqliteStore, database: Path, tmp_path: Path) -> None:
    store.close()
    copy = tmp_path / "copy.db"
    with closing(sqlite3.connect(copy)) as db:
        for statement in MIGRATIONS[0]:
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")
        db.commit()
    assert restore(copy, database)[0] == 0
    with closing(SqliteStore(database)) as found:
        assert found.load().revision == 0


@pytest.mark.parametrize("kind", ["absent", "text", "empty", "another database", "cut off", "newer"])
def test_what_is_no_copy_changes_nothing(store: SqliteStore, database: Path, tmp_path: Path, kind: str) -> None:
    copy = tmp_path / "copy.db"
    if kind in ("cut off", "newer"):
        backup(database, copy)
    if kind == "text":
        copy.write_text("hello " * 1000)
    elif kind == "empty":
        copy.write_text("")
    elif kind == "cut off":
        copy.write_bytes(copy.read_bytes()[:-4096])
    elif kind != "absent":
        with closing(sqlite3.connect(copy)) as db:
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}" if kind == "newer" else "CREATE TABLE x (y)")
    store.close()
    before = database.read_bytes()
    with pytest.raises(NotFound if kind == "absent" else InvalidInput, match=str(copy)):
        restore(copy, database)
    assert database.read_bytes() == before
    assert [path.name for path in database.parent.iterdir()] == ["xdpfw.db"]


def test_a_copy_overwrites_nothing(store: SqliteStore, database: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    with pytest.raises(Conflict):
        backup(database, precious)
    assert precious.read_text() == "mine"
    with pytest.raises(NotFound, match="--state-dir"):
        backup(tmp_path / "absent.db", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()
