# SPDX-License-Identifier: Apache-2.0
"""The policy's own values: rules, default, mode; sets and entries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Action, Mode, Rule, Slots, set_rule

MAX_ROWS = 66 * 64
"""Rows of the policy that one bit vector holds (bpf/maps.h: VECTOR_WORDS * 64). A rule takes one row, or up to four
when it names both sets and prefixes."""

MAX_SLOTS = 2 * MAX_ROWS
"""Numbers of rules' counters: all rules may be replaced by others in one step (bpf/reason.h)."""

DEFAULT_ORIGIN = "manual"
ALLOW, BLOCK = "allow", "block"


DEFAULT_RULES = (set_rule(ALLOW, ALLOW, Action.PASS), set_rule(BLOCK, BLOCK, Action.DROP))

# Under default deny: LLDP, 802.1X, slow protocols (LACP), PTP. ARP has a reason of its own and always passes.
DEFAULT_ETHERTYPES = (0x88CC, 0x888E, 0x8809, 0x88F7)
DEFAULT_SLOTS = Slots({ALLOW: 0, BLOCK: 1})


@dataclass(frozen=True, slots=True)
class Policy:
    """`rules` in order: the first enabled match wins. `ethertypes`: at most 8 EtherTypes other than IP that pass when
    the default is drop. `slots` belong to the rules and are no part of what the policy says."""

    default: Verdict = Verdict.PASS
    mode: Mode = Mode.ENFORCE
    rules: tuple[Rule, ...] = DEFAULT_RULES
    ethertypes: tuple[int, ...] = DEFAULT_ETHERTYPES
    slots: Slots = field(default=DEFAULT_SLOTS, compare=False)

    def following(self, before: Policy) -> Policy:
        """This policy, with the slots that rules had in the one before."""
        return replace(self, slots=before.slots.followed_by(tuple(rule.id for rule in self.rules)))

    def rule(self, id: str) -> Rule | None:
        return next((rule for rule in self.rules if rule.id == id), None)


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
