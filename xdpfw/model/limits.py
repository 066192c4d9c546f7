# SPDX-License-Identifier: Apache-2.0
"""Sizes of the packet path's tables: bounded memory, whatever the traffic and whatever the policy."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CLASSES = 4096
"""Distinct combinations of sets that may cover an address (bpf/match.h)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """`leaves`: distinct prefixes of both families over all sets; one is needed twice while a set is replaced.

    `hosts4`, `hosts6`: exact addresses (of those leaves) per family. `memberships`: distinct combinations of
    sets and expiry times. `talkers`: slots of each interface's talker table on each CPU, a power of two.
    """

    leaves: int = 2_097_152
    hosts4: int = 1_048_576
    hosts6: int = 262_144
    memberships: int = 262_144
    talkers: int = 65_536
