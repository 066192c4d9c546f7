# SPDX-License-Identifier: Apache-2.0
"""Leaf ids: handed out once, and again only when no packet can reach them and their counters are cleared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xdpfw.model.errors import MapFull
from xdpfw.model.prefix import Family
from xdpfw.policy.ops import Ids, Keys

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Dying:
    """Leaves whose prefixes were deleted: packets on their way may still count there. `counts` of them are
    folded already."""

    family: Family
    keys: Keys
    leaves: Ids
    counts: Counts


class Leaves:
    """free → taken → dying (prefix deleted) → dead (a grace period has passed) → free (counters cleared)."""

    def __init__(self, size: int, taken: Ids) -> None:
        """Ids 1 … size - 1; `taken` are those in the tables already."""
        self.size = size
        self._next = int(taken.max(initial=0)) + 1
        unused = np.ones(self._next, np.bool_)
        unused[0] = unused[taken] = False
        self._freed: Ids = np.flatnonzero(unused).astype(np.uint32)
        self.used = len(taken)
        self.dying: list[Dying] = []
        self.dead: Ids = np.empty(0, np.uint32)

    @property
    def free(self) -> int:
        return len(self._freed) + self.size - self._next

    def free_ids(self) -> Ids:
        return np.concatenate((self._freed, np.arange(self._next, self.size, dtype=np.uint32)))

    def waiting_ids(self) -> Ids:
        """Ids that become free by a grace period and clearing."""
        return np.concatenate((self.dead, *(batch.leaves for batch in self.dying)))

    def peek(self, count: int) -> Ids:
        """The next `count` ids; what waits is taken along only when there are no others. Raises MapFull."""
        freed = self._freed if count <= self.free else np.concatenate((self._freed, self.waiting_ids()))
        if count > len(freed) + self.size - self._next:
            raise self._full()
        again = min(count, len(freed))
        fresh = np.arange(self._next, self._next + count - again, dtype=np.uint32)
        return np.concatenate((freed[len(freed) - again :], fresh))

    def take(self, count: int) -> None:
        """Hand out what `peek` answered."""
        again = min(count, len(self._freed))
        self._freed = self._freed[: len(self._freed) - again]
        self._next += count - again
        self.used += count

    def _full(self) -> MapFull:
        return MapFull(
            f"the table of leaves is full: it has room for {self.size - 1:,} distinct prefixes over all sets;"
            " raise leaves under [limits] in the configuration file"
        )

    def reserve(self, count: int) -> Ids:
        """Hand out very many that are free, the lowest in order: what is written together lies together. Raises
        MapFull."""
        if count > self.free:
            raise self._full()
        among = np.zeros(self._next, np.bool_)
        among[self._freed] = True
        freed = np.flatnonzero(among).astype(np.uint32)
        again = min(count, len(freed))
        fresh = np.arange(self._next, self._next + count - again, dtype=np.uint32)
        self._freed = freed[again:]
        self._next += count - again
        self.used += count
        return np.concatenate((freed[:again], fresh))

    def give_back(self, ids: Ids) -> None:
        """Of those taken, these never were in the tables."""
        self._freed = np.concatenate((self._freed, ids))
        self.used -= len(ids)

    def graced(self) -> list[Dying]:
        """A grace period has passed since the last of the dying was deleted; answers them."""
        batches, self.dying = self.dying, []
        self.dead = np.concatenate((self.dead, *(batch.leaves for batch in batches)))
        return batches

    def cleared(self, ids: Ids) -> None:
        """The counters of these dead leaves are zero."""
        if not len(ids):
            return
        self._freed = np.concatenate((self._freed, ids))
        self.dead = self.dead[~np.isin(self.dead, ids)]
        self.used -= len(ids)
