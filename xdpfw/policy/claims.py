# SPDX-License-Identifier: Apache-2.0
"""Claims as packed records: several origins may claim one prefix in a set, each with its own expiry and comment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.model.errors import Fault, NotFound
from xdpfw.model.policy import Claim, Entry
from xdpfw.model.prefix import Family, Prefix
from xdpfw.policy import keys as k
from xdpfw.policy.keys import starts
from xdpfw.policy.ops import NEVER, Keys
from xdpfw.policy.strings import Strings
from xdpfw.policy.table import Records, SortedTable

CLAIM: dict[Family, np.dtype[Any]] = {
    family: np.dtype([("key", f"S{k.KEY_BYTES[family] + 2}"), ("expires", "i8"), ("comment", "u4"), ("added", "i8")])
    for family in k.KEY_BYTES
}
"""One claim. `key`: prefix key, then the origin's number as u16 big endian; `expires`: wall ns or NEVER; `added`: wall
ns."""

SEARCHED = 4096
"""Rows looked at together when few of them may be wanted."""

MAX_NAMED = 10
"""Absent prefixes that an error names."""

ABSENT = -1
"""The effective expiry of a prefix that nobody claims."""

Times = npt.NDArray[np.int64]


def in_microseconds(ns: int) -> int:
    """Times of claims are whole microseconds, which is what RFC 3339 texts say here: what is exported can be read back
    exactly."""
    return ns // 1000 * 1000


def claim_keys(prefixes: Keys, numbers: npt.NDArray[Any] | int) -> Keys:
    """Keys of claims: prefix keys with origin numbers behind."""
    rows = np.empty((len(prefixes), prefixes.dtype.itemsize + 2), np.uint8)
    rows[:, :-2] = k.octets(prefixes)
    rows[:, -2], rows[:, -1] = numbers >> 8, numbers & 0xFF
    return k.from_octets(rows)


def prefix_keys(claims: Keys) -> Keys:
    """The prefix of every claim key; sorted claims give runs of equal prefixes."""
    return k.from_octets(k.octets(claims)[:, :-2])


def origins(claims: Keys) -> npt.NDArray[np.uint16]:
    tail = np.ascontiguousarray(k.octets(claims)[:, -2:])
    return tail.view(">u2").reshape(len(tail)).astype(np.uint16)


def distinct(claims: Keys) -> Keys:
    """Sorted, distinct prefixes of sorted claim keys."""
    found = prefix_keys(claims)
    return found[starts(found)]


def around(prefix: Prefix) -> Keys:
    """All prefixes that contain one, the shortest first, itself last."""
    lengths = np.arange(prefix.length + 1, dtype=np.uint8)
    return k.masked(np.tile(np.frombuffer(prefix.address, np.uint8), (len(lengths), 1)), lengths)


def spans(table: SortedTable, prefixes: Keys) -> tuple[Records, k.Index, k.Index]:
    """Rows that comprise the claims on sorted prefixes, and where each prefix's begin and end."""
    return table.spans(claim_keys(prefixes, 0), claim_keys(prefixes, 0xFFFF))


def on(table: SortedTable, prefixes: Keys) -> Records:
    """The claims on sorted prefixes."""
    rows, begin, end = spans(table, prefixes)
    return rows[k.ranges(begin, end)]


def exactly(table: SortedTable, prefix: Prefix) -> Records:
    """The claims on one prefix."""
    key = k.key_of(prefix)
    return table.range(key + b"\0\0", key + b"\xff\xff")


def until(table: SortedTable, prefixes: Keys) -> Times:
    """The latest expiry of the claims on each of the sorted prefixes; ABSENT where there is none."""
    found = np.full(len(prefixes), ABSENT, np.int64)
    rows = table.array() if table.is_wide(len(prefixes)) else on(table, prefixes)
    if len(rows):
        claimed = prefix_keys(rows["key"])
        begin = np.flatnonzero(starts(claimed))
        claimed, times = claimed.take(begin), np.maximum.reduceat(rows["expires"], begin)
        at = np.minimum(k.search(prefixes, claimed), len(prefixes) - 1)
        there = prefixes.take(at) == claimed
        found[at[there]] = times[there]
    return found


def part(table: SortedTable, prefixes: Keys) -> SortedTable:
    """The claims on sorted prefixes alone."""
    return SortedTable.of(on(table, prefixes))


def differing(one: SortedTable, other: SortedTable) -> Keys:
    """Prefixes with claims that are in one of two versions alone; what both share is not looked at."""
    return k.union(*(distinct(a.changes_since(b)["key"]) for a, b in ((one, other), (other, one))))


def inside(table: SortedTable, prefix: Prefix) -> Records:
    """Rows of the claims on prefixes inside one."""
    first, last = k.within(prefix)
    return table.range(first + b"\0\0", last + b"\xff\xff")


def pages(table: SortedTable, after: Prefix | None, within: Prefix | None, limit: int) -> Iterator[Records]:
    """Rows behind a prefix and inside another, some entries at a time, no entry in two pieces."""
    cursor = b"" if after is None else k.key_of(after) + b"\xff\xff"
    last = b"\xff" * table.dtype["key"].itemsize
    if within is not None:
        first, end = k.within(within)
        cursor, last = max(cursor, first), end + b"\xff\xff"
    while True:
        rows = table.page(cursor, limit)
        rows = rows[rows["key"] <= last]
        if not len(rows):
            return
        found = prefix_keys(rows["key"])
        final = found[-1].ljust(found.itemsize, b"\0")
        yield np.concatenate((rows[found != final], table.range(final + b"\0\0", final + b"\xff\xff")))
        cursor = final + b"\xff\xff"


def claimed_by(rows: Records, origin: int | None, limit: int) -> Records:
    """Of whole groups of claims those in which an origin (any if None) has one, the first `limit` of them."""
    found = prefix_keys(rows["key"])
    wanted = found if origin is None else found[origins(rows["key"]) == origin]
    wanted = wanted[starts(wanted)][:limit]
    return rows[k.member(found, wanted)]


def latest(rows: Records) -> Records:
    """Sorted by key, each key once: of several rows with one key the one that expires last."""
    if len(rows) < 2:
        return rows
    rows = rows[k.order(rows["key"])]
    first = starts(rows["key"])
    if first.all():
        return rows
    group = np.cumsum(first) - 1
    by_expiry = np.lexsort((-rows["expires"], group))
    return rows[by_expiry[np.flatnonzero(first)]]


def entries_of(family: Family, rows: Records, origin_texts: Strings, comment_texts: Strings) -> list[Entry]:
    """Sorted rows with whole groups of claims as entries, the longest-lived claim first."""
    if not len(rows):
        return []
    found, numbers = prefix_keys(rows["key"]), origins(rows["key"]).tolist()
    bounds = [*np.flatnonzero(starts(found)).tolist(), len(rows)]
    expires, comments, added = (rows[name].tolist() for name in ("expires", "comment", "added"))
    entries = []
    for first, last in pairwise(bounds):
        prefix = k.prefix_of(family, found[first])
        order = sorted(range(first, last), key=lambda at: -expires[at])
        entries.append(
            Entry(
                prefix,
                tuple(
                    Claim(
                        prefix,
                        origin_texts[numbers[at]],
                        None if expires[at] == NEVER else expires[at],
                        comment_texts[comments[at]],
                        added[at],
                    )
                    for at in order
                ),
            )
        )
    return entries


def absent(name: str, missing: Sequence[Prefix], origin: str | None) -> NotFound:
    shown = ", ".join(map(str, missing[:MAX_NAMED]))
    more = f" and {len(missing) - MAX_NAMED:,} more" if len(missing) > MAX_NAMED else ""
    claimed = "" if origin is None else f" as claims of {origin!r}"
    return NotFound(
        f"not in set {name!r}{claimed}: {shown}{more}",
        [Fault(str(prefix), "not in the set") for prefix in missing[:100]],
    )
