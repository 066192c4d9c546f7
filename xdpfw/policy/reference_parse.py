# SPDX-License-Identifier: Apache-2.0
"""The frame parser of the reference verdict: scalar, slow, close to the RFCs' words.

Ethernet II with IEEE 802.1Q/802.1ad tags, IPv4 (RFC 791), IPv6 and its extension headers (RFC 8200, 4302, 6275,
7401, 5533), then as much of the transport header as ports and types need. Bounds are those of the IP header's
length, never those of the frame's padding.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

from xdpfw.model.prefix import Address
from xdpfw.model.reason import Reason

ETHERNET_BYTES, VLAN_BYTES = 14, 4
VLAN_TYPES = frozenset({0x8100, 0x88A8, 0x9100})
MAX_VLANS, MAX_EXTENSIONS = 4, 8
ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD

HOP_BY_HOP, FRAGMENT, AUTHENTICATION = 0, 44, 51
EXTENSIONS = frozenset({HOP_BY_HOP, 43, FRAGMENT, AUTHENTICATION, 60, 135, 139, 140})
ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
TRANSPORT_BYTES = {TCP: 20, UDP: 8, SCTP: 12, ICMP: 8, ICMPV6: 4}
NDP_TYPES = range(133, 138)

BIG = 65_535
"""What a 16-bit length can say. Beyond it a length of 0 means "to the end of the frame" (BIG TCP, RFC 2675)."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """`settled`: the reason that decides before any row, or None; `tail`: a fault behind the IP header, which decides
    when no row does. `source` is known as soon as the fixed IP header is there in the right version, and is the IPv4
    address if it is IPv4-mapped. `fragment`: a packet of a fragmented (or atomic-fragment) datagram. `transport`: what
    follows the IP headers, as far as the packet goes."""

    settled: Reason | None = None
    tail: Reason | None = None
    source: Address | None = None
    destination: Address | None = None
    ethertype: int | None = None
    vlans: tuple[int, ...] = ()
    protocol: int | None = None
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    tcp_flags: int | None = None
    fragment: bool = False
    later_fragment: bool = False
    more_fragments: bool = False
    extensions: int = 0
    hop_limit: int | None = None
    transport: bytes = b""


def parse(frame: bytes) -> Parsed:
    """Everything the verdict may depend on, except the policy."""
    if len(frame) < ETHERNET_BYTES:
        return Parsed(settled=Reason.SHORT_ETHERNET)
    ethertype, rest = _number(frame[12:14]), frame[14:]
    vlans: tuple[int, ...] = ()
    while ethertype in VLAN_TYPES:
        if len(vlans) == MAX_VLANS:
            return Parsed(settled=Reason.VLAN_DEPTH, vlans=vlans)
        if len(rest) < VLAN_BYTES:
            return Parsed(settled=Reason.SHORT_ETHERNET, vlans=vlans)
        vlans += (_number(rest[:2]) & 0x0FFF,)
        ethertype, rest = _number(rest[2:4]), rest[4:]
    found = Parsed(ethertype=ethertype, vlans=vlans)
    if ethertype == IPV4:
        return _ipv4(rest, found)
    if ethertype == IPV6:
        return _ipv6(rest, found)
    return replace(found, settled=Reason.ARP if ethertype == ARP else Reason.NON_IP)


def _ipv4(packet: bytes, found: Parsed) -> Parsed:
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return replace(found, settled=Reason.BAD_IPV4)
    header_length, total_length = (packet[0] & 0x0F) * 4, _number(packet[2:4])
    more, offset = packet[6] & 0x20, _number(packet[6:8]) & 0x1FFF
    found = replace(
        found,
        source=ipaddress.IPv4Address(packet[12:16]),
        destination=ipaddress.IPv4Address(packet[16:20]),
        protocol=packet[9],
        hop_limit=packet[8],
        fragment=bool(more or offset),
        later_fragment=bool(offset),
        more_fragments=bool(more),
    )
    if total_length == 0 and len(packet) > BIG:
        total_length = len(packet)
    if header_length < 20 or not header_length <= total_length <= len(packet):
        return replace(found, settled=Reason.BAD_IPV4)
    return _transport(packet[header_length:total_length], found)


def _ipv6(packet: bytes, found: Parsed) -> Parsed:
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return replace(found, settled=Reason.BAD_IPV6)
    payload_length, next_header, hop_limit = _number(packet[4:6]), packet[6], packet[7]
    payload = packet[40:]
    found = replace(
        found,
        source=_address6(packet[8:24]),
        destination=_address6(packet[24:40]),
        protocol=next_header,
        hop_limit=hop_limit,
    )
    if payload_length > len(payload):
        return replace(found, settled=Reason.BAD_IPV6)
    to_the_end = payload_length == 0 and (next_header == HOP_BY_HOP or len(payload) > BIG)
    found = _transport(*_extensions(payload if to_the_end else payload[:payload_length], found))
    discovery = found.protocol == ICMPV6 and found.icmp_type in NDP_TYPES
    if discovery and hop_limit == 255 and not found.fragment:
        return replace(found, settled=Reason.NDP)
    return found


def quoted(octets: bytes) -> Parsed | None:
    """The packet that an ICMP error quotes (RFC 792, 4443): its IP headers and at least 8 bytes of what follows; None
    when it is something else. Its lengths are those of the whole packet, which need not be there."""
    version = octets[0] >> 4 if octets else 0
    if version == 4:
        header_length = (octets[0] & 0x0F) * 4
        if not 20 <= header_length <= len(octets):
            return None
        source, destination = (ipaddress.IPv4Address(octets[at : at + 4]) for at in (12, 16))
        later = bool(_number(octets[6:8]) & 0x1FFF)
        found = Parsed(
            source=source, destination=destination, ethertype=IPV4, protocol=octets[9], later_fragment=later
        )  # fmt: skip
        payload = octets[header_length:]
    elif version == 6 and len(octets) >= 40:
        source6, destination6 = _address6(octets[8:24]), _address6(octets[24:40])
        found = Parsed(source=source6, destination=destination6, ethertype=IPV6, protocol=octets[6])
        payload, found = _extensions(octets[40:], found)
    else:
        return None
    return None if found.tail or found.later_fragment or len(payload) < 8 else replace(found, transport=payload)


def _extensions(payload: bytes, found: Parsed) -> tuple[bytes, Parsed]:
    """What follows the extension headers, and what they said."""
    while found.protocol in EXTENSIONS and not found.later_fragment:
        if found.extensions == MAX_EXTENSIONS:
            return payload, replace(found, tail=Reason.EXTENSION_DEPTH)
        length = _extension_length(found.protocol, payload)
        if length is None or length > len(payload):
            return payload, replace(found, tail=Reason.SHORT_EXTENSION)
        if found.protocol == FRAGMENT:
            later = bool(_number(payload[2:4]) >> 3)
            more = found.more_fragments or bool(payload[3] & 1)
            found = replace(found, fragment=True, later_fragment=later, more_fragments=more)
        found = replace(found, protocol=payload[0], extensions=found.extensions + 1)
        payload = payload[length:]
    return payload, found


def _extension_length(protocol: int | None, payload: bytes) -> int | None:
    """Bytes of the extension header that `payload` begins with; None if even its length is cut off."""
    if protocol == FRAGMENT:
        return 8
    if len(payload) < 2:
        return None
    return (payload[1] + 2) * 4 if protocol == AUTHENTICATION else (payload[1] + 1) * 8


def _transport(payload: bytes, found: Parsed) -> Parsed:
    if found.tail:
        return found
    found = replace(found, transport=payload)
    needed = TRANSPORT_BYTES.get(found.protocol or 0)
    if needed is None or found.later_fragment:
        return found
    if len(payload) < needed:
        return replace(found, tail=Reason.SHORT_TRANSPORT)
    if found.protocol in (ICMP, ICMPV6):
        return replace(found, icmp_type=payload[0])
    found = replace(found, source_port=_number(payload[:2]), destination_port=_number(payload[2:4]))
    return replace(found, tcp_flags=payload[13]) if found.protocol == TCP else found


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


def _address6(octets: bytes) -> Address:
    address = ipaddress.IPv6Address(octets)
    return address.ipv4_mapped or address
