# SPDX-License-Identifier: Apache-2.0
"""Runs in a process of its own: one long JSON document in, packed columns out.

`python -I -m xdpfw.policy.bulk_child json|ndjson NOW skip|all`: the document on stdin, the answer on stdout. The answer
is one line of JSON, then the arrays that it announces, one after the other::

    {"unreadable": why} or
    {"texts": [text...], "faults": [[pointer, detail]...], "skipped": [the same...], "invalid": count,
     "columns": [[family, name, length]...]}
"""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from typing import IO, Any

import numpy as np

from xdpfw.model.errors import Fault, Unreadable
from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy import keys as k
from xdpfw.policy.bulk import Bulk, Rows, parse_json, parse_ndjson

READERS = {"json": parse_json, "ndjson": parse_ndjson}


def write(bulk: Bulk, file: IO[bytes]) -> None:
    columns = {
        (family, field.name): column
        for family, rows in bulk.rows.items()
        for field in fields(rows)
        if (column := getattr(rows, field.name)) is not None
    }
    head = {
        "texts": bulk.texts,
        "faults": [[fault.pointer, fault.detail] for fault in bulk.faults],
        "skipped": [[fault.pointer, fault.detail] for fault in bulk.skipped],
        "invalid": bulk.invalid,
        "columns": [[*name, len(column)] for name, column in columns.items()],
    }
    file.write(json.dumps(head).encode() + b"\n")
    for column in columns.values():
        file.write(column.tobytes())


def read(file: IO[bytes]) -> Bulk:
    """Raises Unreadable, as the parser did."""
    head = json.loads(file.readline())
    if "unreadable" in head:
        raise Unreadable(head["unreadable"])
    columns: dict[Family, dict[str, Any]] = {family: {"keys": k.empty(family)} for family in FAMILIES}
    for family, name, count in head["columns"]:
        dtype = k.KEY[family] if name == "keys" else np.dtype(np.int64)
        columns[family][name] = np.frombuffer(file.read(count * dtype.itemsize), dtype)
    return Bulk(
        {family: Rows(**found) for family, found in columns.items()},
        head["texts"],
        tuple(Fault(*fault) for fault in head["faults"]),
        tuple(Fault(*fault) for fault in head["skipped"]),
        head["invalid"],
    )


def main(form: str, now: str, bad: str) -> None:
    try:
        bulk = READERS[form](sys.stdin.buffer.read(), now=int(now), skip_invalid=bad == "skip")
    except Unreadable as error:
        sys.stdout.buffer.write(json.dumps({"unreadable": error.detail}).encode() + b"\n")
    else:
        write(bulk, sys.stdout.buffer)


if __name__ == "__main__":
    main(*sys.argv[1:])
