# SPDX-License-Identifier: Apache-2.0
"""Map operations: what a change means for the packet path, in the order in which it must be done.

The compiler answers a change with a list of these and the kernel port performs them one by one, so the compiler
needs no kernel and the kernel adapter needs no policy. Prefix keys are packed rows (see `keys.py`): address in
network byte order, then one byte of prefix length; 5 bytes for IPv4, 17 for IPv6.

How the tables hang together (bpf/classify.h reads them in this order)::

    address --hosts4/hosts6, trie4/trie6--> leaf id
    leaf[generation][leaf id]            -> membership id
    membership[id] = (class, next, deadline); past its deadline, membership `next` holds instead
    vector[generation][class]            -> one bit per row of the policy

Leaf id 0, membership 0 and class 0 mean "in no set" and are never allocated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Family

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
    """leaf[generation][ids] = memberships."""

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
    """Take sorted keys, which are there with these leaf ids, out of hosts or trie."""

    family: Family
    keys: Keys
    leaves: Ids


@dataclass(frozen=True, slots=True)
class WritePolicy:
    """The rows' bit vectors for every class, the verdicts of the rows, the default and the mode, into one generation.

    `vectors`: uint64, one per class, index = class id; bit i = row i matches.
    """

    generation: int
    policy: Policy
    vectors: npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class WriteVectors:
    """vector[generation][classes] = vectors, for classes that nothing refers to yet."""

    generation: int
    classes: Ids
    vectors: npt.NDArray[np.uint64]


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
)
