# SPDX-License-Identifier: Apache-2.0
"""A frame from what somebody says about it: Ethernet, at most one tag, IPv4 or IPv6, a transport header.

What is not said is as harmless as can be: no ports without a protocol, no flags but SYN for TCP, no fragment.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from xdpfw.model.errors import Fault, InvalidInput
from xdpfw.model.prefix import Address
from xdpfw.model.rule import ICMP, ICMPV6, SCTP, TCP, UDP, Fragment

UNKNOWN_PROTOCOL = 255
"""Reserved (IANA): only rules that ask for no protocol match."""

ETHERTYPES = {4: 0x0800, 6: 0x86DD}
VLAN_TAG = 0x8100
IPV6_FRAGMENT = 44
MORE, OFFSET = 1, 185
"""A first fragment says that there are more; a later one begins at 185 * 8 octets, which is usual on Ethernet."""
SYN = 0x02
SHORTEST, LONGEST = 60, 9014
"""Frames without their checksum, as Ethernet pads them and as jumbo frames are at most."""


@dataclass(frozen=True, slots=True)
class Description:
    """`source` and `destination` are of one family. `vlan`: None for no tag. `length`: of the frame from its Ethernet
    header on, None for the shortest. `interface`: where it arrives, None for one that no rule names."""

    source: Address
    destination: Address
    protocol: int | None = None
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    tcp_flags: int | None = None
    vlan: int | None = None
    length: int | None = None
    fragment: Fragment = Fragment.NONE
    interface: str | None = None


def build(said: Description) -> bytes:
    """Raises InvalidInput for what cannot be in one frame."""
    if said.source.version != said.destination.version:
        raise _fault("destination", f"{said.destination} is not of the family of {said.source}")
    ports = said.source_port is not None or said.destination_port is not None
    protocol = said.protocol
    if protocol is None:
        protocol = TCP if ports or said.tcp_flags is not None else UNKNOWN_PROTOCOL
    if ports and protocol not in (TCP, UDP, SCTP):
        raise _fault("protocol", "only tcp, udp and sctp have ports")
    if said.icmp_type is not None and protocol not in (ICMP, ICMPV6):
        raise _fault("protocol", "only icmp and icmpv6 have types")
    if said.tcp_flags is not None and protocol != TCP:
        raise _fault("protocol", "only tcp has flags")
    payload = b"" if said.fragment is Fragment.LATER else _transport(protocol, said)
    tag = b"" if said.vlan is None else struct.pack("!HH", VLAN_TAG, said.vlan)
    head = bytes(12) + tag + struct.pack("!H", ETHERTYPES[said.source.version])
    network = _ipv4 if said.source.version == 4 else _ipv6
    least = len(head) + len(network(said, protocol, payload))
    length = max(least, SHORTEST) if said.length is None else said.length
    if not least <= length <= LONGEST:
        raise _fault("length", f"such a frame is {least} to {LONGEST} bytes long")
    if said.length is not None:
        payload += bytes(length - least)
    return (head + network(said, protocol, payload)).ljust(length, b"\0")


def _transport(protocol: int, said: Description) -> bytes:
    ports = (said.source_port or 0, said.destination_port or 0)
    if protocol == TCP:
        flags = SYN if said.tcp_flags is None else said.tcp_flags
        return struct.pack("!HHIIBBHHH", *ports, 0, 0, 5 << 4, flags, 65535, 0, 0)
    if protocol == UDP:
        return struct.pack("!HHHH", *ports, 8, 0)
    if protocol == SCTP:
        return struct.pack("!HHII", *ports, 0, 0)
    if protocol in (ICMP, ICMPV6):
        return struct.pack("!BBHI", said.icmp_type or 0, 0, 0, 0)
    return b""


def _ipv4(said: Description, protocol: int, payload: bytes) -> bytes:
    """RFC 791; the checksum stays 0, for nobody looks at it here."""
    fragment = {Fragment.NONE: 0, Fragment.FIRST: MORE << 13, Fragment.LATER: OFFSET}[said.fragment]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, fragment, 64, protocol, 0)
    return header + said.source.packed + said.destination.packed + payload


def _ipv6(said: Description, protocol: int, payload: bytes) -> bytes:
    """RFC 8200."""
    following = protocol
    if said.fragment is not Fragment.NONE:
        offset = MORE if said.fragment is Fragment.FIRST else OFFSET << 3
        payload = struct.pack("!BBHI", protocol, 0, offset, 0) + payload
        following = IPV6_FRAGMENT
    header = struct.pack("!IHBB", 6 << 28, len(payload), following, 64)
    return header + said.source.packed + said.destination.packed + payload


def _fault(name: str, detail: str) -> InvalidInput:
    return InvalidInput(f"/{name}: {detail}", [Fault(f"/{name}", detail)])
