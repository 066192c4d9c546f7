# SPDX-License-Identifier: Apache-2.0
"""What a policy does to addresses, told for people: the verdict on a prefix, and which rule is behind it.

An entry that is written need not decide anything: an earlier rule, monitor mode, or the lack of an attached
interface may stand in the way. Writers are told, so that a block never succeeds silently without effect.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache, partial

from xdpfw.model.ban import BANNED, ORIGIN
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Address, Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Action, AddressMatch, Mode, Rule
from xdpfw.policy.overlap import covering, overlap
from xdpfw.policy.sets import Sets

CoveredBy = Callable[[str], Prefix | None]
"""From a set's name to the most specific of its entries that contains all of the prefix that is judged."""

EXACT = 64
"""So many prefixes are judged one by one; of more, only whether an earlier rule stands in the way."""


class Part(Enum):
    """How much of a prefix a rule's source takes in."""

    NONE = 0
    SOME = 1
    ALL = 2


@dataclass(frozen=True, slots=True)
class Effect:
    """`effective`: drop, pass, conditional when it depends on more than the source, or mixed when parts of what was
    written fare differently."""

    effective: str
    because: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """One rule (None: the default) that decides about at least a part of a prefix. `place`: how it takes the source in,
    for people. `conditional`: it decides about some packets only."""

    verdict: Verdict
    rule: Rule | None
    place: str = ""
    conditional: bool = False

    def __str__(self) -> str:
        if self.rule is None:
            answers = ", which only answers pass" if self.verdict is Verdict.DROP else ""
            return f"no rule matches and the default is {self.verdict}{answers}"
        some = "may match" if self.conditional else "matches"
        return f"rule {self.rule.id} {some}: {self.place}"


def outcomes(prefix: Prefix, sets: Sets, policy: Policy, bans: Sets | None = None) -> Iterator[Outcome]:
    """The rules that decide about packets from parts of a prefix, in order; an unconditional one that takes in all of
    it is the last. `bans`: the set of what is banned, which drops in the places of the rules that banned it."""
    covered_by: CoveredBy = cache(partial(covering, sets, prefix=prefix))
    for rule in policy.rules:
        if not rule.enabled or rule.mode is Mode.MONITOR:
            continue
        for ban in _bans_by(rule, prefix, bans):
            yield Outcome(Verdict.DROP, rule, f"it banned {ban}")
            if ban.contains(prefix):
                return
        part, place = _taken_in(prefix, rule.match.source, sets, covered_by)
        if part is Part.NONE:
            continue
        conditional = not rule.match.source_only or rule.action is Action.LIMIT
        if rule.action is Action.LIMIT:
            yield Outcome(Verdict.DROP, rule, f"{place}, and drops what exceeds its limit", conditional=True)
        yield Outcome(rule.action.verdict, rule, place, conditional)
        if part is Part.ALL and not conditional:
            return
    yield Outcome(policy.default, None)


def _bans_by(rule: Rule, prefix: Prefix, bans: Sets | None) -> Iterator[Prefix]:
    """What a rule banned that takes in all of a prefix, or lies in it: one of them is enough."""
    if bans is None or rule.action is not Action.LIMIT or not bans.total(BANNED):
        return
    origin = f"{ORIGIN}{rule.id}"
    for _, entry in bans.matches(ipaddress.ip_address(prefix.address)):
        if entry.prefix.length <= prefix.length and entry.claims[0].origin == origin:
            yield entry.prefix
            return
    for entry in bans.entries(BANNED, after=None, limit=1, within=prefix, origin=origin):
        yield entry.prefix


def _taken_in(prefix: Prefix, asked: AddressMatch, sets: Sets, covered_by: CoveredBy) -> tuple[Part, str]:
    """How much of a prefix is inside, and by what."""
    part, place = (Part.ALL, "from any source") if not (asked.sets or asked.prefixes) else (Part.NONE, "")
    for whole, some, told in (*_by_set(prefix, asked.sets, sets, covered_by), *_by_prefix(prefix, asked.prefixes)):
        if whole:
            part, place = Part.ALL, told
            break
        if some and part is Part.NONE:
            part, place = Part.SOME, told
    for whole, some, told in (
        *_by_set(prefix, asked.not_sets, sets, covered_by),
        *_by_prefix(prefix, asked.not_prefixes),
    ):
        if whole:
            return Part.NONE, ""
        if some and part is Part.ALL:
            part, place = Part.SOME, f"{place}, except that {told}"
    return part, place


def _by_set(
    prefix: Prefix, names: Sequence[str], sets: Sets, covered_by: CoveredBy
) -> Iterator[tuple[bool, bool, str]]:
    for name in names:
        if name not in sets.defined:
            continue
        if held := covered_by(name):
            yield True, True, f"{held} is in set {name}"
        else:
            inside = sets.entries(name, after=None, limit=1, within=prefix)
            yield False, bool(inside), f"{inside[0].prefix} is in set {name}" if inside else ""


def _by_prefix(prefix: Prefix, prefixes: Sequence[Prefix]) -> Iterator[tuple[bool, bool, str]]:
    for other in prefixes:
        yield other.contains(prefix), prefix.contains(other), f"it names {other}"


def judge_address(address: Address, sets: Sets, policy: Policy, bans: Sets | None = None) -> Outcome:
    """The first rule that may decide about packets from an address; without conditional ones, the one that does."""
    return next(outcomes(Prefix.host(address), sets, policy, bans))


def effect_of(
    prefixes: Sequence[Prefix] | None,
    name: str,
    sets: Sets,
    policy: Policy,
    *,
    attached: bool,
    bans: Sets | None = None,
) -> Effect:
    """What becomes of packets from these prefixes (None: all of set `name`), which were written there or removed."""
    if prefixes is None or len(prefixes) > EXACT:
        found = _whole(name, sets, policy)
    else:
        found = [outcome for prefix in prefixes for outcome in outcomes(prefix, sets, policy, bans)]
    verdicts = {outcome.verdict for outcome in found}
    if Verdict.DROP in verdicts:
        if not attached:
            return Effect("pass", "no interface is attached, so nothing is filtered yet: `xdpfw attach IFACE`")
        if policy.mode is Mode.MONITOR:
            return Effect("pass", "the policy is in monitor mode: what it would drop is counted, and passes")
    if len(verdicts) == 1:
        return Effect(found[0].verdict.value, str(next((o for o in found if not o.conditional), found[0])))
    told = "; ".join(dict.fromkeys(map(str, found)))
    if any(outcome.conditional for outcome in found):
        return Effect("conditional", told)
    return Effect("mixed", f"parts fare differently: {told}")


def _whole(name: str, sets: Sets, policy: Policy) -> list[Outcome]:
    """Outcomes for all of a set: its own rule's, and any earlier rule's whose sources overlap it."""
    found: list[Outcome] = []
    for rule in policy.rules:
        if not rule.enabled or rule.mode is Mode.MONITOR:
            continue
        conditional = not rule.match.source_only or rule.action is Action.LIMIT
        asked = rule.match.source
        if asked.sets == (name,) and not (asked.not_sets or asked.not_prefixes) and not conditional:
            entries = sets.entries(name, after=None, limit=1)
            place = f"{entries[0].prefix} is in set {name}" if entries else f"of set {name}"
            return [*found, Outcome(rule.action.verdict, rule, place)]
        if place := _overlapping(name, asked, sets):
            found.append(Outcome(rule.action.verdict, rule, place, conditional))
    return [*found, Outcome(policy.default, None)]


def _overlapping(name: str, asked: AddressMatch, sets: Sets) -> str:
    """How a rule's source shares addresses with a set, "" if it does not. Exclusions are not looked at."""
    if not (asked.sets or asked.prefixes):
        return "from any source"
    for other in asked.sets:
        entry = overlap(sets, other, name) if other in sets.defined else None
        if entry:
            return f"{entry} is in set {other}"
    for prefix in asked.prefixes:
        if sets.entries(name, after=None, limit=1, within=prefix) or covering(sets, name, prefix):
            return f"it names {prefix}"
    return ""
