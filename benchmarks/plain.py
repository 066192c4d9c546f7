# SPDX-License-Identifier: Apache-2.0
"""What one durable write over REST takes with no firewall behind it: FastAPI, uvicorn and SQLite, a row for the entry,
one for the audit trail, one for the revision, and nothing else."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field

from benchmarks.leftovers import DISK
from lab.janitor import PREFIX
from lab.waiting import eventually

ON_DISK, IN_MEMORY = "database", ":memory:"
SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE entries (prefix TEXT PRIMARY KEY, origin TEXT, expires INTEGER, comment TEXT, added INTEGER) WITHOUT ROWID;
CREATE TABLE audit (id INTEGER PRIMARY KEY, made INTEGER, revision INTEGER, what TEXT);
CREATE TABLE state (revision INTEGER);
INSERT INTO state VALUES (0);
"""


class Body(BaseModel, extra="forbid"):
    ttl: int | None = Field(None, ge=1)
    comment: str = Field("", max_length=1024)
    origin: str = Field("manual", max_length=64)


class Written(BaseModel):
    prefix: str
    origin: str
    ttl: int | None
    comment: str
    added: int
    revision: int


@contextmanager
def service(database: str) -> Iterator[Path]:
    """Its socket. It has a thread of this process, which has nothing else to do while its clients are others."""
    home = DISK / f"{PREFIX}{os.getpid()}-plain"
    home.mkdir()
    with ThreadPoolExecutor(1) as writer:
        db = writer.submit(_opened, database if database == IN_MEMORY else str(home / database)).result()
        config = uvicorn.Config(_app(db, writer), uds=str(home / "socket"), log_level="error", access_log=False)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            eventually(lambda: server.started, "it listens")
            yield home / "socket"
        finally:
            server.should_exit = True
            thread.join()
            writer.submit(db.close)
    shutil.rmtree(home)


def _app(db: sqlite3.Connection, writer: ThreadPoolExecutor) -> FastAPI:
    app = FastAPI()

    @app.put("/api/v1/sets/{name}/entries/{prefix}", status_code=201)
    async def put(name: str, prefix: str, body: Body | None = None, force: bool = False) -> Written:
        said = body or Body.model_validate({})
        row = (prefix, said.origin, said.ttl, said.comment, time.time_ns())
        revision = await asyncio.get_running_loop().run_in_executor(writer, _store, db, row)
        return Written(
            prefix=prefix, origin=said.origin, ttl=said.ttl, comment=said.comment, added=row[-1], revision=revision
        )

    return app


def _opened(database: str) -> sqlite3.Connection:
    db = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    db.executescript(SCHEMA)
    return db


def _store(db: sqlite3.Connection, row: tuple[Any, ...]) -> int:
    db.execute("BEGIN IMMEDIATE")
    db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", row)
    (revision,) = db.execute("UPDATE state SET revision = revision + 1 RETURNING revision").fetchone()
    db.execute("INSERT INTO audit (made, revision, what) VALUES (?, ?, ?)", (row[-1], revision, row[0]))
    db.execute("COMMIT")
    return int(revision)
