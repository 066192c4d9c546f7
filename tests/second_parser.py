# SPDX-License-Identifier: Apache-2.0
"""A second opinion about frames: header layouts are dpkt's, the walk is written from the RFCs alone.

It shares no code with the packet path nor with the reference, so that one misreading does not hide behind another.
Where dpkt would decode on by itself (and raise, or guess), only its layout of the fixed header is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import dpkt
from dpkt.ethernet import Ethernet, VLANtag8021Q
from dpkt.ip import IP
from dpkt.ip6 import IP6, IP6AHHeader, IP6FragmentHeader, IP6OptsHeader

MAX_TAGS, MAX_EXTENSIONS = 4, 8

# RFC 8200 (0, 43, 44, 60), 4302 (51), 6275 (135), 7401 (139), 5533 (140): "extension header" at IANA, ESP aside.
GENERIC_EXTENSIONS = {0, 43, 60, 135, 139, 140}
TRANSPORT_HEADERS = {6: 20, 17: 8, 132: 12, 1: 8, 58: 4}
WITH_PORTS = {6, 17, 132}


class _Frame(Ethernet):
    def unpack(self, buf: bytes) -> None:
        dpkt.Packet.unpack(self, buf)

    def _unpack_data(self, buf: bytes) -> None:
        pass


class _IPv4(IP):
    def unpack(self, buf: bytes) -> None:
        dpkt.Packet.unpack(self, buf)


class _IPv6(IP6):
    def unpack(self, buf: bytes) -> None:
        dpkt.Packet.unpack(self, buf)


class _Options(IP6OptsHeader):
    def unpack(self, buf: bytes) -> None:
        dpkt.Packet.unpack(self, buf)


class _Authentication(IP6AHHeader):
    # Only the first two fields are needed to walk on: a header of 8 bytes (length 0) has nothing more.
    __hdr__ = IP6AHHeader.__hdr__[:2]

    def unpack(self, buf: bytes) -> None:
        dpkt.Packet.unpack(self, buf)


@dataclass(frozen=True, slots=True)
class Reading:
    """`fault` is a reason's label or "": of a frame that fails before it has a source, or behind its IP header.

    `source` is known as soon as the fixed header is whole and of the right version. IPv4 addresses have 4 bytes.
    """

    ethertype: int | None = None
    tags: int = 0
    family: int | None = None
    source: bytes | None = None
    protocol: int | None = None
    ports: tuple[int, int] | None = None
    fragment: str = "none"
    extensions: int = 0
    fault: str = ""
    ndp: bool = False


def read(frame: bytes) -> Reading:
    try:
        ethernet = _Frame(frame)
    except dpkt.NeedData:
        return Reading(fault="short_ethernet")
    ethertype, rest, tags = ethernet.type, ethernet.data, 0
    while ethertype in (0x8100, 0x88A8, 0x9100):
        if tags == MAX_TAGS:
            return Reading(tags=tags, fault="vlan_depth")
        try:
            tag = VLANtag8021Q(rest)
        except dpkt.NeedData:
            return Reading(tags=tags, fault="short_ethernet")
        ethertype, rest, tags = tag.type, rest[tag.__hdr_len__ :], tags + 1
    reading = Reading(ethertype, tags)
    if ethertype == dpkt.ethernet.ETH_TYPE_IP:
        return _read_ipv4(rest, replace(reading, family=4))
    if ethertype == dpkt.ethernet.ETH_TYPE_IP6:
        return _read_ipv6(rest, replace(reading, family=6))
    return reading


def _read_ipv4(data: bytes, reading: Reading) -> Reading:
    bad = replace(reading, fault="bad_ipv4")
    try:
        header = _IPv4(data)
    except dpkt.NeedData:
        return bad
    if header.v != 4:
        return bad
    bad = replace(bad, source=header.src)
    length = len(data) if header.len == 0 and len(data) > 65535 else header.len
    if header.hl < 5 or not header.hl * 4 <= length <= len(data):
        return bad
    fragment = "later" if header.offset else "first" if header.mf else "none"
    reading = replace(reading, source=header.src, protocol=header.p, fragment=fragment)
    return _read_transport(data[header.hl * 4 : length], reading)


def _read_ipv6(data: bytes, reading: Reading) -> Reading:
    bad = replace(reading, fault="bad_ipv6")
    try:
        header = _IPv6(data)
    except dpkt.NeedData:
        return bad
    if header.v != 6:
        return bad
    reading = replace(reading, source=header.src)
    payload = header.data
    if header.plen > len(payload):
        return replace(bad, source=header.src)
    jumbo = header.plen == 0 and (header.nxt == 0 or len(payload) > 65535)
    return _read_extensions(
        payload if jumbo else payload[: header.plen], replace(reading, protocol=header.nxt), header.hlim
    )


def _read_extensions(payload: bytes, reading: Reading, hop_limit: int) -> Reading:
    number, count, fragment, fragmented = reading.protocol, 0, "none", False
    while number in GENERIC_EXTENSIONS or number in (44, 51):
        if count == MAX_EXTENSIONS:
            return replace(reading, protocol=number, fragment=fragment, extensions=count, fault="extension_depth")
        try:
            if number == 44:
                header = IP6FragmentHeader(payload)
                more = header.m_flag or fragment == "first"
                fragment = "later" if header.frag_off else "first" if more else "atomic"
                fragmented, length = True, 8
            elif number == 51:
                header = _Authentication(payload)
                length = (header.len + 2) * 4
            else:
                header = _Options(payload)
                length = (header.len + 1) * 8
        except dpkt.NeedData:
            length = len(payload) + 1
        if length > len(payload):
            return replace(reading, protocol=number, fragment=fragment, extensions=count, fault="short_extension")
        number, payload, count = header.nxt, payload[length:], count + 1
        if fragment == "later":
            break
    reading = replace(reading, protocol=number, fragment=fragment, extensions=count)
    reading = _read_transport(payload, reading)
    discovery = number == 58 and not reading.fault and not fragmented and 133 <= payload[0] <= 137
    return replace(reading, ndp=discovery and hop_limit == 255)


def _read_transport(payload: bytes, reading: Reading) -> Reading:
    needed = TRANSPORT_HEADERS.get(reading.protocol or 0)
    if reading.fragment == "later" or needed is None:
        return reading
    if len(payload) < needed:
        return replace(reading, fault="short_transport")
    if reading.protocol in WITH_PORTS:
        ports = int.from_bytes(payload[:2]), int.from_bytes(payload[2:4])
        return replace(reading, ports=ports)
    return reading
