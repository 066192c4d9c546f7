# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import sqlite3
from contextlib import closing

from xdpfw.store import large


def test_nothing_of_a_large_row_stays_with_the_connection() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE blobs (id INTEGER PRIMARY KEY, text)")
        seen: list[str] = []
        db.set_trace_callback(seen.append)
        for text in ("before", "now"):
            large.insert(db, "OR REPLACE INTO blobs", (1, text))
        db.set_trace_callback(None)
        assert db.execute("SELECT * FROM blobs").fetchall() == [(1, "now")]
        # What a statement was given last is what the connection keeps of it.
        assert "now" in seen[-2] and "now" not in seen[-1]
        assert seen[-1].replace("NULL, NULL", "1, 'now'").replace("NULL IS", "1 IS") == seen[-2]
