# SPDX-License-Identifier: Apache-2.0
"""A change on its way: operations for the packet path, and what the compiler knows once they are done."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Family
from xdpfw.policy.ops import Ids, Keys, Op
from xdpfw.policy.sets import Sets
from xdpfw.policy.universe import Region

NO_IDS: Ids = np.empty(0, np.uint32)


@dataclass(frozen=True, slots=True)
class Change:
    """A region with the leaf ids of the prefixes that join."""

    region: Region
    leaves: Ids

    @property
    def family(self) -> Family:
        return self.region.family

    @property
    def inserted(self) -> Keys:
        return self.region.keys[self.region.added]

    @property
    def today(self) -> Ids:
        """What covers the inserted prefixes before the change."""
        return self.region.cover[self.region.added]

    @property
    def deleted(self) -> tuple[Keys, Ids]:
        return self.region.keys[self.region.gone], self.region.leaf[self.region.gone]

    def moved(self, *, gone: bool) -> tuple[Ids, Ids]:
        """Leaves that hold another membership afterwards, new ones among them, and which; with `gone`, those of
        prefixes about to be deleted too."""
        moved = self.region.changed if gone else self.region.changed & ~self.region.gone
        ids = np.concatenate((self.leaves, self.region.leaf[moved]))
        return ids, np.concatenate((self.region.new_cover[self.region.added], self.region.new_cover[moved]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What committing or aborting a plan has to remember.

    `graced`: a grace period passes before anything is deleted; `reclaimed`: dead leaves to be cleared before anything
    else, `cleared`: after all else. `first`: from state of an earlier life, whose entries are not known.
    """

    changes: tuple[Change, ...] = ()
    sets: Sets | None = None
    policy: Policy | None = None
    flips: bool = False
    graced: bool = False
    cleared: Ids = field(default_factory=lambda: NO_IDS)
    reclaimed: Ids = field(default_factory=lambda: NO_IDS)
    first: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations to execute in order (there may be none), then `commit`, or `abort` when they failed. One plan at a
    time."""

    ops: tuple[Op, ...]
    outcome: Outcome = field(repr=False)
