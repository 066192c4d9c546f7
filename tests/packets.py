# SPDX-License-Identifier: Apache-2.0
"""The packet builder that all tests use: small layers that are put together outside in.

    ethernet(ipv6("2001:db8::1", tcp(), hop_by_hop(), fragment(0, more=True)), tag(10), tag(20, QINQ))

Lengths and checksums are right unless a test says otherwise: a frame is sound but for the one thing tested.
Layouts: RFC 791 (IPv4), 8200 (IPv6), 4302 (AH), 9293 (TCP), 768 (UDP), 9260 (SCTP), 792, 4443, 4861.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from xdpfw.model.prefix import Family

ETH_IPV4, ETH_ARP, ETH_IPV6, ETH_LLDP, ETH_MPLS, ETH_PPPOE = 0x0800, 0x0806, 0x86DD, 0x88CC, 0x8847, 0x8864
VLAN, QINQ, QINQ_OLD = 0x8100, 0x88A8, 0x9100
TPIDS = (VLAN, QINQ, QINQ_OLD)

ICMP, IPIP, TCP, UDP, IPV6_IN_IP, GRE, ESP, ICMPV6, NO_NEXT, OSPF, SCTP = (
    1,
    4,
    6,
    17,
    41,
    47,
    50,
    58,
    59,
    89,
    132,
)
HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY, HIP, SHIM6 = (
    0,
    43,
    44,
    51,
    60,
    135,
    139,
    140,
)

MAC_A, MAC_B = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
DESTINATIONS: dict[Family, str] = {4: "198.51.100.99", 6: "2001:db8:ffff::99"}
MINIMUM_FRAME = 60


@dataclass(frozen=True, slots=True)
class Segment:
    """What an IP packet carries. `checksum_at`: where its checksum is; `pseudo`: with pseudo header."""

    protocol: int
    data: bytes
    checksum_at: int | None = None
    pseudo: bool = True


@dataclass(frozen=True, slots=True)
class Extension:
    """An IPv6 extension header; the first byte of `data` becomes the number of what follows."""

    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Packet:
    """A layer-3 packet and the EtherType it travels under."""

    ethertype: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Tag:
    vlan: int
    tpid: int


# Layer 2


def tag(vlan: int = 1, tpid: int = VLAN) -> Tag:
    return Tag(vlan, tpid)


def ethernet(
    packet: Packet,
    *tags: Tag,
    source: bytes = MAC_A,
    destination: bytes = MAC_B,
    pad_to: int = 0,
    padding: bytes = b"\0",
) -> bytes:
    """A frame without FCS; `pad_to`: its least length, as drivers pad to 60 bytes."""
    frame = destination + source
    for each in tags:
        frame += struct.pack("!HH", each.tpid, each.vlan)
    frame += struct.pack("!H", packet.ethertype) + packet.data
    return frame + padding * (pad_to - len(frame))


def other(ethertype: int, data: bytes = bytes(46)) -> Packet:
    """A packet of a protocol that is not IP."""
    return Packet(ethertype, data)


def arp(sender: str = "192.0.2.1", target: str = "192.0.2.2") -> Packet:
    """A request, RFC 826."""
    addresses = MAC_A + _packed(sender) + bytes(6) + _packed(target)
    return Packet(ETH_ARP, struct.pack("!HHBBH", 1, ETH_IPV4, 6, 4, 1) + addresses)


# Layer 3


def ipv4(
    source: str,
    segment: Segment,
    *,
    destination: str = DESTINATIONS[4],
    options: bytes = b"",
    offset: int = 0,
    more: bool = False,
    ttl: int = 64,
    version: int = 4,
    ihl: int | None = None,
    total_length: int | None = None,
) -> Packet:
    """`offset` is in bytes. `ihl` (in 32-bit words) and `total_length` are the truth unless given."""
    ihl = 5 + len(options) // 4 if ihl is None else ihl
    data = segment.data
    if not offset and not more:
        data = _with_checksum(
            segment, _packed(source) + _packed(destination) + struct.pack("!HH", segment.protocol, len(data))
        )
    if total_length is None:
        total_length = 20 + len(options) + len(data)
    flags = (0x2000 if more else 0) | offset // 8
    start = struct.pack("!BBHHHBB", version << 4 | ihl, 0, total_length, 1, flags, ttl, segment.protocol)
    addresses = _packed(source) + _packed(destination) + options
    checksum = _checksum(start + addresses)
    return Packet(ETH_IPV4, start + struct.pack("!H", checksum) + addresses + data)


def ipv6(
    source: str,
    segment: Segment,
    *extensions: Extension,
    destination: str = DESTINATIONS[6],
    hop_limit: int = 64,
    version: int = 6,
    payload_length: int | None = None,
) -> Packet:
    """`payload_length` is the truth unless given."""
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(destination).packed
    data = segment.data
    if not any(each.number == FRAGMENT for each in extensions):
        data = _with_checksum(segment, addresses + struct.pack("!II", len(data), segment.protocol))
    following = segment.protocol
    for each in reversed(extensions):
        data = bytes([following]) + each.data[1:] + data
        following = each.number
    length = len(data) if payload_length is None else payload_length
    return Packet(ETH_IPV6, struct.pack("!IHBB", version << 28, length, following, hop_limit) + addresses + data)


def ip(source: str, segment: Segment) -> Packet:
    """Of the family that `source` is of."""
    return ipv6(source, segment) if ":" in source else ipv4(source, segment)


def ip_fragment(source: str, segment: Segment, offset: int, *, more: bool) -> Packet:
    """One fragment, of the family that `source` is of; `segment.data` is what this fragment carries."""
    if ":" in source:
        return ipv6(source, segment, fragment(offset, more=more))
    return ipv4(source, segment, offset=offset, more=more)


def truncate(packet: Packet, length: int) -> Packet:
    """Only the first bytes are there; the lengths in its headers go on claiming more."""
    return Packet(packet.ethertype, packet.data[:length])


# IPv6 extension headers


def options_header(number: int, size: int = 8) -> Extension:
    """Hop-by-hop, destination options and those of the same layout, filled with PadN. `size`: 8…2048."""
    padding, left = b"", size - 2
    while left:
        # A PadN takes 2 to 257 bytes: never leave one byte over.
        chunk = left if left <= 257 else min(257, left - 2)
        padding += bytes([1, chunk - 2]) + bytes(chunk - 2)
        left -= chunk
    return Extension(number, struct.pack("!BB", 0, size // 8 - 1) + padding)


def hop_by_hop(size: int = 8) -> Extension:
    return options_header(HOP_BY_HOP, size)


def destination_options(size: int = 8) -> Extension:
    return options_header(DESTINATION, size)


def routing(size: int = 8) -> Extension:
    """Type 0 with no segments left."""
    return Extension(ROUTING, struct.pack("!BBBB", 0, size // 8 - 1, 0, 0) + bytes(size - 4))


def fragment(offset: int = 0, *, more: bool = False) -> Extension:
    """`offset` is in bytes; without `more` at offset 0 it is an atomic fragment (RFC 6946)."""
    return Extension(FRAGMENT, struct.pack("!BBHI", 0, 0, offset & 0xFFF8 | more, 1))


def authentication(size: int = 24) -> Extension:
    """AH counts in 32-bit words minus 2 (RFC 4302)."""
    return Extension(AUTHENTICATION, struct.pack("!BBHII", 0, size // 4 - 2, 0, 1, 1)[:size] + bytes(max(0, size - 12)))


EXTENSIONS = {
    HOP_BY_HOP: hop_by_hop(),
    ROUTING: routing(),
    FRAGMENT: fragment(),
    AUTHENTICATION: authentication(),
    DESTINATION: destination_options(),
    MOBILITY: options_header(MOBILITY),
    HIP: options_header(HIP),
    SHIM6: options_header(SHIM6),
}
"""One sound specimen of each."""


# Layer 4


def tcp(sport: int = 40000, dport: int = 443, payload: bytes = b"", flags: int = 0x02) -> Segment:
    header = struct.pack("!HHIIBBHHH", sport, dport, 1, 0, 5 << 4, flags, 65535, 0, 0)
    return Segment(TCP, header + payload, 16)


def udp(sport: int = 40000, dport: int = 53, payload: bytes = b"") -> Segment:
    return Segment(UDP, struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload, 6)


def sctp(sport: int = 40000, dport: int = 5060, payload: bytes = b"") -> Segment:
    """The checksum (CRC-32C) stays zero."""
    return Segment(SCTP, struct.pack("!HHII", sport, dport, 1, 0) + payload)


def icmp(type_: int = 8, code: int = 0, payload: bytes = b"") -> Segment:
    return Segment(ICMP, struct.pack("!BBHHH", type_, code, 0, 1, 1) + payload, 2, pseudo=False)


def icmpv6(type_: int = 128, code: int = 0, payload: bytes = bytes(4)) -> Segment:
    return Segment(ICMPV6, struct.pack("!BBH", type_, code, 0) + payload, 2)


def ndp(type_: int = 135, target: str = "2001:db8::1") -> Segment:
    """Neighbour discovery, types 133…137; the body fits solicitation and advertisement."""
    return icmpv6(type_, payload=bytes(4) + _packed(target))


def echo(family: Family, payload: bytes = b"") -> Segment:
    return icmp(payload=payload) if family == 4 else icmpv6(payload=struct.pack("!HH", 1, 1) + payload)


def raw(protocol: int, data: bytes = b"") -> Segment:
    return Segment(protocol, data)


# Cutting


def truncations(frame: bytes) -> Iterator[bytes]:
    """Every proper beginning of a frame, from nothing."""
    return (frame[:length] for length in range(len(frame)))


def cut(segment: Segment, length: int) -> Segment:
    """Its first bytes only; the IP lengths built around them are honest."""
    return Segment(segment.protocol, segment.data[:length])


def _packed(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _with_checksum(segment: Segment, pseudo_header: bytes) -> bytes:
    at = segment.checksum_at
    if at is None:
        return segment.data
    checksum = _checksum((pseudo_header if segment.pseudo else b"") + segment.data)
    if segment.protocol == UDP:
        checksum = checksum or 0xFFFF  # 0 means "none" in UDP
    return segment.data[:at] + struct.pack("!H", checksum) + segment.data[at + 2 :]
