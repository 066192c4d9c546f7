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
from xdpfw.policy.sets import Sets
from xdpfw.policy.table import SortedTable
from xdpfw.policy.tables import Tables


@dataclass(frozen=True, slots=True)
class Expected:
    """Per family: sorted prefixes, the leaf of each, and the membership that it holds; in the generation that is not in
    force, `stale` leaves may hold another. `memberships`: all that can be come to from there. `policy`: of the
    generation in force, with the vectors of the classes of these."""

    keys: dict[Family, Keys]
    leaves: dict[Family, Ids]
    held: dict[Family, Ids]
    stale: Ids
    memberships: WriteMemberships
    policy: WritePolicy

    @property
    def generation(self) -> int:
        return self.policy.generation

    @property
    def prefixes(self) -> int:
        return sum(map(len, self.keys.values()))


def expected(
    universe: Mapping[Family, SortedTable], tables: Tables, memberships: Memberships, sets: Sets, policy: Policy
) -> Expected:
    rows = {family: table.array() for family, table in universe.items()}
    held = {family: np.ascontiguousarray(found["cover"]) for family, found in rows.items()}
    records = memberships.reached(_distinct(np.concatenate(list(held.values()))).tolist())
    classes = _distinct(np.append(records.classes, np.uint32(0)))
    return Expected(
        keys={family: np.ascontiguousarray(found["key"]) for family, found in rows.items()},
        leaves={family: np.ascontiguousarray(found["leaf"]) for family, found in rows.items()},
        held=held,
        stale=tables.stale,
        memberships=records,
        policy=tables.in_force(sets, policy, memberships, classes),
    )


def _distinct(values: Ids) -> Ids:
    """Small integers, sorted, each once."""
    return np.flatnonzero(np.bincount(values)).astype(np.uint32) if len(values) else values
