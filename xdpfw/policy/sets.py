# SPDX-License-Identifier: Apache-2.0
"""Named sets of claims on prefixes: immutable, sharing what versions have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xdpfw.model.policy import Claim, Entry
from xdpfw.model.prefix import Address, Family, Prefix
from xdpfw.policy.bulk import Bulk
from xdpfw.policy.ops import NEVER, Keys
from xdpfw.policy.strings import Strings
from xdpfw.policy.table import Records, SortedTable

CLAIM: dict[Family, np.dtype[Any]] = {
    family: np.dtype([("key", f"S{width}"), ("expires", "i8"), ("comment", "u4"), ("added", "i8")])
    for family, width in ((4, 7), (6, 19))
}
"""One claim. `key`: prefix key, then the origin's number as u16 big endian; `expires`: wall ns or NEVER; `added` wall ns."""

BULK_ROWS = 50_000
"""A change of more rows than this is told to the store as a table that changed as a whole."""


@dataclass(frozen=True, slots=True)
class SetInfo:
    id: int
    name: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of the sets, not yet in force.

    `touched`: prefixes whose presence or effective expiry in some set may differ (what the compiler must look at).
    Counts are of distinct prefixes: `added` were not in the set; `kept` were, and are named by the change; of these
    `refreshed` had a claim that changed; `removed` are in the set no more; `total` is the set's size afterwards.
    For the store: `rows` claims written and `gone` claim keys removed, per (set id, family); `bulk` tables that
    changed as a whole (read them from `sets`); `defined` whether names or comments of sets changed; `dropped` ids
    of sets that are gone.
    """

    sets: Sets
    touched: dict[Family, Keys]
    added: int = 0
    refreshed: int = 0
    removed: int = 0
    kept: int = 0
    total: int = 0
    changed: bool = False
    rows: Mapping[tuple[int, Family], Records] = field(default_factory=dict)
    gone: Mapping[tuple[int, Family], Any] = field(default_factory=dict)
    bulk: frozenset[tuple[int, Family]] = frozenset()
    defined: bool = False
    dropped: tuple[int, ...] = ()


class Sets:
    """All sets. Every change answers an Edit with new Sets; this one stays as it is."""

    origins: Strings
    comments: Strings

    @classmethod
    def initial(cls) -> Sets:
        """`allow` (id 1) and `block` (id 2), empty."""

    @classmethod
    def restored(
        cls,
        infos: Sequence[SetInfo],
        tables: Mapping[tuple[int, Family], Records],
        origins: Mapping[int, str],
        comments: Mapping[int, str],
        next_id: int = 0,
    ) -> Sets:
        """What a store saved: sorted claim records per (set id, family), numbered texts. Unused texts are forgotten."""

    # definitions
    def names(self) -> list[str]: ...
    def infos(self) -> list[SetInfo]: ...
    def info(self, name: str) -> SetInfo:
        """Raises NotFound."""

    def create(self, name: str, comment: str = "") -> Edit:
        """Raises Conflict if it is there, InvalidInput for a bad name."""

    def describe(self, name: str, comment: str) -> Edit: ...
    def drop(self, name: str) -> Edit: ...

    # writes
    def upsert(self, name: str, claims: Sequence[Claim], *, longest: bool, now: int = 0) -> Edit: ...
    def remove(
        self, name: str, prefixes: Sequence[Prefix], origin: str | None = None, *, ignore_missing: bool = False
    ) -> Edit: ...
    def patch(
        self,
        name: str,
        add: Sequence[Claim],
        remove: Sequence[Prefix],
        *,
        longest: bool,
        ignore_missing: bool = False,
        now: int = 0,
    ) -> Edit: ...
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
        """The bulk instead of what is there (of `origin`, or of all). `expires`, `comment`: for rows that say none."""

    def expire(self, now: int) -> Edit: ...
    def shift(self, delta_ns: int) -> Edit: ...

    # queries
    def entry(self, name: str, prefix: Prefix) -> Entry | None: ...
    def entries(
        self, name: str, *, after: Prefix | None, limit: int, within: Prefix | None = None, origin: str | None = None
    ) -> list[Entry]: ...
    def count(self, name: str, within: Prefix | None = None, origin: str | None = None) -> dict[Family, int]: ...
    def matches(self, address: Address) -> list[tuple[str, Entry]]: ...
    def next_expiry(self) -> int | None: ...
    def iter_keys(self, name: str) -> Iterator[tuple[Family, Keys]]:
        """Distinct prefix keys in order, some thousand at a time."""

    def table(self, set_id: int, family: Family) -> SortedTable: ...
