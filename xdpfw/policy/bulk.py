# SPDX-License-Identifier: Apache-2.0
"""Bodies of bulk writes: text, JSON or NDJSON into packed columns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.model.errors import Fault
from xdpfw.model.prefix import Family
from xdpfw.policy.ops import Keys

UNSET = -1
"""In a column: the row does not say; the request's own value holds."""
MAX_FAULTS = 100


@dataclass(frozen=True, slots=True)
class Rows:
    """One family's rows, sorted by key. `expires` (wall ns, NEVER, UNSET), `comments` and `origins` (index into
    `Bulk.texts`, UNSET) are None where no row says anything; without them no key repeats."""

    keys: Keys
    expires: npt.NDArray[np.int64] | None = None
    comments: npt.NDArray[np.int32] | None = None
    origins: npt.NDArray[np.int32] | None = None


@dataclass(frozen=True, slots=True)
class Bulk:
    """A parsed body. `faults`: the first 100 lines that are not a prefix, `invalid` their number; with `skip_invalid`
    they are in `skipped` instead, and do not matter. Picklable: parse it in another process if it is large."""

    rows: dict[Family, Rows]
    texts: list[str] = field(default_factory=list)
    faults: tuple[Fault, ...] = ()
    skipped: tuple[Fault, ...] = ()
    invalid: int = 0

    @property
    def count(self) -> int:
        """Rows of both families (distinct prefixes, unless origins differ)."""
        return sum(len(rows.keys) for rows in self.rows.values())

    def keys(self) -> dict[Family, Keys]:
        """Distinct sorted keys per family."""
        ...


def parse_text(body: bytes, *, skip_invalid: bool = False) -> Bulk:
    """One prefix a line; `#` and `;` start comments, also after a prefix; blank lines, CRLF, a UTF-8 BOM are fine."""


def parse_json(body: bytes, *, now: int, skip_invalid: bool = False) -> Bulk:
    """A list of prefixes or of objects {prefix, ttl | expires_at, comment, origin}. `now`: wall ns, for ttl.

    Raises Unreadable when it is not JSON or not a list.
    """


def parse_ndjson(body: bytes, *, now: int, skip_invalid: bool = False) -> Bulk:
    """The same, one JSON value a line; what an export gives can be read back."""
