# SPDX-License-Identifier: Apache-2.0
"""Named sets of claims on prefixes: immutable, sharing what versions have in common."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xdpfw.model.errors import Conflict, Fault, InvalidInput, NotFound
from xdpfw.model.policy import ALLOW, BLOCK, DEFAULT_ORIGIN, Claim, Entry
from xdpfw.model.prefix import FAMILIES, Address, Family, Prefix
from xdpfw.policy import claims as c
from xdpfw.policy import edits
from xdpfw.policy import keys as k
from xdpfw.policy.bulk import Bulk
from xdpfw.policy.claims import ABSENT, CLAIM, Times
from xdpfw.policy.edits import TableEdit
from xdpfw.policy.ops import NEVER, Keys
from xdpfw.policy.replacement import Replacement, Since
from xdpfw.policy.strings import Strings
from xdpfw.policy.table import Records, SortedTable

ORIGINS, COMMENTS = 0xFFFF, 1 << 32
"""Numbers for distinct origins and comments. No claim key ends in 0xffff: it stands behind all claims on its prefix."""

NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)

Table = tuple[int, Family]
"""One table of claims: set id and family."""


@dataclass(frozen=True, slots=True)
class SetInfo:
    id: int
    name: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of the sets, not yet in force.

    `touched`: prefixes whose presence or effective expiry in some set differs (what the compiler must look at). If that
    is one set alone, `of` is its id and `until` says for each touched prefix when it leaves the set (ABSENT: it has).
    Counts are of distinct prefixes: `added` were not in the set; `kept` were, and are named by the change; of these
    `refreshed` had a claim that changed; `removed` are in the set no more; `total` is the set's size afterwards.
    For the store: `rows` claims written and `gone` claim keys removed, per (set id, family); `bulk` tables that
    changed as a whole (read them from `sets`), and of these, as far as it is known, the claims that were `replaced` and
    those instead; `defined` whether names or comments of sets changed; `dropped` ids of sets that are gone.
    """

    sets: Sets
    touched: dict[Family, Keys]
    of: int | None = None
    until: Mapping[Family, Times] = field(default_factory=dict)
    added: int = 0
    refreshed: int = 0
    removed: int = 0
    kept: int = 0
    total: int = 0
    changed: bool = False
    rows: Mapping[Table, Records] = field(default_factory=dict)
    gone: Mapping[Table, Keys] = field(default_factory=dict)
    bulk: frozenset[Table] = frozenset()
    replaced: Mapping[Table, tuple[Records, Records]] = field(default_factory=dict)
    defined: bool = False
    dropped: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Sets:
    """All sets. Every change answers an Edit with new Sets; this one stays as it is. `tables` hold claims, `counts`
    the distinct prefixes in them; what is empty may be missing. Origins and comments are shared by all versions."""

    defined: dict[str, SetInfo]
    next_id: int
    origins: Strings
    comments: Strings
    tables: dict[Table, SortedTable] = field(default_factory=dict)
    counts: dict[Table, int] = field(default_factory=dict)

    @classmethod
    def initial(cls) -> Sets:
        """`allow` (id 1) and `block` (id 2), empty."""
        return cls.restored([SetInfo(1, ALLOW), SetInfo(2, BLOCK)], {}, {}, {})

    @classmethod
    def restored(
        cls,
        infos: Iterable[SetInfo],
        tables: Mapping[Table, Records],
        origins: Mapping[int, str],
        comments: Mapping[int, str],
        next_id: int = 0,
    ) -> Sets:
        """What a store saved: sorted claim records, numbered texts. `next_id`: ids below it were used before."""
        defined = {info.name: info for info in infos}
        filled = {table: SortedTable.of(rows) for table, rows in tables.items() if len(rows)}
        return cls(
            defined=defined,
            next_id=max([next_id, *(info.id + 1 for info in defined.values())]),
            origins=Strings(DEFAULT_ORIGIN, ORIGINS, origins),
            comments=Strings("", COMMENTS, comments),
            tables=filled,
            counts={table: len(c.distinct(rows.array()["key"])) for table, rows in filled.items()},
        )

    # definitions

    def names(self) -> list[str]:
        return list(self.defined)

    def infos(self) -> list[SetInfo]:
        return list(self.defined.values())

    def info(self, name: str) -> SetInfo:
        """Raises NotFound."""
        found = self.defined.get(name)
        if found is None:
            raise NotFound(f"there is no set {name!r}; the sets are {', '.join(self.defined)}")
        return found

    def create(self, name: str, comment: str = "") -> Edit:
        """Raises Conflict if it is there, InvalidInput for a bad name."""
        if not NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} cannot name a set: a small letter, then up to 62 of a-z 0-9 _ -")
        if name in self.defined:
            raise Conflict(f"there is a set {name!r} already")
        info = SetInfo(self.next_id, name, comment)
        return _definition(replace(self, defined={**self.defined, name: info}, next_id=self.next_id + 1))

    def describe(self, name: str, comment: str) -> Edit:
        """Another comment."""
        info = self.info(name)
        changed = replace(self, defined={**self.defined, name: replace(info, comment=comment)})
        edit = _definition(changed, total=self.total(name))
        return edit if info.comment != comment else replace(edit, sets=self, changed=False, defined=False)

    def drop(self, name: str) -> Edit:
        """Without the set and all its entries."""
        info = self.info(name)
        touched = {family: c.distinct(self.table(info.id, family).array()["key"]) for family in FAMILIES}
        without = replace(
            self,
            defined={other: kept for other, kept in self.defined.items() if other != name},
            tables={table: rows for table, rows in self.tables.items() if table[0] != info.id},
            counts={table: count for table, count in self.counts.items() if table[0] != info.id},
        )
        edit = _definition(without, removed=self.total(name), dropped=(info.id,))
        until = {family: np.full(len(keys), ABSENT, np.int64) for family, keys in touched.items()}
        return replace(edit, touched=touched, of=info.id, until=until)

    # writes

    def upsert(self, name: str, claims: Sequence[Claim], *, longest: bool) -> Edit:
        """Put claims in. `longest`: the later expiry wins against what the origin claims already, else exactly these
        (among duplicates the later expiry wins in any case)."""
        return self.patch(name, claims, (), longest=longest)

    def remove(
        self, name: str, prefixes: Sequence[Prefix], origin: str | None = None, *, ignore_missing: bool = False
    ) -> Edit:
        """Take out all claims on the prefixes, or an origin's. Raises NotFound, naming those that are not there."""
        return self.patch(name, (), prefixes, longest=False, origin=origin, ignore_missing=ignore_missing)

    def patch(
        self,
        name: str,
        add: Sequence[Claim],
        remove: Sequence[Prefix],
        *,
        longest: bool,
        origin: str | None = None,
        ignore_missing: bool = False,
    ) -> Edit:
        """Both at once. Raises InvalidInput when a prefix is in both, NotFound as `remove` does."""
        set_id = self.info(name).id
        both = sorted({claim.prefix for claim in add} & set(remove))
        if both:
            faults = [Fault(str(prefix), "both added and removed") for prefix in both]
            raise InvalidInput(f"{both[0]} is both added and removed", faults)
        gone = self._claims_on(name, remove, origin, ignore_missing)
        rows = self._records(add)

        def change(family: Family, table: SortedTable) -> TableEdit:
            return edits.apply(table, rows[family], gone[family], longest=longest)

        return self.edited(set_id, change, [family for family in FAMILIES if len(rows[family]) or len(gone[family])])

    def replace(
        self,
        name: str,
        bulk: Bulk,
        *,
        origin: str | None,
        now: int,
        base: Sets,
        expires: int = NEVER,
        comment: str = "",
    ) -> Edit:
        """The bulk instead of what is there, as `Replacement` says."""
        made = Replacement(
            name, bulk, origin=origin, now=now, since=Since(base, name), expires=expires, comment=comment
        )
        return made.edit(self)

    def expire(self, now: int) -> Edit:
        """Without the claims whose time has come, in all sets."""
        none = {family: np.empty(0, CLAIM[family]) for family in FAMILIES}
        return self.edited(
            None, lambda family, table: edits.apply(table, none[family], table.expiring(now)["key"], longest=False)
        )

    def shift(self, delta_ns: int) -> Edit:
        """All expiries moved: the wall clock was stepped by this much."""

        def moved(family: Family, table: SortedTable) -> TableEdit:
            rows = table.expiring(NEVER - 1).copy()
            rows["expires"] += c.in_microseconds(delta_ns)
            return edits.apply(table, rows, rows["key"][:0], longest=False)

        return self.edited(None, moved)

    # queries

    def table(self, set_id: int, family: Family) -> SortedTable:
        found = self.tables.get((set_id, family))
        return SortedTable.empty(CLAIM[family]) if found is None else found

    def total(self, name: str) -> int:
        """Distinct prefixes of both families."""
        return sum(self.counts.get((self.info(name).id, family), 0) for family in FAMILIES)

    def count(self, name: str, within: Prefix | None = None, origin: str | None = None) -> dict[Family, int]:
        """Distinct prefixes per family."""
        set_id = self.info(name).id
        if within is None and origin is None:
            return {family: self.counts.get((set_id, family), 0) for family in FAMILIES}
        number = None if origin is None else self.origins.find(origin)
        found: dict[Family, int] = dict.fromkeys(FAMILIES, 0)
        for family in FAMILIES if within is None else (within.family,):
            table = self.table(set_id, family)
            claims = (table.array() if within is None else c.inside(table, within))["key"]
            if origin is not None:
                claims = claims[c.origins(claims) == number] if number is not None else claims[:0]
            found[family] = len(c.distinct(claims))
        return found

    def entry(self, name: str, prefix: Prefix) -> Entry | None:
        """Exactly that prefix."""
        table = self.table(self.info(name).id, prefix.family)
        found = self._entries(prefix.family, c.exactly(table, prefix))
        return found[0] if found else None

    def entries(
        self, name: str, *, after: Prefix | None, limit: int, within: Prefix | None = None, origin: str | None = None
    ) -> list[Entry]:
        """A page in the order of keys, IPv4 first: entries beyond `after`, inside `within`, claimed by `origin`."""
        set_id = self.info(name).id
        number = None if origin is None else self.origins.find(origin)
        if origin is not None and number is None:
            return []
        size = limit if number is None else max(limit, c.SEARCHED)
        found: list[Entry] = []
        for family in FAMILIES if within is None else (within.family,):
            if after is not None and after.family > family:
                continue
            start = after if after is not None and after.family == family else None
            pages = c.pages(self.table(set_id, family), start, within, size)
            while len(found) < limit and (rows := next(pages, None)) is not None:
                found += self._entries(family, c.claimed_by(rows, number, limit - len(found)))
        return found[:limit]

    def matches(self, address: Address) -> list[tuple[str, Entry]]:
        """All sets' entries that contain the address, the most specific first."""
        host = Prefix.host(address)
        around, found = c.around(host), []
        for info in self.defined.values():
            table = self.table(info.id, host.family)
            if len(table):
                rows, begin, end = c.spans(table, around)
                inside = self._entries(host.family, rows[k.ranges(begin, end)])
                found += [(info.name, entry) for entry in inside]
        return sorted(found, key=lambda match: -match[1].prefix.length)

    def next_expiry(self) -> int | None:
        """The earliest expiry of a claim, if one expires at all."""
        times = [time for table in self.tables.values() if (time := table.next_expiry()) is not None]
        return min((time for time in times if time != NEVER), default=None)

    def iter_keys(self, name: str) -> Iterator[tuple[Family, Keys]]:
        """Distinct prefix keys in order, some thousand at a time."""
        set_id = self.info(name).id
        for family in FAMILIES:
            last: bytes | None = None  # b"" would be 0.0.0.0/0
            for block in self.table(set_id, family).blocks():
                found = c.distinct(block["key"])
                yield family, found[1:] if found[0] == last else found
                last = found[-1]

    # making edits

    def _entries(self, family: Family, rows: Records) -> list[Entry]:
        return c.entries_of(family, rows, self.origins, self.comments)

    def _records(self, claims: Sequence[Claim]) -> dict[Family, Records]:
        """Sorted claim records, each key once."""
        found: dict[Family, list[Any]] = {family: [] for family in FAMILIES}
        for claim in claims:
            key = k.key_of(claim.prefix) + self.origins.intern(claim.origin).to_bytes(2, "big")
            expires = NEVER if claim.expires is None else c.in_microseconds(claim.expires)
            found[claim.prefix.family].append((key, expires, self.comments.intern(claim.comment), claim.added))
        return {family: c.latest(np.array(rows, CLAIM[family])) for family, rows in found.items()}

    def _claims_on(
        self, name: str, prefixes: Sequence[Prefix], origin: str | None, ignore_missing: bool
    ) -> dict[Family, Keys]:
        """Sorted keys of the claims on prefixes."""
        set_id = self.info(name).id
        number = None if origin is None else self.origins.find(origin)
        found = {family: np.empty(0, CLAIM[family]["key"]) for family in FAMILIES}
        missing: list[Prefix] = []
        for family, wanted in k.pack(prefixes).items():
            if not len(wanted):
                continue
            rows, begin, end = c.spans(self.table(set_id, family), wanted)
            claims = rows["key"][k.ranges(begin, end)]
            if origin is not None:
                claims = claims[c.origins(claims) == number] if number is not None else claims[:0]
            absent = wanted[~k.member(wanted, c.distinct(claims))]
            missing += (k.prefix_of(family, key) for key in absent)
            found[family] = claims
        if missing and not ignore_missing:
            raise c.absent(name, missing, origin)
        return found

    def edited(
        self,
        only: int | None,
        change: Callable[[Family, SortedTable], TableEdit],
        families: Sequence[Family] = FAMILIES,
    ) -> Edit:
        """An edit of one set, or of all that have entries, from the changes of its tables of these families."""
        affected = list(self.tables) if only is None else [(only, family) for family in families]
        edits = {table: change(table[1], self.table(*table)) for table in affected}
        edits = {table: edit for table, edit in edits.items() if edit.changed or edit.kept}
        changed = {table: edit for table, edit in edits.items() if edit.changed}
        counts = {table: self.counts.get(table, 0) + edit.added - edit.removed for table, edit in changed.items()}
        sets = self
        if changed:
            tables = self.tables | {table: edit.table for table, edit in changed.items()}
            sets = replace(
                self,
                tables={table: rows for table, rows in tables.items() if len(rows)},
                counts={**self.counts, **counts},
            )
        bulk = frozenset(table for table, edit in changed.items() if edit.bulk)
        touched = {
            family: k.union(k.empty(family), *(edit.touched for table, edit in changed.items() if table[1] == family))
            for family in FAMILIES
        }
        return Edit(
            sets=sets,
            touched=touched,
            of=only,
            until={table[1]: edit.until for table, edit in edits.items()} if only is not None else {},
            added=sum(edit.added for edit in edits.values()),
            refreshed=sum(edit.refreshed for edit in edits.values()),
            removed=sum(edit.removed for edit in edits.values()),
            kept=sum(edit.kept for edit in edits.values()),
            total=sum(n for table, n in sets.counts.items() if only is None or table[0] == only),
            changed=bool(changed),
            rows={table: edit.rows for table, edit in changed.items() if table not in bulk},
            gone={table: edit.gone for table, edit in changed.items() if table not in bulk},
            bulk=bulk,
            replaced={table: (edits[table].was, edits[table].rows) for table in bulk},
        )


def differing(one: Sets, other: Sets, family: Family) -> Keys:
    """Prefixes with claims that are in one of two versions alone; what both share is not looked at."""
    numbers = {info.id for sets in (one, other) for info in sets.infos()}
    return k.union(k.empty(family), *(c.differing(one.table(n, family), other.table(n, family)) for n in numbers))


def _definition(sets: Sets, *, total: int = 0, removed: int = 0, dropped: tuple[int, ...] = ()) -> Edit:
    touched = {family: k.empty(family) for family in FAMILIES}
    return Edit(sets, touched, total=total, removed=removed, changed=True, defined=True, dropped=dropped)
