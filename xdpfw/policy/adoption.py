# SPDX-License-Identifier: Apache-2.0
"""What a start finds in the tables, as the compiler takes it over."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from xdpfw.model.prefix import Family
from xdpfw.policy import keys as k
from xdpfw.policy.ops import Ids, Keys
from xdpfw.policy.table import SortedTable
from xdpfw.policy.universe import NODE, NOTHING


class Directory(Protocol):
    """What the tables hold already: prefixes, their leaves, the membership of each in the generation in force."""

    @property
    def keys(self) -> dict[Family, Keys]: ...
    @property
    def leaves(self) -> dict[Family, Ids]: ...
    @property
    def memberships(self) -> dict[Family, Ids]: ...


class Adopted(Protocol):
    """The tables as they are found at a start (`kernel.port.Started`)."""

    @property
    def adopted(self) -> bool: ...
    @property
    def generation(self) -> int: ...
    @property
    def directory(self) -> Directory: ...
    @property
    def memberships(self) -> Ids: ...
    @property
    def classes(self) -> Ids: ...


def adopted(family: Family, directory: Directory) -> SortedTable:
    """The universe as it is found: prefixes that nobody is known to own, with what they hold today."""
    keys = directory.keys[family]
    rows = np.zeros(len(keys), NODE[family])
    rows["key"], rows["leaf"], rows["cover"] = keys, directory.leaves[family], directory.memberships[family]
    parent = k.parents(family, keys)
    rows["above"] = np.where(parent < 0, NOTHING, k.lengths(keys)[parent])
    return SortedTable.of(rows)
