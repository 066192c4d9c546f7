# SPDX-License-Identifier: Apache-2.0
"""Copies of the database: taken while a daemon writes to it, put back while none does."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from xdpfw.model.errors import Conflict, InvalidInput, NotFound, StoreError
from xdpfw.store.schema import MIGRATIONS


def backup(database: Path, target: Path) -> int:
    """Write a copy as of one moment, readable for this user alone; answers its revision.

    Raises NotFound (no database), Conflict (the target exists) and StoreError.
    """
    if not database.exists():
        raise NotFound(f"there is no database {database}; --state-dir says where it is")
    try:
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise Conflict(f"{target} is there already; choose another name") from None
    except OSError as error:
        raise StoreError(f"{target}: {error.strerror}") from error
    try:
        with _open(database) as source, _open(target) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
        return check(target)
    except BaseException:
        target.unlink()
        raise


def check(path: Path) -> int:
    """Whether this is a whole database of ours, of this version or an older one; answers its revision.

    Raises NotFound, InvalidInput and StoreError.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    try:
        with _open(path, "?mode=ro&immutable=1") as db:
            version: int = db.execute("PRAGMA user_version").fetchone()[0]
            faults = [row[0] for row in db.execute("PRAGMA integrity_check(3)")]
            revision: int = db.execute("SELECT revision FROM state").fetchone()[0]
    except StoreError as error:
        raise InvalidInput(f"{path} is no backup of an xdpfw database ({error.detail})") from None
    if faults != ["ok"]:
        raise InvalidInput(f"{path} is damaged: {'; '.join(faults)}")
    if version > len(MIGRATIONS):
        raise InvalidInput(
            f"{path} was written by a newer xdpfw (schema {version}; this one knows {len(MIGRATIONS)}): install that"
        )
    return revision


def restore(copy: Path, database: Path) -> tuple[int, Path | None]:
    """Put a copy in the database's place, in one step, with no daemon running. What was there is kept beside it.
    Answers the copy's revision, and where the old database is now (None: there was none).

    Raises NotFound, InvalidInput and StoreError; then nothing has changed.
    """
    revision = check(copy)
    directory = database.parent.stat()
    half, old = database.with_suffix(".restored"), database.with_suffix(".before-restore")
    try:
        half.unlink(missing_ok=True)
        os.close(os.open(half, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with _open(copy, "?mode=ro&immutable=1") as source, _open(half) as made:
            made.execute("PRAGMA synchronous = FULL")
            source.backup(made)
            made.execute("PRAGMA journal_mode = DELETE")
        os.chown(half, directory.st_uid, directory.st_gid)
        there = database.exists()
        if there:
            _set_aside(database, old)
        half.replace(database)
        _sync(database.parent)
    except OSError as error:
        half.unlink(missing_ok=True)
        raise StoreError(f"{error.filename or database}: {error.strerror}") from error
    return revision, old if there else None


def _set_aside(database: Path, old: Path) -> None:
    """Under another name too. The log beside a database belongs to it, and would be taken for its successor's: it is
    folded in, or goes along where the database is too broken for that."""
    with contextlib.suppress(StoreError), _open(database) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    for path in old.parent.glob(f"{old.name}*"):
        path.unlink()
    os.link(database, old)
    for suffix in ("-wal", "-shm"):
        log = database.with_name(database.name + suffix)
        if log.exists():
            log.rename(old.with_name(old.name + suffix))


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _open(path: Path, how: str = "") -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(path.resolve().as_uri() + how, uri=True, timeout=30)) as db:
            yield db
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
