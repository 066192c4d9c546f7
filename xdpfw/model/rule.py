# SPDX-License-Identifier: Apache-2.0
"""A rule: one row of the ordered policy. What it matches, what it does, in values; `rule_form.py` has the documents.

Every field of a match is a list of alternatives, and an empty one asks nothing. A packet without the thing asked for
(ports of a later fragment, a VLAN id of an untagged frame) does not match.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132

MAX_LENGTH = 65_535
"""Frames that are longer count as being this long."""
UNTAGGED = 4096
"""Stands for "no tag" among VLAN ids, which end at 4095."""


class Mode(StrEnum):
    """What is in monitor mode counts what it would do, and lets it pass."""

    ENFORCE = "enforce"
    MONITOR = "monitor"


class Action(StrEnum):
    PASS = "pass"
    DROP = "drop"
    LIMIT = "limit"

    @property
    def verdict(self) -> Verdict:
        """What the rule does with packets that it lets through to their end: a limit passes until it is exceeded."""
        return Verdict.DROP if self is Action.DROP else Verdict.PASS


class Fragment(StrEnum):
    NONE = "none"
    FIRST = "first"
    LATER = "later"


@dataclass(frozen=True, slots=True, order=True)
class Range:
    """From `first` to `last`, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, order=True)
class Flags:
    """TCP flags (RFC 9293, 3.1): those in `mask` are set exactly as in `value`."""

    mask: int
    value: int


@dataclass(frozen=True, slots=True)
class IcmpType:
    """A type of ICMP, of ICMPv6 (None: of neither)."""

    icmp: int | None
    icmpv6: int | None


@dataclass(frozen=True, slots=True)
class AddressMatch:
    """Inside one of `sets` or `prefixes` (anywhere, if there are none), and in none of `not_sets`, `not_prefixes`."""

    sets: tuple[str, ...] = ()
    prefixes: tuple[Prefix, ...] = ()
    not_sets: tuple[str, ...] = ()
    not_prefixes: tuple[Prefix, ...] = ()

    @property
    def anything(self) -> bool:
        return not (self.sets or self.prefixes or self.not_sets or self.not_prefixes)


@dataclass(frozen=True, slots=True)
class Match:
    """`length`: of the frame, in bytes from the Ethernet header on. `vlan`: the outermost tag's id, or UNTAGGED."""

    source: AddressMatch = AddressMatch()
    destination: AddressMatch = AddressMatch()
    protocol: tuple[int, ...] = ()
    source_ports: tuple[Range, ...] = ()
    destination_ports: tuple[Range, ...] = ()
    icmp_types: tuple[IcmpType, ...] = ()
    tcp_flags: tuple[Flags, ...] = ()
    vlan: tuple[Range, ...] = ()
    length: tuple[Range, ...] = ()
    fragment: tuple[Fragment, ...] = ()
    interfaces: tuple[str, ...] = ()

    @property
    def source_only(self) -> bool:
        """Whether it looks at nothing but the packet's source."""
        return self == Match(source=self.source)


@dataclass(frozen=True, slots=True)
class Limit:
    """A token bucket: `rate` units per second on average, up to `burst` at once, for each source aggregated to
    `prefix4` or `prefix6`, or for the rule as a whole. `ban`: seconds for which a source that exceeds it is dropped."""

    rate: int
    unit: Literal["packets", "bytes"] = "packets"
    burst: int = 0
    per: Literal["source", "rule"] = "source"
    prefix4: int = 32
    prefix6: int = 64
    ban: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """`log_rate`: events per second that the rule may log, 0 for none."""

    id: str
    match: Match = Match()
    action: Action = Action.PASS
    enabled: bool = True
    comment: str = ""
    mode: Mode = Mode.ENFORCE
    limit: Limit | None = None
    log_rate: int = 0

    @property
    def bans(self) -> bool:
        """Whether it bans sources, once it is enabled."""
        return self.mode is Mode.ENFORCE and self.limit is not None and self.limit.ban > 0

    @property
    def set_names(self) -> tuple[str, ...]:
        """Sets that it looks into."""
        both = (self.match.source, self.match.destination)
        return tuple(dict.fromkeys(name for side in both for name in (*side.sets, *side.not_sets)))


def set_rule(id: str, name: str, action: Action) -> Rule:
    """The rule that does one thing with all sources in a set."""
    return Rule(id, Match(source=AddressMatch(sets=(name,))), action)


@dataclass(frozen=True, slots=True)
class Slots:
    """Which counters are whose: rule id to a number that stays the same while the rule exists."""

    of: dict[str, int] = field(default_factory=dict)

    def followed_by(self, ids: tuple[str, ...]) -> Slots:
        """Of these rules: kept where they have one, else the lowest that nobody has had until now."""
        taken = set(self.of.values())
        free = (number for number in range(len(taken) + len(ids)) if number not in taken)
        return Slots({id: self.of[id] if id in self.of else next(free) for id in ids})
