# SPDX-License-Identifier: Apache-2.0
"""A pure model of the packet path's shared maps: what the fake kernel holds, and how a packet reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from xdpfw.kernel.fake_rules import FakeRules
from xdpfw.kernel.port import Directory, TalkerTable, tier_of
from xdpfw.model.prefix import ADDRESS_BYTES, FAMILIES, HOST_LENGTH, Family
from xdpfw.policy.ops import NEVER, Ids, Keys

MAX_CHAIN = 8
Packed = bytes


@dataclass(slots=True)
class Tables:
    """The shared maps. `prefixes[family][packed key]` = leaf id, over hosts and trie together."""

    prefixes: dict[Family, dict[Packed, int]] = field(default_factory=lambda: {4: {}, 6: {}})
    lengths: dict[Family, Counter[int]] = field(default_factory=lambda: {4: Counter(), 6: Counter()})
    leaf: tuple[dict[int, int], dict[int, int]] = field(default_factory=lambda: ({}, {}))
    memberships: dict[int, tuple[int, int, int]] = field(default_factory=lambda: {0: (0, 0, int(NEVER))})
    rules: list[FakeRules] = field(default_factory=lambda: [FakeRules.empty(), FakeRules.empty()])
    generation: int = 0
    revision: int = 0
    applied: bool = False

    def find(self, address: bytes) -> int:
        """Leaf of the longest prefix that contains an address (4 or 16 bytes), 0 for none."""
        family: Family = 4 if len(address) == 4 else 6
        number, width = int.from_bytes(address), HOST_LENGTH[family]
        for length in sorted((n for n, count in self.lengths[family].items() if count), reverse=True):
            kept = number >> (width - length) << (width - length)
            leaf = self.prefixes[family].get(kept.to_bytes(len(address)) + bytes([length]))
            if leaf is not None:
                return leaf
        return 0

    def tier_of(self, leaf: int) -> str:
        """The table of the real packet path in which this leaf would be found."""
        for family, prefixes in self.prefixes.items():
            for key, held in prefixes.items():
                if held == leaf:
                    return tier_of(family, key[-1])
        return "none"

    def class_of(self, leaf: int, now: int) -> int:
        """The class of a leaf at wall clock `now`, following expired memberships."""
        member = self.leaf[self.generation].get(leaf, 0)
        for _ in range(MAX_CHAIN):
            deadline = self.memberships[member][2]
            if deadline == NEVER or now < deadline:
                break
            member = self.memberships[member][1]
        return self.memberships[member][0]


def packed_keys(family: Family, keys: Keys) -> list[Packed]:
    """The keys as bytes of full length (numpy drops trailing zeros of S items)."""
    width = ADDRESS_BYTES[family] + 1
    raw = np.ascontiguousarray(keys).astype(f"S{width}", copy=False).tobytes()
    return [raw[at : at + width] for at in range(0, len(raw), width)]


def directory_of(tables: Tables) -> Directory:
    keys: dict[Family, Keys] = {}
    leaves: dict[Family, Ids] = {}
    memberships: dict[Family, Ids] = {}
    in_force = tables.leaf[tables.generation]
    for family in FAMILIES:
        items = sorted(tables.prefixes[family].items())
        keys[family] = np.frombuffer(b"".join(key for key, _ in items), f"S{ADDRESS_BYTES[family] + 1}")
        leaves[family] = as_ids([leaf for _, leaf in items])
        memberships[family] = as_ids([in_force.get(leaf, 0) for _, leaf in items])
    return Directory(keys, leaves, memberships)


def as_ids(numbers: Sequence[int]) -> Ids:
    return np.array(numbers, np.uint32)


@dataclass(slots=True)
class Talker:
    """One talker; its times are positions in a list of moments."""

    tenure: int
    since: int
    last_seen: int
    counts: list[int]


def talker_table(talkers: Mapping[bytes, Talker], moments: Sequence[int]) -> TalkerTable:
    """`talkers` by packed address; `moments`: wall clock ns."""
    table = TalkerTable.blank((1, len(talkers), 1), np.array(moments, np.int64).__getitem__)
    for at, (address, talker) in enumerate(talkers.items()):
        table.address[:, at] = np.frombuffer(address, np.uint64)
        table.tenure[at], table.since[at], table.last_seen[at] = talker.tenure, talker.since, talker.last_seen
        for column, count in zip(table.counts, talker.counts, strict=True):
            column[at] = count
    return table
