# SPDX-License-Identifier: Apache-2.0
"""Rows of many megabytes, in a database whose connection keeps nothing of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence


def insert(db: sqlite3.Connection, into: str, values: Sequence[object]) -> None:
    """`into`: a table as INSERT names it, such as "INTO blobs". The first value is not None.

    SQLite keeps a copy of what a statement was last given, and Python keeps the statement: it is given nothing then.
    """
    marks = ", ".join(f"?{number}" for number in range(1, len(values) + 1))
    statement = f"INSERT {into} SELECT {marks} WHERE ?1 IS NOT NULL"
    db.execute(statement, values)
    db.execute(statement, [None] * len(values))
