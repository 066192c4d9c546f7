# SPDX-License-Identifier: Apache-2.0
"""A list that takes the place of a set's entries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from xdpfw.model.prefix import FAMILIES, Family, Prefix
from xdpfw.policy import claims as c
from xdpfw.policy import edits
from xdpfw.policy import keys as k
from xdpfw.policy.bulk import Bulk
from xdpfw.policy.bulk_claims import rows_of
from xdpfw.policy.edits import TableEdit
from xdpfw.policy.ops import NEVER, Keys
from xdpfw.policy.table import SortedTable

if TYPE_CHECKING:
    from xdpfw.policy.sets import Edit, Sets

Table = tuple[int, Family]
NO_CLAIMS: dict[Family, Keys] = {family: c.claim_keys(k.pack([])[family], 0) for family in FAMILIES}


class Since:
    """The sets when a list for one of them began to arrive, and the claims that were written meanwhile as they were
    already: no edit shows that somebody wants them."""

    def __init__(self, sets: Sets, name: str) -> None:
        """Raises NotFound unless there is such a set."""
        self.sets, self._name = sets, sets.info(name).name
        self._again = dict(NO_CLAIMS)
        self.count = 0

    def written(self, name: str, claims: Iterable[tuple[Prefix, str]]) -> None:
        """To some set, in the thread that edits."""
        for prefix, origin in claims if name == self._name else ():
            number, family = self.sets.origins.find(origin), prefix.family
            if number is not None:
                key = c.claim_keys(k.pack([prefix])[family], number)
                self._again[family] = k.union(self._again[family], key)
                self.count += 1

    def again(self, family: Family) -> Keys:
        """Sorted claim keys."""
        return self._again[family]


class Replacement:
    """The bulk instead of what is there: of `origin` (whose claims they all become), or of all.

    `since`: when the request began; claims written to the set since then stay. `expires` and `comment` are for
    rows that say none. Made again from sets that differ little, the edit costs what differs.
    """

    def __init__(
        self,
        name: str,
        bulk: Bulk,
        *,
        origin: str | None,
        now: int,
        since: Since,
        expires: int = NEVER,
        comment: str = "",
    ) -> None:
        self._name, self._since, base = name, since, since.sets
        self._only = None if origin is None else base.origins.intern(origin)
        self._wanted = rows_of(
            bulk, base.origins, base.comments, only=self._only, now=now, expires=expires, comment=comment
        )
        self._last: dict[Table, tuple[SortedTable, TableEdit]] = {}
        self._known = 0

    def edit(self, sets: Sets) -> Edit:
        """Raises NotFound when there is no such set any more."""
        set_id = sets.info(self._name).id
        if self._since.count != self._known:
            self._last, self._known = {}, self._since.count
        return sets.edited(set_id, lambda family, table: self._change((set_id, family), table))

    def _change(self, which: Table, table: SortedTable) -> TableEdit:
        before, last = self._last.get(which, (None, None))
        if last is not None and before is not None and last.bulk:
            prefixes = c.differing(before, table)
            if not len(prefixes):
                return last
            if not table.is_wide(len(prefixes)) or not last.table.is_wide(len(prefixes)):
                was, now = (self._replaced(which, c.part(version, prefixes), prefixes) for version in (before, table))
                return self._remember(which, table, edits.amended(last, prefixes, was, now))
        return self._remember(which, table, self._replaced(which, table))

    def _remember(self, which: Table, table: SortedTable, edit: TableEdit) -> TableEdit:
        self._last[which] = table, edit
        return edit

    def _replaced(self, which: Table, table: SortedTable, prefixes: Keys | None = None) -> TableEdit:
        """`prefixes`: the table has the claims on these alone."""
        wanted, base = self._wanted[which[1]], self._since.sets.table(*which)
        if prefixes is not None:
            wanted, base = c.on(SortedTable.of(wanted), prefixes), c.part(base, prefixes)
        return edits.replaced(table, wanted, self._only, base, self._since.again(which[1]))
