# SPDX-License-Identifier: Apache-2.0
"""What packets must find in the tables, as the compiler knows it between two plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Family
from xdpfw.policy.memberships import Memberships
from xdpfw.policy.ops import Ids, Keys, WriteMemberships, WritePolicy
from xdpfw.policy.plan import NO_IDS
from xdpfw.policy.sets import Sets
from xdpfw.policy.table import SortedTable
from xdpfw.policy.tables import Tables


@dataclass(frozen=True, slots=True)
class Expected:
    """`universe`: prefixes, the leaf of each, and the membership that it holds (`cover`); in the generation that is not
    in force, `stale` leaves may hold another. `memberships`: all that can be come to from there. `policy`: of the
    generation in force, with the vectors of the classes of these."""

    universe: Mapping[Family, SortedTable]
    stale: Ids
    memberships: WriteMemberships
    policy: WritePolicy

    @property
    def generation(self) -> int:
        return self.policy.generation

    @property
    def prefixes(self) -> int:
        return sum(map(len, self.universe.values()))

    def leaves(self, family: Family) -> tuple[Keys, Ids]:
        """All prefixes, sorted, and the leaf of each."""
        rows = self.universe[family].array()
        return np.ascontiguousarray(rows["key"]), np.ascontiguousarray(rows["leaf"])


def expected(
    universe: Mapping[Family, SortedTable], tables: Tables, memberships: Memberships, sets: Sets, policy: Policy
) -> Expected:
    held = [_distinct(rows["cover"]) for table in universe.values() for rows in table.parts()]
    records = memberships.reached(np.unique(np.concatenate([NO_IDS, *held])).tolist())
    classes = _distinct(np.append(records.classes, np.uint32(0)))
    return Expected(
        universe=dict(universe),
        stale=tables.stale,
        memberships=records,
        policy=tables.in_force(sets, policy, memberships, classes),
    )


def _distinct(values: Ids) -> Ids:
    """Small integers, sorted, each once."""
    return np.flatnonzero(np.bincount(values)).astype(np.uint32) if len(values) else values
