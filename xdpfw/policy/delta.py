# SPDX-License-Identifier: Apache-2.0
"""What a change did to claims, so that it can be taken back: by itself, or under changes that others made since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy import claims as c
from xdpfw.policy import edits
from xdpfw.policy import keys as k
from xdpfw.policy.edits import TableEdit
from xdpfw.policy.ops import NEVER, Keys
from xdpfw.policy.sets import Edit, Sets, Table
from xdpfw.policy.strings import Strings
from xdpfw.policy.table import Records, SortedTable, chosen, gather, plain


@dataclass(frozen=True, slots=True)
class Delta:
    """One set's claims of one family: `before` what was overwritten or removed, `after` what was written instead, both
    sorted. `origins` and `comments`: the texts of the numbers in them, since numbers may be given out anew."""

    name: str
    family: Family
    before: Records
    after: Records
    origins: Mapping[int, str]
    comments: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.before) + len(self.after)


def deltas_of(edit: Edit, before: Sets) -> tuple[Delta, ...]:
    """Of an edit of the sets that were `before`."""
    names = {info.id: info.name for info in (*before.infos(), *edit.sets.infos())}
    tables = {*edit.rows, *edit.gone, *edit.bulk, *((number, family) for number in edit.dropped for family in FAMILIES)}
    found = []
    for set_id, family in sorted(tables):
        old, new = _written(edit, before, (set_id, family))
        if not len(old) and not len(new):
            continue
        origins = {number for rows in (old, new) for number in _distinct(c.origins(rows["key"]))}
        comments = {number for rows in (old, new) for number in _distinct(rows["comment"])}
        texts = edit.sets.origins, edit.sets.comments
        found.append(
            Delta(names[set_id], family, old, new, _texts(texts[0], origins), _texts(texts[1], comments)),
        )
    return tuple(found)


def _written(edit: Edit, before: Sets, at: Table) -> tuple[Records, Records]:
    """What an edit overwrote or removed in a table, and what it wrote."""
    if at in edit.replaced:
        return edit.replaced[at]
    old = before.table(*at)
    if at in edit.bulk or at[0] in edit.dropped:
        return _between(old, edit.sets.table(*at))
    rows, gone = edit.rows.get(at), edit.gone.get(at)
    new = np.empty(0, old.dtype) if rows is None else rows
    keys = np.ascontiguousarray(new["key"]) if gone is None else k.union(new["key"], gone)
    found, there = old.find(keys)
    return chosen(found, there), new


def _between(old: SortedTable, new: SortedTable) -> tuple[Records, Records]:
    """Records of either that the other has not, or has otherwise."""
    if not len(old) or not len(new):
        return old.array(), new.array()
    before, after = old.array(), new.array()
    merged = k.together(np.ascontiguousarray(before["key"]), np.ascontiguousarray(after["key"]))
    same = merged.common.copy()
    at = merged.among[same]
    same[same] = plain(before)[at] == plain(after)[np.flatnonzero(same)]
    stays = np.zeros(len(before), np.bool_)
    stays[merged.among[same]] = True
    return chosen(before, ~stays), chosen(after, ~same)


def _texts(strings: Strings, numbers: Iterable[int]) -> dict[int, str]:
    return {number: strings[number] for number in numbers}


def _distinct(column: npt.NDArray[Any]) -> list[int]:
    """Most lists have one origin, and one comment."""
    if not len(column):
        return []
    return [int(column[0])] if (column == column[0]).all() else np.unique(column).tolist()


def undo(sets: Sets, deltas: Sequence[Delta], now: int, *, shift: int = 0, careful: bool = False) -> Edit:
    """Take changes back, given in the order in which they are to be taken back: newest first.

    What has run out by `now` does not come back. Sets that are not there are passed over. `shift`: by how much the wall
    clock was stepped since. `careful`: a claim that is not any more as the change left it stays as it is.
    """
    made: list[Edit] = []
    for name in dict.fromkeys(delta.name for delta in deltas):
        if name in sets.defined:
            of_set = [_numbered(_shifted(delta, shift), sets) for delta in deltas if delta.name == name]
            made.append(sets.edited(sets.info(name).id, _Undoing(of_set, now, careful)))
            sets = made[-1].sets
    return joined(sets, made)


@dataclass(frozen=True, slots=True)
class _Undoing:
    deltas: Sequence[Delta]
    now: int
    careful: bool

    def __call__(self, family: Family, table: SortedTable) -> TableEdit:
        wanted = table
        for delta in self.deltas:
            if delta.family == family:
                wanted = wanted.merge(*_taken_back(delta, wanted, self.now, self.careful))
        return towards(table, wanted)


def towards(table: SortedTable, wanted: SortedTable) -> TableEdit:
    """From one version of a table to another."""
    back, away = wanted.changes_since(table), table.changes_since(wanted)
    return edits.apply(table, back, k.without(away["key"], back["key"]), longest=False)


def _taken_back(delta: Delta, table: SortedTable, now: int, careful: bool) -> tuple[Records, Keys]:
    """Claims to put in and keys to take out."""
    before, after = delta.before, delta.after
    if careful:
        rows, found = table.find(after["key"])
        same = found & (rows["expires"] == after["expires"]) & (rows["comment"] == after["comment"])
        after = chosen(after, same | (~found & (delta.after["expires"] <= now)))
        _, there = table.find(before["key"])
        untouched = ~there & ~k.member(before["key"], delta.after["key"])
        before = chosen(before, untouched | k.member(before["key"], after["key"]))
    before = chosen(before, before["expires"] > now)
    return before, k.without(after["key"], before["key"])


def _shifted(delta: Delta, step: int) -> Delta:
    if not step:
        return delta
    return replace(delta, before=_later(delta.before, step), after=_later(delta.after, step))


def _later(rows: Records, step: int) -> Records:
    moved = rows.copy()
    moved["expires"][moved["expires"] != NEVER] += step
    return moved


def _numbered(delta: Delta, sets: Sets) -> Delta:
    """With the numbers that texts have now."""
    origins = {number: sets.origins.intern(text) for number, text in delta.origins.items()}
    comments = {number: sets.comments.intern(text) for number, text in delta.comments.items()}
    if all(number == now for numbers in (origins, comments) for number, now in numbers.items()):
        return delta
    before, after = (_renumbered(rows, origins, comments) for rows in (delta.before, delta.after))
    return replace(delta, before=before, after=after)


def _renumbered(rows: Records, origins: Mapping[int, int], comments: Mapping[int, int]) -> Records:
    moved = rows.copy()
    moved["key"] = c.claim_keys(c.prefix_keys(rows["key"]), _mapped(c.origins(rows["key"]), origins))
    moved["comment"] = _mapped(rows["comment"], comments)
    return gather(moved, k.order(np.ascontiguousarray(moved["key"]))) if len(moved) else moved


def _mapped(column: npt.NDArray[Any], numbers: Mapping[int, int]) -> npt.NDArray[np.int64]:
    used, inverse = np.unique(column, return_inverse=True)
    return np.array([numbers[number] for number in used.tolist()], np.int64)[inverse]


def joined(sets: Sets, made: Sequence[Edit]) -> Edit:
    """Edits made one upon the other, of different sets or of their definitions, as one that leads to `sets`."""
    touched = {family: k.union(k.empty(family), *(edit.touched[family] for edit in made)) for family in FAMILIES}
    counts = ("added", "refreshed", "removed", "kept", "total")
    return Edit(
        sets=sets,
        touched=touched,
        **{name: sum(getattr(edit, name) for edit in made) for name in counts},
        changed=any(edit.changed for edit in made),
        rows={table: rows for edit in made for table, rows in edit.rows.items()},
        gone={table: keys for edit in made for table, keys in edit.gone.items()},
        bulk=frozenset().union(*(edit.bulk for edit in made)),
        defined=any(edit.defined for edit in made),
        dropped=tuple(number for edit in made for number in edit.dropped),
    )
