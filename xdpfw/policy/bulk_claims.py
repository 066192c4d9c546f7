# SPDX-License-Identifier: Apache-2.0
"""A parsed bulk body as claim records."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xdpfw.model.prefix import Family
from xdpfw.policy import claims as c
from xdpfw.policy.bulk import UNSET, Bulk, Rows
from xdpfw.policy.ops import NEVER
from xdpfw.policy.strings import Strings
from xdpfw.policy.table import Records

Numbers = npt.NDArray[np.int64]


def rows_of(
    bulk: Bulk, origins: Strings, comments: Strings, *, only: int | None, now: int, expires: int, comment: str
) -> dict[Family, Records]:
    """Sorted claim records, each key once, the later expiry of duplicates. `only`: the origin of all of them."""
    unsaid = comments.intern(comment)
    found: dict[Family, Records] = {}
    for family, rows in bulk.rows.items():
        records = np.empty(len(rows.keys), c.CLAIM[family])
        numbers = 0 if only is None else only
        own = _interned(rows.origins, bulk.texts, origins, 0) if only is None else None
        records["key"] = c.claim_keys(rows.keys, numbers if own is None else own)
        ends = expires if rows.expires is None else np.where(rows.expires == UNSET, expires, rows.expires)
        records["expires"] = np.where(np.equal(ends, NEVER), NEVER, ends // 1000 * 1000)
        said = _interned(rows.comments, bulk.texts, comments, unsaid)
        records["comment"] = unsaid if said is None else said
        records["added"] = now
        found[family] = records if _plain(rows) else c.latest(records)
    return found


def _plain(rows: Rows) -> bool:
    return rows.expires is None and rows.origins is None and rows.comments is None


def _interned(column: Numbers | None, texts: list[str], strings: Strings, unset: int) -> Numbers | None:
    """A column of indices into `texts` as numbers of interned texts."""
    if column is None:
        return None
    used, inverse = np.unique(column, return_inverse=True)
    numbers = [unset if index == UNSET else strings.intern(texts[index]) for index in used.tolist()]
    return np.array(numbers, np.int64)[inverse]
