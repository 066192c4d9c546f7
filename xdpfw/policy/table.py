# SPDX-License-Identifier: Apache-2.0
"""An immutable sorted table of numpy records, in blocks that its versions share.

A change copies only the blocks that it touches (path copying; Driscoll, Sarnak, Sleator, Tarjan 1989, with a tree of
height one), so a snapshot costs nothing and one row among a million costs one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Records = npt.NDArray[Any]
"""Structured array with a field `key` of fixed-width bytes, sorted by it, no key twice."""

BLOCK_ROWS = 4096


class SortedTable:
    """Sorted records of one dtype, whose field `key` orders them."""

    @classmethod
    def empty(cls, dtype: np.dtype[Any]) -> SortedTable: ...
    @classmethod
    def of(cls, rows: Records) -> SortedTable:
        """From sorted rows without repeated keys (not copied)."""

    def __len__(self) -> int: ...
    def array(self) -> Records:
        """All rows, one contiguous array."""

    def blocks(self) -> Iterator[Records]: ...
    def get(self, key: bytes) -> Records | None:
        """The row of a key, as a record, or None."""

    def range(self, first: bytes, last: bytes) -> Records:
        """Rows with first <= key <= last."""

    def page(self, after: bytes, limit: int) -> Records:
        """At most `limit` rows with key > after."""

    def merge(self, upserts: Records, deletes: Any) -> SortedTable:
        """A table with sorted rows put in (replacing equal keys) and sorted keys, absent ones too, taken out."""

    def changes_since(self, base: SortedTable) -> Records:
        """Rows that are not in `base` or differ there; blocks that both share are not looked at."""
