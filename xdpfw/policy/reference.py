# SPDX-License-Identifier: Apache-2.0
"""The reference verdict: what the packet path must answer, said as plainly as possible.

It shares nothing with the compiler: an address is looked up by asking the sets which of their entries contain it, and
the rules are walked one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Address, Prefix
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict
from xdpfw.model.rule import MAX_LENGTH, UNTAGGED, AddressMatch, Fragment, Mode, Range, Rule
from xdpfw.policy.reference_known import Known, excuse
from xdpfw.policy.reference_parse import ICMP, ICMPV6, Parsed, parse
from xdpfw.policy.sets import Sets


@dataclass(frozen=True, slots=True)
class Judged:
    """`verdict` is what becomes of the frame; `monitored`: it would have been dropped but for monitor mode.
    `cause`: a Reason, or MAX_REASONS + the rule's slot; `watching`: the rule in monitor mode that would have decided.
    """

    verdict: Verdict
    cause: int
    monitored: bool
    parsed: Parsed
    rule: Rule | None = None
    watching: Rule | None = None


def judge(
    frame: bytes, sets: Sets, policy: Policy, now: int, interface: str = "", known: Known | None = None
) -> Judged:
    """What becomes of a frame. `now`: wall clock ns, for entries that expire; `known`: what was asked before."""
    parsed = parse(frame)
    packet = Packet(parsed, len(frame), interface, lambda address: names_of(address, sets, now))
    rule = watching = None
    if parsed.settled is None:
        rule = packet.first(policy, Mode.ENFORCE)
        watching = packet.first(policy, Mode.MONITOR)
        if rule and watching and policy.rules.index(watching) > policy.rules.index(rule):
            watching = None
    verdict, cause = _decide(parsed, rule, policy, known or Known())
    monitored = verdict is Verdict.DROP and policy.mode is Mode.MONITOR
    return Judged(Verdict.PASS if monitored else verdict, cause, monitored, parsed, rule, watching)


def _decide(parsed: Parsed, rule: Rule | None, policy: Policy, known: Known) -> tuple[Verdict, int]:
    if parsed.settled in (Reason.ARP, Reason.NDP):
        return Verdict.PASS, parsed.settled
    if parsed.settled is Reason.NON_IP:
        listed = policy.default is Verdict.PASS or parsed.ethertype in policy.ethertypes
        return (Verdict.PASS if listed else Verdict.DROP), Reason.NON_IP
    if parsed.settled is not None:
        return Verdict.DROP, parsed.settled
    if rule is not None:
        return rule.action.verdict, MAX_REASONS + policy.slots.of[rule.id]
    if parsed.tail is not None:
        return Verdict.DROP, parsed.tail
    if policy.default is Verdict.DROP and (why := excuse(parsed, known)):
        return Verdict.PASS, why
    return policy.default, Reason.DEFAULT


def names_of(address: Address, sets: Sets, now: int) -> set[str]:
    """The sets that contain an address at `now`; a claim holds until, not at, its expiry."""
    return {
        name
        for name, entry in sets.matches(address)
        if any(claim.expires is None or now < claim.expires for claim in entry.claims)
    }


@dataclass(frozen=True, slots=True)
class Packet:
    """What rules may ask about a frame. `sets_of`: the sets that an address is in."""

    parsed: Parsed
    length: int
    interface: str
    sets_of: Callable[[Address], set[str]]

    def first(self, policy: Policy, mode: Mode) -> Rule | None:
        """The first enabled rule of that mode that matches."""
        return next((rule for rule in policy.rules if rule.enabled and rule.mode is mode and self.matches(rule)), None)

    def matches(self, rule: Rule) -> bool:
        asked, parsed = rule.match, self.parsed
        protocol = None if parsed.tail else parsed.protocol
        return (
            self._address(asked.source, parsed.source)
            and self._address(asked.destination, parsed.destination)
            and (not asked.protocol or protocol in asked.protocol)
            and _within(asked.source_ports, parsed.source_port)
            and _within(asked.destination_ports, parsed.destination_port)
            and (not asked.icmp_types or self._icmp_type(rule))
            and (not asked.tcp_flags or self._tcp_flags(rule))
            and _within(asked.vlan, parsed.vlans[0] if parsed.vlans else UNTAGGED)
            and _within(asked.length, min(self.length, MAX_LENGTH))
            and (not asked.fragment or self._fragment() in asked.fragment)
            and (not asked.interfaces or self.interface in asked.interfaces)
        )

    def _address(self, asked: AddressMatch, address: Address | None) -> bool:
        if asked.anything:
            return True
        if address is None:
            return False
        host, inside = Prefix.host(address), self.sets_of(address)

        def named(sets: Sequence[str], prefixes: Sequence[Prefix]) -> bool:
            return not inside.isdisjoint(sets) or any(prefix.contains(host) for prefix in prefixes)

        wanted = not (asked.sets or asked.prefixes) or named(asked.sets, asked.prefixes)
        return wanted and not named(asked.not_sets, asked.not_prefixes)

    def _icmp_type(self, rule: Rule) -> bool:
        found = self.parsed.icmp_type
        kinds = {ICMP: [kind.icmp for kind in rule.match.icmp_types]}
        kinds[ICMPV6] = [kind.icmpv6 for kind in rule.match.icmp_types]
        return found is not None and found in kinds[self.parsed.protocol or 0]

    def _tcp_flags(self, rule: Rule) -> bool:
        found = self.parsed.tcp_flags
        return found is not None and any(found & flags.mask == flags.value for flags in rule.match.tcp_flags)

    def _fragment(self) -> Fragment:
        if self.parsed.later_fragment:
            return Fragment.LATER
        return Fragment.FIRST if self.parsed.more_fragments else Fragment.NONE


def _within(asked: Sequence[Range], value: int | None) -> bool:
    return not asked or (value is not None and any(part.first <= value <= part.last for part in asked))
