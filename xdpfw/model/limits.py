# SPDX-License-Identifier: Apache-2.0
"""Sizes of the packet path's tables: bounded memory, whatever the traffic and whatever the policy."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CLASSES = 4096
"""Distinct combinations of sets that may cover an address (bpf/maps.h)."""

LEAST_VECTORS, MOST_VECTORS = 3 * MAX_CLASSES, 1 << 16
"""Of `Limits.vectors`: two thirds are the classes' own; numbers have 16 bits."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`leaves`: distinct prefixes of both families over all sets; one is needed twice while a set is replaced.

    `hosts4`, `hosts6`: exact addresses (of those leaves) per family. `memberships`: distinct combinations of
    sets and expiry times. `talkers`: slots of each interface's talker table on each CPU, a power of two. `vectors`:
    distinct vectors of the rules, two for each class among them (policy/match.py). `limited`: sources that have a token
    bucket of their own, a power of two from 8 on. `bans`: sources that may be banned at once. `flows`:
    conversations whose answers pass a default of drop.
    """

    leaves: int = 2_097_152
    hosts4: int = 1_048_576
    hosts6: int = 262_144
    memberships: int = 262_144
    talkers: int = 65_536
    vectors: int = 16_384
    limited: int = 65_536
    bans: int = 65_536
    flows: int = 131_072
