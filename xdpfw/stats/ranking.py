# SPDX-License-Identifier: Apache-2.0
"""The first few of a million, without sorting them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.stats.deltas import Indexes

MOST_TIES = 1 << 13
_SOME = 1 << 12

Values = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]


class Best:
    """The `limit` largest of the values that are offered, piece by piece, and what ties with the last of them; of very
    many ties, the first that were offered. What cannot be among them is put aside with one comparison."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._most_ties = limit + MOST_TIES
        self._at, self._values = np.empty(0, np.intp), np.empty(0, np.int64)
        self._news: list[tuple[Indexes, Values]] = []
        self._size, self._room = 0, _SOME
        self._bound = np.int64(np.iinfo(np.int64).min)

    def offer(self, numbers: Indexes | int, values: Values, among: Marks) -> None:
        """Those of the values that are `among` them; `numbers`: what they belong to, or the first of these."""
        at = np.flatnonzero(among & (values >= self._bound))
        self._news.append((at + numbers if isinstance(numbers, int) else numbers[at], values[at]))
        self._size += len(at)
        if self._size > self._room:
            self._sift()

    def result(self) -> tuple[Indexes, Values]:
        self._sift()
        return self._at, self._values

    def _sift(self) -> None:
        at, values = (np.concatenate(parts) for parts in zip((self._at, self._values), *self._news, strict=True))
        self._news = []
        if len(values) > self._limit:
            last = np.partition(values, len(values) - self._limit)[len(values) - self._limit]
            ties = np.flatnonzero(values == last)
            keep = values > last
            keep[ties[: self._most_ties]] = True
            at, values = at[keep], values[keep]
            self._bound = last + (len(ties) >= self._most_ties)
        self._at, self._values = at, values
        self._size = len(at)
        self._room = 2 * self._size + _SOME


def first(among: Indexes, keys: Sequence[Callable[[Indexes], npt.NDArray[Any]]], limit: int) -> Indexes:
    """The first `limit` in the order of the keys. A later key is asked for only about what the earlier ones leave
    open, and only about the first so many of those."""
    chosen: list[Indexes] = []
    candidates, room = among, limit
    for key in keys:
        if len(candidates) <= room:
            break
        values = key(candidates)
        last = np.partition(values, room - 1)[room - 1]
        chosen.append(candidates[values < last])
        room -= len(chosen[-1])
        candidates = candidates[values == last][: room + MOST_TIES]
    picked = np.concatenate([*chosen, candidates[:room]])
    return picked[np.lexsort([key(picked) for key in reversed(keys)])]
