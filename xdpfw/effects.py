# SPDX-License-Identifier: Apache-2.0
"""What a policy does to addresses, told for people: the verdict on a prefix, and which row is behind it.

An entry that is written need not decide anything: an earlier row, monitor mode, or the lack of an attached
interface may stand in the way. Writers are told, so that a block never succeeds silently without effect.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from xdpfw.model.policy import Policy, PolicyMode, Row
from xdpfw.model.prefix import Address, Prefix
from xdpfw.model.reason import Verdict
from xdpfw.policy.overlap import overlap
from xdpfw.policy.sets import Sets

EXACT = 64
"""So many prefixes are judged one by one; of more, only whether an earlier row stands in the way."""


@dataclass(frozen=True, slots=True)
class Effect:
    """`effective`: drop, pass, or mixed when parts of what was written fare differently."""

    effective: str
    because: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row (None: the default) that decides about at least a part of a prefix, by this entry of its set."""

    verdict: Verdict
    row: Row | None
    entry: Prefix | None

    def __str__(self) -> str:
        if self.row is None:
            return f"no rule matches and the default is {self.verdict}"
        return f"rule {self.row.id} matches: {self.entry} is in set {self.row.source}"


def outcomes(prefix: Prefix, sets: Sets, policy: Policy) -> Iterator[Outcome]:
    """The rows that decide about parts of a prefix, in order; a single outcome decides about the whole."""
    first = ipaddress.ip_address(prefix.address)
    covering: dict[str, Prefix] = {}
    for name, entry in sets.matches(first):
        if entry.prefix.length <= prefix.length:
            covering.setdefault(name, entry.prefix)
    for row in policy.rows:
        if row.source in covering:
            yield Outcome(row.verdict, row, covering[row.source])
            return
        inside = sets.entries(row.source, after=None, limit=1, within=prefix)
        if inside:
            yield Outcome(row.verdict, row, inside[0].prefix)
    yield Outcome(policy.default, None, None)


def judge_address(address: Address, sets: Sets, policy: Policy) -> Outcome:
    return next(outcomes(Prefix.host(address), sets, policy))


def effect_of(prefixes: Sequence[Prefix] | None, name: str, sets: Sets, policy: Policy, *, attached: bool) -> Effect:
    """What becomes of packets from these prefixes (None: all of set `name`), which were written there or removed."""
    if prefixes is None or len(prefixes) > EXACT:
        found = _whole(name, sets, policy)
    else:
        found = [outcome for prefix in prefixes for outcome in outcomes(prefix, sets, policy)]
    verdicts = {outcome.verdict for outcome in found}
    if Verdict.DROP in verdicts:
        if not attached:
            return Effect("pass", "no interface is attached, so nothing is filtered yet: `xdpfw attach IFACE`")
        if policy.mode is PolicyMode.MONITOR:
            return Effect("pass", "the policy is in monitor mode: what it would drop is counted, and passes")
    if len(verdicts) == 1:
        return Effect(found[0].verdict.value, str(found[0]))
    return Effect("mixed", "parts fare differently: " + "; ".join(dict.fromkeys(map(str, found))))


def _whole(name: str, sets: Sets, policy: Policy) -> list[Outcome]:
    """Outcomes for all of a set: its own row's, and any earlier row's whose set overlaps it."""
    found: list[Outcome] = []
    for row in policy.rows:
        if row.source == name:
            entries = sets.entries(name, after=None, limit=1)
            return [*found, Outcome(row.verdict, row, entries[0].prefix if entries else None)]
        if entry := overlap(sets, row.source, name):
            found.append(Outcome(row.verdict, row, entry))
    return [*found, Outcome(policy.default, None, None)]
