# SPDX-License-Identifier: Apache-2.0
"""Map operations written by hand, so that the adapter is tested without the compiler.

Classes and memberships: 1 is in `allow`, 2 in `block`; further memberships are made by the tests.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

import numpy as np

from xdpfw.kernel.port import Kernel
from xdpfw.model.limits import Limits
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Family, Prefix
from xdpfw.policy.match import class_vectors, rule_tables
from xdpfw.policy.ops import (
    NEVER,
    DeletePrefixes,
    Ids,
    InsertPrefixes,
    Keys,
    Op,
    WriteLeaves,
    WriteMemberships,
    WritePolicy,
)

ALLOWED, BLOCKED = 1, 2
CLASSES = {0: [], ALLOWED: ["allow"], BLOCKED: ["block"]}


def ids(*numbers: int) -> Ids:
    return np.array(numbers, np.uint32)


def keys(*prefixes: str) -> Keys:
    packed = sorted(Prefix.parse(text).address + bytes([Prefix.parse(text).length]) for text in prefixes)
    return np.array(packed, f"S{len(packed[0])}")


def family_of(prefix: str) -> Family:
    return Prefix.parse(prefix).family


def policy(generation: int = 0, rules: Policy | None = None) -> WritePolicy:
    wanted = rules or Policy()
    tables = rule_tables(wanted, Limits().vectors)
    return WritePolicy(generation, wanted, tables, *class_vectors(tables, CLASSES))


def memberships() -> WriteMemberships:
    return WriteMemberships(ids(ALLOWED, BLOCKED), ids(ALLOWED, BLOCKED), ids(0, 0), np.full(2, NEVER, np.int64))


def insert(prefix: str, leaf: int, member: int = BLOCKED) -> list[Op]:
    """The change that touches one new leaf only."""
    return [
        WriteLeaves(0, ids(leaf), ids(member)),
        WriteLeaves(1, ids(leaf), ids(member)),
        InsertPrefixes(family_of(prefix), keys(prefix), ids(leaf)),
    ]


def delete(prefix: str, leaf: int) -> DeletePrefixes:
    return DeletePrefixes(family_of(prefix), keys(prefix), ids(leaf))


def start(kernel: Kernel, rules: Policy | None = None) -> None:
    """Nothing is in any set, and the program would be attached now."""
    kernel.start()
    kernel.execute([memberships(), policy(0, rules), policy(1, rules)], 1)
    kernel.activate()


def many4(count: int, first: str = "10.0.0.0", length: int = 32) -> Keys:
    """That many adjacent IPv4 prefixes."""
    numbers = int(ipaddress.IPv4Address(first)) + (np.arange(count, dtype=np.uint32) << (32 - length))
    packed = np.empty((count, 5), np.uint8)
    packed[:, :4] = numbers.astype(">u4").view(np.uint8).reshape(-1, 4)
    packed[:, 4] = length
    return packed.reshape(-1).view("S5")


def leaf_range(count: int, first: int = 1) -> Ids:
    return np.arange(first, first + count, dtype=np.uint32)


def executed(kernel: Kernel, changes: Sequence[Sequence[Op]], revision: int = 2) -> None:
    for number, ops in enumerate(changes):
        kernel.execute(ops, revision + number)
