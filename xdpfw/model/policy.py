# SPDX-License-Identifier: Apache-2.0
"""The policy's own values: rows, default, mode; sets and entries."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict

MAX_ROWS = 64
"""Rows of the policy that one bit vector holds (bpf/match.h: VECTOR_WORDS * 64)."""

DEFAULT_ORIGIN = "manual"
ALLOW, BLOCK = "allow", "block"


class PolicyMode(StrEnum):
    ENFORCE = "enforce"
    MONITOR = "monitor"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the ordered policy: what is in set `source` gets `verdict`. The first match wins."""

    id: str
    source: str
    verdict: Verdict


DEFAULT_ROWS = (Row(ALLOW, ALLOW, Verdict.PASS), Row(BLOCK, BLOCK, Verdict.DROP))

# Under default deny: LLDP, 802.1X, slow protocols (LACP), PTP. ARP has a reason of its own and always passes.
DEFAULT_ETHERTYPES = (0x88CC, 0x888E, 0x8809, 0x88F7)


@dataclass(frozen=True, slots=True)
class Policy:
    """`ethertypes`: at most 8 EtherTypes other than IP that pass when the default is drop."""

    default: Verdict = Verdict.PASS
    mode: PolicyMode = PolicyMode.ENFORCE
    rows: tuple[Row, ...] = DEFAULT_ROWS
    ethertypes: tuple[int, ...] = field(default=DEFAULT_ETHERTYPES)


@dataclass(frozen=True, slots=True)
class Claim:
    """One origin's claim on a prefix in a set. Times are wall clock, nanoseconds since 1970; None is for ever."""

    prefix: Prefix
    origin: str = DEFAULT_ORIGIN
    expires: int | None = None
    comment: str = ""
    added: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A prefix in a set with all its claims (at least one, the longest-lived first)."""

    prefix: Prefix
    claims: tuple[Claim, ...]

    @property
    def expires(self) -> int | None:
        return self.claims[0].expires
