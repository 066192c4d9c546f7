# SPDX-License-Identifier: Apache-2.0
"""The lock-out guard's question, pure: which packets that must get through would a change drop?

Each address that must stay reachable stands for some packets (`PROBES`), and these are judged as the reference verdict
judges them, by the sets and rules as they will be: now, and at every time at which an entry runs out that one of the
addresses is in.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from xdpfw.model.policy import Policy
from xdpfw.model.prefix import HOST_LENGTH, Address, Family, Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Action, Mode, Rule
from xdpfw.policy import keys as k
from xdpfw.policy.ops import Keys
from xdpfw.policy.reference import Packet, names_of
from xdpfw.policy.reference_parse import ICMP, ICMPV6, IPV4, IPV6, TCP, UDP, Parsed
from xdpfw.policy.sets import Sets

SYN, ACK = 2, 16
PORT = 50_000
"""Of the far end of a connection: one of those that systems choose by themselves (RFC 6335, 6)."""
LENGTH = 74
"""Bytes of a frame with a SYN and the usual options."""

FEW = 32
"""Touched prefixes that are looked at one by one."""
PIECES = 1000
"""Entries inside a protected prefix that are told apart, of each set."""
TIMES = 8
"""Times at which entries run out that are looked at."""


class Role(StrEnum):
    """Why an address must stay reachable, for people."""

    REQUEST = "the address that this request comes from"
    SSH = "the peer of an ssh session"
    GATEWAY = "a default gateway"
    RESOLVER = "a name server of this host"
    MANAGEMENT = "a management prefix"


@dataclass(frozen=True, slots=True)
class Probe:
    """One packet. `reply`: it answers this host, so the default lets it in as it knows whom this host talks to, and
    only a rule can keep it out. `local`: its destination port is the one that the peer talks to."""

    what: str
    protocol: Mapping[Family, int]
    source_port: int | None = None
    local: bool = False
    tcp_flags: int | None = None
    icmp_type: Mapping[Family, int] = field(default_factory=dict)
    reply: bool = False


_TCP: Mapping[Family, int] = {4: TCP, 6: TCP}
_UDP: Mapping[Family, int] = {4: UDP, 6: UDP}
_ICMP: Mapping[Family, int] = {4: ICMP, 6: ICMPV6}
NEW = Probe("a new connection", _TCP, PORT, local=True, tcp_flags=SYN)
OPEN = Probe("an open connection", _TCP, PORT, local=True, tcp_flags=ACK, reply=True)
ANSWER = Probe("an answer to a query", _UDP, 53, reply=True)
PING = Probe("an answer to a ping", _ICMP, icmp_type={4: 0, 6: 129}, reply=True)
ERROR = Probe("an ICMP error", _ICMP, icmp_type={4: 3, 6: 1}, reply=True)
# What a gateway needs most, ARP and neighbour discovery, passes under every policy.
PROBES = {
    Role.REQUEST: (NEW, OPEN),
    Role.SSH: (NEW, OPEN),
    Role.GATEWAY: (PING, ERROR),
    Role.RESOLVER: (ANSWER,),
    Role.MANAGEMENT: (NEW, OPEN),
}


@dataclass(frozen=True, slots=True)
class Target:
    """What must stay reachable. `local` and `port`: to which address and port of this host; `interface`: on which its
    packets arrive, None if that is not known."""

    where: Prefix
    role: Role
    local: Address | None = None
    port: int = 22
    interface: str | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """`filtered`: names of the interfaces on which it is, or will be, in force."""

    sets: Sets
    policy: Policy
    filtered: frozenset[str]


@dataclass(frozen=True, slots=True)
class Lost:
    """A packet that would be dropped. `at`: wall clock ns, None for now; `rule`: None for the default."""

    target: Target
    address: Address
    probe: Probe
    rule: Rule | None
    at: int | None


class Touched:
    """The prefixes that a change of entries is about."""

    def __init__(self, keys: Mapping[Family, Keys]) -> None:
        self._keys = keys
        few = sum(map(len, keys.values())) <= FEW
        self._few = [k.prefix_of(family, key) for family in keys for key in keys[family]] if few else None

    def about(self, prefix: Prefix) -> list[Prefix]:
        """Those that have an address in common with this one; some of them, if they are many."""
        if self._few is not None:
            return [other for other in self._few if other.contains(prefix) or prefix.contains(other)]
        keys = self._keys[prefix.family]
        first, last = k.within(prefix)
        ends = k.array_of(prefix.family, (first, last))
        begin, end = keys.searchsorted(ends[0], "left"), keys.searchsorted(ends[1], "right")
        found = [k.prefix_of(prefix.family, key) for key in keys[begin : min(end, begin + PIECES)]]
        around = [Prefix.from_network(net) for net in _around(prefix)]
        found += (other for other in around if k.member(k.pack([other])[prefix.family], keys).any())
        return found


def _around(prefix: Prefix) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The prefixes that contain this one, without itself."""
    network = prefix.network
    while network.prefixlen:
        network = network.supernet()
        yield network


def lost(
    targets: Iterable[Target], before: Situation, after: Situation, now: int, touched: Touched | None = None
) -> Iterator[Lost]:
    """For each target the first packet that would be dropped after the change and was not before. `touched`: nothing
    else differs than whether these are in sets."""
    rules = _Rules(before.policy), _Rules(after.policy)
    for target in targets:
        about = None if touched is None else _about(target, touched)
        if about is not None and not about:
            continue
        found = next(_lost(target, before, after, now, about, rules), None)
        if found:
            yield found


def _about(target: Target, touched: Touched) -> list[Prefix]:
    found = touched.about(target.where)
    if target.local is not None and touched.about(Prefix.host(target.local)):
        found.append(target.where)
    return found


def _lost(
    target: Target,
    before: Situation,
    after: Situation,
    now: int,
    about: Sequence[Prefix] | None,
    rules: tuple[_Rules, _Rules],
) -> Iterator[Lost]:
    for address in _addresses(target, after, about):
        situations = zip((before, after), rules, strict=True)
        judges = [_Judge(situation, address, target, now, some) for situation, some in situations]
        for at in (None, *judges[1].ends()):
            for probe in PROBES[target.role]:
                for interface in _interfaces(target, after):
                    dropped, rule = judges[1].drops(probe, interface, at)
                    unfiltered = interface not in before.filtered
                    if dropped and (unfiltered or not judges[0].drops(probe, interface, at)[0]):
                        yield Lost(target, address, probe, rule, at)


def _interfaces(target: Target, after: Situation) -> Sequence[str]:
    """Where its packets meet the filter."""
    if target.interface is None:
        return sorted(after.filtered)
    return [target.interface] if target.interface in after.filtered else []


def _addresses(target: Target, after: Situation, about: Sequence[Prefix] | None) -> list[Address]:
    """One address of each piece of the target that sets or rules can tell apart: a piece begins where something does,
    or just behind its end."""
    where = target.where
    if where.is_host:
        return [ipaddress.ip_address(where.address)]
    areas = [where] if about is None else [each if where.contains(each) else where for each in about]
    inside = [p for rule in after.policy.rules for p in (*rule.match.source.prefixes, *rule.match.source.not_prefixes)]
    for area in dict.fromkeys(areas):
        inside.append(area)
        for name in dict.fromkeys(name for rule in after.policy.rules for name in rule.set_names):
            if name in after.sets.defined:
                entries = after.sets.entries(name, after=None, limit=PIECES, within=area)
                inside += (entry.prefix for entry in entries)
    first, last = where.network.network_address, where.network.broadcast_address
    found = {first: None}
    for prefix in inside:
        if where.contains(prefix):
            network = prefix.network
            found[network.network_address] = None
            if network.broadcast_address < last:  # type: ignore[operator]
                found[network.broadcast_address + 1] = None
    return list(found)


class _Rules:
    """A policy without the rules that cannot match a source, because they name others: with thousands of rules, nearly
    all of the work is to find that out."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._asked: list[tuple[Rule, tuple[tuple[int, int, int], ...] | None]] | None = None

    def about(self, address: Address) -> Policy:
        if self._asked is None:
            self._asked = [(rule, _prefixes_alone(rule)) for rule in self._policy.rules if rule.enabled]
        family, number = address.version, int(address)
        kept = tuple(
            rule
            for rule, prefixes in self._asked
            if prefixes is None or any(of == family and number >> shift == start for of, shift, start in prefixes)
        )
        return replace(self._policy, rules=kept)


def _prefixes_alone(rule: Rule) -> tuple[tuple[int, int, int], ...] | None:
    """Family, length of the host part and the rest of each prefix that a rule wants sources in; None where it is not
    that alone that it wants."""
    source = rule.match.source
    if source.sets or not source.prefixes:
        return None
    widths = [(prefix, HOST_LENGTH[prefix.family] - prefix.length) for prefix in source.prefixes]
    return tuple((prefix.family, shift, int.from_bytes(prefix.address) >> shift) for prefix, shift in widths)


class _Judge:
    """What becomes of packets from an address to the target's local one."""

    def __init__(self, situation: Situation, address: Address, target: Target, now: int, rules: _Rules) -> None:
        self._situation, self._now, self._rules = situation, now, rules
        self._policy: Policy | None = None
        self._address, self._target = address, target
        self._inside: dict[tuple[Address, int], set[str]] = {}

    def ends(self) -> list[int]:
        """Times at which an entry runs out that one of the two addresses is in, the next ones."""
        times = {
            claim.expires
            for address in (self._address, self._target.local)
            if address is not None
            for _, entry in self._situation.sets.matches(address)
            for claim in entry.claims
            if claim.expires is not None and claim.expires > self._now
        }
        return sorted(times)[:TIMES]

    def drops(self, probe: Probe, interface: str, at: int | None) -> tuple[bool, Rule | None]:
        """Whether a packet is dropped, and by which rule (None: by the default)."""
        policy = self._situation.policy
        if policy.mode is Mode.MONITOR:
            return False, None
        when = self._now if at is None else at
        self._policy = self._policy or self._rules.about(self._address)
        rule = Packet(self._parsed(probe), LENGTH, interface, self._sets_of(when)).first(self._policy, Mode.ENFORCE)
        if rule is None:
            return policy.default is Verdict.DROP and not probe.reply, None
        return rule.action is Action.DROP, rule

    def _parsed(self, probe: Probe) -> Parsed:
        family = self._address.version
        return Parsed(
            source=self._address,
            destination=self._target.local,
            ethertype=IPV4 if family == 4 else IPV6,
            protocol=probe.protocol[family],
            source_port=probe.source_port,
            destination_port=(self._target.port if probe.local else PORT) if probe.source_port else None,
            icmp_type=probe.icmp_type.get(family),
            tcp_flags=probe.tcp_flags,
        )

    def _sets_of(self, when: int) -> Callable[[Address], set[str]]:
        def inside(address: Address) -> set[str]:
            key = address, when
            if key not in self._inside:
                self._inside[key] = names_of(address, self._situation.sets, when)
            return self._inside[key]

        return inside
