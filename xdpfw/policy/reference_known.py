# SPDX-License-Identifier: Apache-2.0
"""What passes a default of drop all the same, for the reference verdict: answers, errors about what was asked, and the
management of multicast groups."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from dataclasses import dataclass

from xdpfw.model.prefix import Address
from xdpfw.model.reason import Reason
from xdpfw.policy.reference_parse import ICMP, ICMPV6, IPV4, SCTP, TCP, UDP, Parsed, quoted

IGMP = 2
MLD_TYPES = {130, 131, 132, 143}
ERRORS = {ICMP: {3, 11, 12}, ICMPV6: {1, 2, 3, 4}}
ECHO = {ICMP: (8, 0), ICMPV6: (128, 129)}
"""Request and reply."""
DHCP_PORTS = {(68, 67), (546, 547)}
SYN, ACK = 0x02, 0x10


@dataclass(frozen=True, slots=True)
class Flow:
    """One conversation, as the host that began it names it. Ports are 0 where the protocol has none; an echo's
    identifier is its local port. DHCP's has no addresses: an answer may come from anybody, to anybody."""

    version: int
    protocol: int
    local: Address | None = None
    local_port: int = 0
    remote: Address | None = None
    remote_port: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """`fragments`: pairs of remote and local address between which datagrams of flows arrive in fragments."""

    flows: Collection[Flow] = ()
    fragments: Collection[tuple[Address | None, Address | None]] = ()


def excuse(parsed: Parsed, known: Known) -> Reason | None:
    """Why a sound IP packet that no row matched passes a default of drop; None: it does not."""
    if _manages_groups(parsed):
        return Reason.GROUP_MANAGEMENT
    if parsed.icmp_type in ERRORS.get(parsed.protocol or 0, ()):
        about = quoted(parsed.transport[8:])
        if about is None or about.source != parsed.destination:
            return None
        return Reason.RELATED if flow_of(about) in known.flows else None
    if parsed.later_fragment:
        there = (parsed.source, parsed.destination) in known.fragments
        return Reason.ESTABLISHED if there else None
    if parsed.protocol == TCP and (parsed.tcp_flags or 0) & (SYN | ACK) == SYN:
        return None
    return Reason.ESTABLISHED if flow_of(parsed, outbound=False) in known.flows else None


def flow_of(parsed: Parsed, *, outbound: bool = True) -> Flow | None:
    """The flow that a packet is part of, on its way out or as an answer; None if it can be part of none."""
    version, protocol, payload = (4 if parsed.ethertype == IPV4 else 6), parsed.protocol or 0, parsed.transport
    here, there = (parsed.source, parsed.destination) if outbound else (parsed.destination, parsed.source)
    if protocol in ECHO:
        request, reply = ECHO[protocol]
        if len(payload) < 6 or payload[0] != (request if outbound else reply):
            return None
        return Flow(version, protocol, here, int.from_bytes(payload[4:6]), there)
    if protocol not in (TCP, UDP, SCTP):
        return Flow(version, protocol, here, 0, there)
    source, destination = int.from_bytes(payload[:2]), int.from_bytes(payload[2:4])
    ports = (source, destination) if outbound else (destination, source)
    if protocol == UDP and ports in DHCP_PORTS:
        return Flow(version, protocol, None, ports[0], None, ports[1])
    return Flow(version, protocol, here, ports[0], there, ports[1])


def _manages_groups(parsed: Parsed) -> bool:
    if parsed.hop_limit != 1 or parsed.later_fragment or parsed.more_fragments:
        return False
    if parsed.ethertype == IPV4:
        to = parsed.destination
        return parsed.protocol == IGMP and to is not None and (to.is_multicast or int(to) == 0xFFFFFFFF)
    link_local = isinstance(parsed.source, ipaddress.IPv6Address) and parsed.source.is_link_local
    return parsed.protocol == ICMPV6 and parsed.icmp_type in MLD_TYPES and link_local
