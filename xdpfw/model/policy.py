# SPDX-License-Identifier: Apache-2.0
"""The policy's own values: rules, default, mode; sets and entries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Action, AddressMatch, Match, Mode, Rule, Slots, set_rule

MAX_ROWS = 66 * 64
"""Rows of the policy that one bit vector holds (bpf/maps.h: VECTOR_WORDS * 64). A rule takes one row, or up to four
when it names both sets and prefixes."""

PANIC_KEEP, PANIC_DROP = "panic-keep", "panic-drop"
"""Ids of the rules that stand before all others while there is panic."""
PANIC_ROWS = 2
"""Rows that no other rules may take, so that there is always room for them."""

MAX_SLOTS = 2 * MAX_ROWS
"""Numbers of rules' counters: all rules may be replaced by others in one step (bpf/reason.h)."""

DEFAULT_ORIGIN = "manual"
ALLOW, BLOCK = "allow", "block"


DEFAULT_RULES = (set_rule(ALLOW, ALLOW, Action.PASS), set_rule(BLOCK, BLOCK, Action.DROP))

# Under default deny: LLDP, 802.1X, slow protocols (LACP), PTP. ARP has a reason of its own and always passes.
DEFAULT_ETHERTYPES = (0x88CC, 0x888E, 0x8809, 0x88F7)
DEFAULT_SLOTS = Slots({ALLOW: 0, BLOCK: 1})


@dataclass(frozen=True, slots=True)
class Panic:
    """Everything is dropped but what the first rule keeps. `since`: wall clock ns; `default` and `mode`: as they were
    and will be again."""

    since: int
    default: Verdict
    mode: Mode


@dataclass(frozen=True, slots=True)
class Policy:
    """`rules` in order: the first enabled match wins. `ethertypes`: at most 8 EtherTypes other than IP that pass when
    the default is drop. `panic`: the first rules, default and mode are those of panic, everything else waits behind.
    `slots` belong to the rules and are no part of what the policy says."""

    default: Verdict = Verdict.PASS
    mode: Mode = Mode.ENFORCE
    rules: tuple[Rule, ...] = DEFAULT_RULES
    ethertypes: tuple[int, ...] = DEFAULT_ETHERTYPES
    slots: Slots = field(default=DEFAULT_SLOTS, compare=False)
    panic: Panic | None = None

    def following(self, before: Policy) -> Policy:
        """This policy, with the slots that rules had in the one before."""
        return replace(self, slots=before.slots.followed_by(tuple(rule.id for rule in self.rules)))

    def in_panic(self, keep: Iterable[Prefix], since: int) -> Policy:
        """With nothing but packets from some prefixes let in. What there was before waits behind."""
        calm = self.calm()
        kept = AddressMatch(prefixes=tuple(dict.fromkeys(keep)))
        first = (Rule(PANIC_KEEP, Match(source=kept), Action.PASS),) if kept.prefixes else ()
        return replace(
            calm,
            default=Verdict.DROP,
            mode=Mode.ENFORCE,
            rules=(*first, Rule(PANIC_DROP, action=Action.DROP), *calm.rules),
            panic=Panic(self.panic.since if self.panic else since, calm.default, calm.mode),
        )

    def calm(self) -> Policy:
        """As it was before the panic, and as it is if there is none."""
        if self.panic is None:
            return self
        rules = tuple(rule for rule in self.rules if rule.id not in (PANIC_KEEP, PANIC_DROP))
        return replace(self, default=self.panic.default, mode=self.panic.mode, rules=rules, panic=None)

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
