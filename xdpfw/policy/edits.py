# SPDX-License-Identifier: Apache-2.0
"""Changes of one set's claims of one family: one merge of what is there with what is written, then columns.

Everything that an edit tells about is read off the sorted union of old and new claims: prefix by prefix the expiry
before and after, and so what came, went, and differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xdpfw.policy import claims as c
from xdpfw.policy import keys as k
from xdpfw.policy.claims import ABSENT, Times
from xdpfw.policy.keys import Flags, Together
from xdpfw.policy.ops import Keys
from xdpfw.policy.table import Records, SortedTable, chosen, gather, plain

BULK_ROWS = 50_000
"""A change of more rows than this is told as a table that changed as a whole."""


@dataclass(frozen=True, slots=True)
class TableEdit:
    """`touched`: prefixes whose effective expiry differs, `until` what it is now (ABSENT: claimed no more). `rows` are
    written, `gone` removed; of a `bulk` edit, `was` is what was overwritten or removed. Counts are of distinct
    prefixes."""

    table: SortedTable
    touched: Keys
    until: Times
    rows: Records
    gone: Keys
    bulk: bool
    was: Records
    added: int
    refreshed: int
    removed: int
    kept: int

    @property
    def changed(self) -> bool:
        return bool(len(self.rows) or len(self.gone))


def apply(table: SortedTable, upserts: Records, deletes: Keys, *, longest: bool) -> TableEdit:
    """Put sorted claims in and take sorted claim keys, absent ones too, out (no key in both).

    With `longest`, a claim that is there and expires later stays as it is. A claim that is there keeps the time at
    which it was added.
    """
    wide = table.is_wide(len(upserts) + len(deletes))
    old = table.array() if wide else c.on(table, c.distinct(k.union(upserts["key"], deletes)))
    at = k.search(old["key"], deletes)
    at = at[old["key"].take(np.minimum(at, len(old) - 1)) == deletes] if len(old) else at[:0]
    gone = np.zeros(len(old), np.bool_)
    gone[at] = True
    merged = k.together(np.ascontiguousarray(old["key"]), np.ascontiguousarray(upserts["key"]))
    return _edited(table, old, upserts, merged, gone, longest=longest, wide=wide)


def replaced(table: SortedTable, wanted: Records, origin: int | None, base: SortedTable, again: Keys) -> TableEdit:
    """Sorted claims instead of all that are there, or instead of an origin's; claims written since `base` stay, `again`
    (sorted keys) among them."""
    old = table.array()
    keys = np.ascontiguousarray(old["key"])
    recent = k.union(table.changes_since(base)["key"], again)
    wanted = chosen(wanted, ~k.member(wanted["key"], recent)) if len(recent) else wanted
    merged = k.together(keys, np.ascontiguousarray(wanted["key"]))
    gone = np.ones(len(old), np.bool_) if origin is None else c.origins(keys) == origin
    gone[merged.among[merged.common]] = False
    if len(recent):
        gone &= ~k.member(keys, recent)
    return _edited(table, old, wanted, merged, gone, longest=False, wide=True)


def amended(edit: TableEdit, prefixes: Keys, was: TableEdit, now: TableEdit) -> TableEdit:
    """A bulk edit with these sorted prefixes edited otherwise: `was` is what it did to them, `now` what is to be."""
    stale = c.on(edit.table, prefixes)["key"]
    kept = ~k.member(edit.touched, prefixes)
    merged = k.together(edit.touched[kept], now.touched)
    until = np.empty(len(merged.keys), np.int64)
    until[merged.first], until[merged.second] = edit.until[kept], now.until
    return TableEdit(
        table=edit.table.merge(now.table.array(), stale),
        touched=merged.keys,
        until=until,
        rows=_instead(edit.rows, prefixes, now.rows),
        gone=edit.gone,
        bulk=True,
        was=_instead(edit.was, prefixes, now.was),
        added=edit.added - was.added + now.added,
        refreshed=edit.refreshed - was.refreshed + now.refreshed,
        removed=edit.removed - was.removed + now.removed,
        kept=edit.kept - was.kept + now.kept,
    )


def _instead(rows: Records, prefixes: Keys, others: Records) -> Records:
    """Sorted claims with others on these prefixes."""
    table = SortedTable.of(rows) if len(rows) else SortedTable.empty(rows.dtype)
    return table.merge(others, c.on(table, prefixes)["key"]).array()


def _edited(
    table: SortedTable, old: Records, upserts: Records, merged: Together, gone: Flags, *, longest: bool, wide: bool
) -> TableEdit:
    """`old`: all rows of the table if `wide`, else all claims on the prefixes that are named."""
    rows, same = _written(old, upserts, merged, longest)
    claimed = c.prefix_keys(merged.keys)
    new, taken = merged.second, np.arange(len(claimed))[merged.first][gone]
    before = np.full(len(claimed), ABSENT, np.int64)
    before[merged.first] = old["expires"]
    after = before.copy()
    after[new], after[taken] = rows["expires"], ABSENT
    named, changed = np.zeros((2, len(claimed)), np.bool_)
    named[new] = named[taken] = changed[new[~same]] = changed[taken] = True
    size = len(rows) - _count(same) + len(taken)
    bulk, rebuilt = size > BULK_ROWS, wide and table.is_wide(size)
    written, lost = chosen(rows, ~same) if same.any() else rows, old["key"][gone]
    was = old[:0]
    if bulk:
        overwritten = gone.copy()
        overwritten[merged.among[merged.common & ~same]] = True
        was = chosen(old, overwritten)
    table = _built(old, rows, merged, after) if rebuilt else table.merge(written, lost)
    first = k.starts(claimed)
    if not first.all():
        begin = np.flatnonzero(first)
        claimed = claimed.take(begin)
        before, after = (np.maximum.reduceat(times, begin) for times in (before, after))
        named, changed = (np.logical_or.reduceat(flags, begin) for flags in (named, changed))
    then, there = before != ABSENT, after != ABSENT
    differ = np.flatnonzero(before != after)
    both = then & there
    return TableEdit(
        table=table,
        touched=claimed.take(differ),
        until=after.take(differ),
        rows=written,
        gone=lost,
        bulk=bulk,
        was=was,
        added=_count(~then & there),
        refreshed=_count(both & changed),
        removed=_count(then & ~there),
        kept=_count(both & named),
    )


def _written(old: Records, upserts: Records, merged: Together, longest: bool) -> tuple[Records, Flags]:
    """The claims as they will be, and which of them are there already, just so."""
    rows, same = upserts, merged.common
    if not same.any():
        return rows, same
    rows = plain(upserts).copy().view(upserts.dtype)
    at = np.flatnonzero(same)
    there = gather(old, merged.among[at])
    rows["added"][at] = there["added"]
    if longest:
        stays = (there["expires"] > rows["expires"][at]) | _only_forgets(there, rows[at])
        plain(rows)[at[stays]] = plain(chosen(there, stays))
    alike = np.zeros(len(rows), np.bool_)
    alike[at] = (there["expires"] == rows["expires"][at]) & (there["comment"] == rows["comment"][at])
    return rows, alike


def _only_forgets(there: Records, rows: Records) -> Flags:
    """The same expiry again, without a comment: what is known stays."""
    silent: Flags = (there["expires"] == rows["expires"]) & (rows["comment"] == 0)
    return silent


def _built(old: Records, rows: Records, merged: Together, after: Times) -> SortedTable:
    """All claims, the new ones over the old, without those that are gone."""
    stay = after != ABSENT
    count = _count(stay)
    if count == len(rows):
        return SortedTable.of(rows)
    made = np.empty(len(merged.keys), old.dtype)
    plain(made)[merged.first], plain(made)[merged.second] = plain(old), plain(rows)
    return SortedTable.of(made if count == len(made) else chosen(made, stay))


def _count(flags: Flags) -> int:
    return int(np.count_nonzero(flags))
