# SPDX-License-Identifier: Apache-2.0
"""A list that takes the place of a set's entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpfw.model.prefix import Family
from xdpfw.policy import claims as c
from xdpfw.policy import edits
from xdpfw.policy.bulk import Bulk
from xdpfw.policy.bulk_claims import rows_of
from xdpfw.policy.edits import TableEdit
from xdpfw.policy.ops import NEVER, Keys
from xdpfw.policy.table import SortedTable

if TYPE_CHECKING:
    from xdpfw.policy.sets import Edit, Sets

Table = tuple[int, Family]


class Replacement:
    """The bulk instead of what is there: of `origin` (whose claims they all become), or of all.

    `base`: the sets when the request began; claims written to the set since then stay. `expires` and `comment` are for
    rows that say none. Made again from sets that differ little, the edit costs what differs.
    """

    def __init__(
        self,
        name: str,
        bulk: Bulk,
        *,
        origin: str | None,
        now: int,
        base: Sets,
        expires: int = NEVER,
        comment: str = "",
    ) -> None:
        self._name, self._base = name, base
        self._only = None if origin is None else base.origins.intern(origin)
        self._wanted = rows_of(
            bulk, base.origins, base.comments, only=self._only, now=now, expires=expires, comment=comment
        )
        self._last: dict[Table, tuple[SortedTable, TableEdit]] = {}

    def edit(self, sets: Sets) -> Edit:
        """Raises NotFound when there is no such set any more."""
        set_id = sets.info(self._name).id
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
        wanted, base = self._wanted[which[1]], self._base.table(*which)
        if prefixes is not None:
            wanted, base = c.on(SortedTable.of(wanted), prefixes), c.part(base, prefixes)
        return edits.replaced(table, wanted, self._only, base)
