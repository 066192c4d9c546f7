# SPDX-License-Identifier: Apache-2.0
"""The packet path's tables as dictionaries, strict about the order of operations: what could go wrong under traffic
is an assertion here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from xdpfw.model.prefix import FAMILIES, HOST_LENGTH, Address, Family, Prefix
from xdpfw.policy import keys as k
from xdpfw.policy.match import Vectors
from xdpfw.policy.ops import (
    NEVER,
    ClearLeaves,
    ClearRules,
    DeletePrefixes,
    Flip,
    Grace,
    Ids,
    InsertPrefixes,
    Keys,
    Op,
    WriteLeaves,
    WriteMemberships,
    WritePolicy,
    WriteVectors,
)

CHAIN = 8


@dataclass
class Directory:
    keys: dict[Family, Keys]
    leaves: dict[Family, Ids]
    memberships: dict[Family, Ids]


@dataclass
class Found:
    """What a start finds (kernel.port.Started)."""

    adopted: bool
    generation: int
    directory: Directory
    memberships: Ids
    classes: Ids


def nothing_found() -> Found:
    return ModelTables().found(adopted=False)


@dataclass
class ModelTables:
    generation: int = 0
    prefixes: dict[Prefix, int] = field(default_factory=dict)
    leaf: tuple[dict[int, int], dict[int, int]] = field(default_factory=lambda: ({}, {}))
    membership: dict[int, tuple[int, int, int]] = field(default_factory=lambda: {0: (0, 0, NEVER)})
    vector: tuple[dict[int, int], dict[int, int]] = field(default_factory=lambda: ({0: 0}, {0: 0}))
    counts: dict[int, int] = field(default_factory=dict)
    dying: set[int] = field(default_factory=set)
    in_flight: set[int] = field(default_factory=set)
    hosts_deleted: set[Family] = field(default_factory=set)

    def execute(self, ops: Sequence[Op], after_each: Callable[[], None] = lambda: None) -> None:
        for op in ops:
            self._execute(op)
            after_each()

    def _execute(self, op: Op) -> None:
        match op:
            case WriteMemberships():
                for number, *record in zip(
                    *(c.tolist() for c in (op.ids, op.classes, op.nexts, op.deadlines)), strict=True
                ):
                    members, rest, deadline = record
                    if self.membership.get(number) != (members, rest, deadline):
                        assert number not in self._reachable() | self.in_flight, "a membership in use is overwritten"
                    self.membership[number] = members, rest, deadline
            case WriteLeaves():
                for leaf, number in zip(op.ids.tolist(), op.memberships.tolist(), strict=True):
                    assert number in self.membership, "a leaf refers to what is not written"
                    held = leaf in self.dying or leaf in self.prefixes.values()
                    if op.generation == self.generation and held:
                        self.in_flight |= self._chain(self.leaf[op.generation].get(leaf, 0))
                    self.leaf[op.generation][leaf] = number
            case InsertPrefixes():
                for prefix, leaf in zip(prefixes_of(op.family, op.keys), op.leaves.tolist(), strict=True):
                    assert prefix not in self.prefixes and leaf not in self.prefixes.values() and leaf > 0
                    assert leaf not in self.dying and not self.counts.get(leaf), "a leaf is reused too early"
                    assert leaf in self.leaf[self.generation], "a leaf is reachable before it is written"
                    assert not (prefix.is_host and op.family in self.hosts_deleted), (
                        "a hash element is reused too early"
                    )
                    self.prefixes[prefix] = leaf
            case DeletePrefixes():
                for prefix, leaf in zip(prefixes_of(op.family, op.keys), op.leaves.tolist(), strict=True):
                    assert self.prefixes.pop(prefix) == leaf
                    self.dying.add(leaf)
                    self.in_flight |= self._chain(self.leaf[self.generation][leaf])
                    if prefix.is_host:
                        self.hosts_deleted.add(op.family)
                assert op.instead is not None
                for prefix, leaf in zip(prefixes_of(op.family, op.keys), op.instead.tolist(), strict=True):
                    around = [other for other in self.prefixes if other != prefix and other.contains(prefix)]
                    assert leaf == (self.prefixes[max(around, key=lambda p: p.length)] if around else 0)
            case WritePolicy():
                assert op.generation != self.generation, "the policy in force is overwritten"
                self.vector[op.generation].clear()
                self._write_vectors(op.generation, op.numbers, op.vectors)
            case WriteVectors():
                self._write_vectors(op.generation, op.numbers, op.vectors)
            case ClearRules():
                assert not self.in_flight, "packets may still count for a rule that is gone"
            case Flip():
                assert op.generation == 1 - self.generation
                self.in_flight |= self._reachable()
                self.generation = op.generation
            case Grace():
                self.dying.clear()
                self.in_flight.clear()
                self.hosts_deleted.clear()
            case ClearLeaves():
                for leaf in op.ids.tolist():
                    assert leaf not in self.dying and leaf not in self.prefixes.values()
                    self.counts.pop(leaf, None)

    def _write_vectors(self, generation: int, numbers: Ids, vectors: Vectors) -> None:
        for number, vector in zip(numbers.tolist(), vectors, strict=True):
            self.vector[generation][number] = int.from_bytes(vector.tobytes(), "little")

    def _chain(self, number: int) -> set[int]:
        found = {0}
        while number not in found:
            found.add(number)
            number = self.membership[number][1]
        return found - {0}

    def _reachable(self) -> set[int]:
        leaves = self.leaf[self.generation]
        return set().union(*(self._chain(leaves[leaf]) for leaf in self.prefixes.values()))

    def find(self, address: Address) -> int:
        """The leaf of the longest prefix that contains an address, 0 if there is none."""
        host = Prefix.host(address)
        around = [prefix for prefix in self.prefixes if prefix.contains(host)]
        return self.prefixes[max(around, key=lambda prefix: prefix.length)] if around else 0

    def first_row(self, address: Address, now: int) -> int | None:
        number = self.leaf[self.generation].get(self.find(address), 0)
        for _ in range(CHAIN):
            if now < self.membership[number][2]:
                break
            number = self.membership[number][1]
        members, _, _ = self.membership[number]
        vector = self.vector[self.generation][members]
        return (vector & -vector).bit_length() - 1 if vector else None

    def count(self, address: Address, packets: int) -> None:
        if leaf := self.find(address):
            self.counts[leaf] = self.counts.get(leaf, 0) + packets

    def read_leaves(self, leaves: Ids) -> np.ndarray[tuple[int, int], np.dtype[np.uint64]]:
        """Bytes are ten for each packet."""
        packets = np.array([self.counts.get(leaf, 0) for leaf in leaves.tolist()], np.uint64)
        return np.stack((packets, packets * np.uint64(10)), axis=1)

    def found(self, *, adopted: bool = True) -> Found:
        """What a starting daemon is told; what is not in the directory was cleared after a grace period."""
        self.dying.clear()
        self.in_flight.clear()
        self.hosts_deleted.clear()
        live = set(self.prefixes.values())
        self.counts = {leaf: count for leaf, count in self.counts.items() if leaf in live}
        directory = Directory({}, {}, {})
        for family in FAMILIES:
            rows = sorted((k.key_of(p), leaf) for p, leaf in self.prefixes.items() if p.family == family)
            directory.keys[family] = k.array_of(family, [key for key, _ in rows])
            directory.leaves[family] = np.array([leaf for _, leaf in rows], np.uint32)
            values = [self.leaf[self.generation][leaf] for _, leaf in rows]
            directory.memberships[family] = np.array(values, np.uint32)
        used = sorted(self._reachable())
        classes = sorted({self.membership[number][0] for number in used})
        return Found(adopted, self.generation, directory, np.array(used, np.uint32), np.array(classes, np.uint32))


def prefixes_of(family: Family, keys: Keys) -> list[Prefix]:
    found = [k.prefix_of(family, key) for key in keys]
    assert found == sorted(found, key=lambda p: (p.address, p.length)), "keys are not sorted"
    assert all(p.length <= HOST_LENGTH[family] for p in found)
    return found
