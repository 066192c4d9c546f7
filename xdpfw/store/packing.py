# SPDX-License-Identifier: Apache-2.0
"""Arrays of records as bytes: a million claims are one blob, not a million rows.

Layout of a blob, little endian: u8 number of records; then per column of the record dtype one byte, 1 when all records
share one value, and the value or values. A list that was loaded at once differs in its keys only, so this makes a third
of it without spending time on compression.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from xdpfw.model.errors import StoreError
from xdpfw.policy.table import Records
from xdpfw.store.port import Bases

_COUNT = struct.Struct("<Q")
_BASE = np.dtype([("set", "<u4"), ("width", "u1"), ("key", "S17"), ("packets", "<i8"), ("bytes", "<i8")])


def pack(records: Records) -> bytes:
    parts = [_COUNT.pack(len(records))]
    for name in records.dtype.names or ():
        column = np.ascontiguousarray(records[name])
        same = len(column) > 0 and bool((column == column[0]).all())
        parts += [bytes((same,)), (column[:1] if same else column).tobytes()]
    return b"".join(parts)


def unpack(blob: bytes, dtype: np.dtype[Any]) -> Records:
    """Raises StoreError when the blob does not hold such records."""
    try:
        (count,) = _COUNT.unpack_from(blob)
        records = np.empty(count, dtype)
        position = _COUNT.size
        for name in dtype.names or ():
            items = 1 if blob[position] else count
            column = np.frombuffer(blob, dtype[name], items, position + 1)
            records[name] = column
            position += 1 + column.nbytes
    except (struct.error, IndexError, ValueError) as error:
        raise StoreError(f"a stored set cannot be read: {error}") from error
    if position != len(blob):
        raise StoreError("a stored set cannot be read: it is longer than its number of entries says")
    return records


def slices(items: Any) -> Iterator[bytes]:
    """Each item's bytes, trailing NULs too, which numpy takes from single byte strings."""
    data, width = items.tobytes(), items.dtype.itemsize
    return (data[start : start + width] for start in range(0, len(data), width))


def pack_bases(bases: Bases) -> bytes:
    rows = [(set_id, len(key), key, packets, size) for (set_id, key), (packets, size) in bases.items()]
    return np.array(rows, _BASE).tobytes()


def unpack_bases(blob: bytes) -> dict[tuple[int, bytes], tuple[int, int]]:
    return {
        (int(row["set"]), row["key"].ljust(row["width"], b"\0")): (int(row["packets"]), int(row["bytes"]))
        for row in np.frombuffer(blob, _BASE)
    }
