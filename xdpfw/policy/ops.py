# SPDX-License-Identifier: Apache-2.0
"""Map operations: what a change means for the packet path, in the order in which it must be done.

The compiler answers a change with a list of these and the kernel port performs them one by one, so the compiler
needs no kernel and the kernel adapter needs no policy. Prefix keys are packed rows (see `keys.py`): address in
network byte order, then one byte of prefix length; 5 bytes for IPv4, 17 for IPv6.

How the tables hang together (bpf/classify.h reads them in this order)::

    address --hosts4/hosts6, trie4/trie6--> leaf id
    leaf[leaf id][generation]            -> membership id
    membership[id] = (class, next, deadline); past its deadline, membership `next` holds instead
    vector[generation][class]            -> one bit per row of the policy (see `match.py` for the other dimensions)

Leaf id 0, membership 0 and class 0 mean "in no set" and are never allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Family
from xdpfw.policy.match import RuleTables, Vectors

Ids = npt.NDArray[np.uint32]
Keys = npt.NDArray[Any]  # dtype S5 or S17


@dataclass(frozen=True, slots=True)
class WriteMemberships:
    """Fill unreferenced membership records. `deadlines`: wall clock ns, int64; NEVER for no deadline."""

    ids: Ids
    classes: Ids
    nexts: Ids
    deadlines: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WriteLeaves:
    """leaf[ids][generation] = memberships."""

    generation: int
    ids: Ids
    memberships: Ids


@dataclass(frozen=True, slots=True)
class InsertPrefixes:
    """Put sorted keys that are not there yet into hosts (full length) or trie (the rest)."""

    family: Family
    keys: Keys
    leaves: Ids


@dataclass(frozen=True, slots=True)
class DeletePrefixes:
    """Take sorted keys, which are there with these leaf ids, out of hosts or trie. `instead`: the leaf of the longest
    prefix that contains each then, 0 for none; None if nobody knows. `more`: another such operation follows soon."""

    family: Family
    keys: Keys
    leaves: Ids
    instead: Ids | None = None
    more: bool = False


@dataclass(frozen=True, slots=True)
class WritePolicy:
    """Default, mode and rules, with the vectors of all classes (`class_vectors`), into one generation."""

    generation: int
    policy: Policy
    rules: RuleTables
    numbers: Ids
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class WriteVectors:
    """vector[generation][numbers] = vectors, for classes that nothing refers to yet."""

    generation: int
    numbers: Ids
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class Flip:
    """Packets that arrive from now on read this generation. One store."""

    generation: int


@dataclass(frozen=True, slots=True)
class Grace:
    """Wait until every packet that was on its way before is done."""


@dataclass(frozen=True, slots=True)
class ClearLeaves:
    """Zero the counters of leaves that no packet can reach any more (after a Grace), so that they can be reused."""

    ids: Ids


@dataclass(frozen=True, slots=True)
class ClearRules:
    """These slots are no rule's any more, and no packet counts there (after a Grace): what they counted goes to the
    reason RULE, and they begin anew."""

    slots: Ids


NEVER = np.iinfo(np.int64).max

Op = (
    WriteMemberships
    | WriteLeaves
    | InsertPrefixes
    | DeletePrefixes
    | WritePolicy
    | WriteVectors
    | Flip
    | Grace
    | ClearLeaves
    | ClearRules
)
