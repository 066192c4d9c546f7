# SPDX-License-Identifier: Apache-2.0
"""Frames and what must become of them, written by hand from the RFCs: description, frame, reason.

The reason DEFAULT means a sound frame: the rows and then the default decide. Sections name what they rest on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from tests import packets as p
from tests.packets import ethernet, ip, ip_fragment, ipv4, ipv6, tag
from xdpfw.model.policy import Policy
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict
from xdpfw.model.rule import Action, Mode

BEFORE_ROWS = {
    Reason.ARP,
    Reason.NDP,
    Reason.NON_IP,
    Reason.SHORT_ETHERNET,
    Reason.VLAN_DEPTH,
    Reason.BAD_IPV4,
    Reason.BAD_IPV6,
}
"""Decided before the source is looked up: no row and no default applies."""

LISTED = 0x88CC
"""An EtherType (LLDP) that policies under test let pass under default drop; the other non-IP ones here do not."""

BLOCKED_INSIDE = "203.0.113.66", "2001:db8:bad::66"
"""Blocked sources for inner headers of tunnels, which must not matter."""

BAD = {4: Reason.BAD_IPV4, 6: Reason.BAD_IPV6}
SEGMENTS = {
    "tcp": p.tcp(payload=b"hello"),
    "udp": p.udp(payload=b"hello"),
    "sctp": p.sctp(payload=bytes(16)),
    "icmp": p.icmp(payload=bytes(8)),
    "icmpv6": p.icmpv6(payload=bytes(8)),
}
HEADER_BYTES = {"tcp": 20, "udp": 8, "sctp": 12, "icmp": 8, "icmpv6": 4}


@dataclass(frozen=True, slots=True)
class Case:
    description: str
    frame: bytes
    reason: Reason

    def __str__(self) -> str:
        return self.description


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: Verdict
    cause: int
    monitored: bool


def expected(reason: Reason, ethertype: int | None, membership: str | None, policy: Policy) -> Outcome:
    """What must become of a frame by its reason: `membership` is the set that its source is in.

    Broken IP headers drop; ARP and neighbour discovery pass; then the rows; then what is broken behind the IP header;
    then the default. In monitor mode everything passes.
    """
    drop, cause = policy.default is Verdict.DROP, int(reason)
    if reason in (Reason.ARP, Reason.NDP):
        drop = False
    elif reason is Reason.NON_IP:
        drop = drop and ethertype not in policy.ethertypes
    elif reason in BEFORE_ROWS:
        drop = True
    elif membership:
        rule = next(rule for rule in policy.rules if membership in rule.match.source.sets)
        drop, cause = rule.action is Action.DROP, MAX_REASONS + policy.slots.of[rule.id]
    elif reason is not Reason.DEFAULT:
        drop = True
    monitored = drop and policy.mode is Mode.MONITOR
    return Outcome(Verdict.DROP if drop and not monitored else Verdict.PASS, cause, monitored)


def table(source4: str, source6: str) -> list[Case]:
    """Every case, sent from these sources. `source6` may be an IPv4-mapped address."""
    sources = (source4, source6)
    return list(
        chain(
            non_ip(),
            *(vlans(source) for source in sources),
            ipv4_headers(source4),
            ipv6_headers(source6),
            *(truncated(source) for source in sources),
            extensions(source6),
            short_extensions(source6),
            *(fragments(source) for source in sources),
            atomic_fragments(source6),
            *(transports(source) for source in sources),
            discovery(source4, source6),
            tunnels(source4, source6),
            *(large(source) for source in sources),
            big(source4, source6),
        )
    )


def non_ip() -> Iterator[Case]:
    """ARP passes always (RFC 826); what is not IP has no address to judge."""
    yield Case("ARP", ethernet(p.arp(), pad_to=60), Reason.ARP)
    yield Case("ARP in two tags", ethernet(p.arp(), tag(1, p.QINQ), tag(2)), Reason.ARP)
    yield Case("nothing behind an ARP EtherType", ethernet(p.other(p.ETH_ARP, b"")), Reason.ARP)
    inner = ipv4(BLOCKED_INSIDE[0], p.tcp()).data
    others = {
        "LLDP": p.other(LISTED),
        "802.3 length field with LLC": p.other(0x0026, b"\x42\x42\x03" + bytes(35)),
        "RARP": p.other(0x8035),
        "EtherType 0": p.other(0),
        "0x9200 is no tag here": p.other(0x9200, struct.pack("!HH", 1, p.ETH_IPV4) + inner),
        "MPLS with IPv4 inside": p.other(p.ETH_MPLS, struct.pack("!I", 0x1FF) + inner),
        "PPPoE with IPv4 inside": p.other(p.ETH_PPPOE, struct.pack("!BBHHH", 0x11, 0, 1, len(inner) + 2, 0x21) + inner),
    }
    for name, packet in others.items():
        yield Case(name, ethernet(packet), Reason.NON_IP)
        yield Case(f"{name}, tagged", ethernet(packet, tag()), Reason.NON_IP)
    yield Case("nothing behind an unknown EtherType", ethernet(p.other(0x1234, b"")), Reason.NON_IP)


def vlans(source: str) -> Iterator[Case]:
    """IEEE 802.1Q-2022 clause 9: a tag is 2 bytes TPID and 2 bytes TCI, and may be followed by another one."""
    packet = ip(source, p.udp())
    for depth in range(7):
        reason = Reason.DEFAULT if depth <= 4 else Reason.VLAN_DEPTH
        stacks = [(each,) * depth for each in p.TPIDS] + [(p.QINQ, p.VLAN, p.QINQ_OLD, p.VLAN, p.QINQ, p.VLAN)[:depth]]
        for stack in stacks:
            tags = [tag(vlan, tpid) for vlan, tpid in enumerate(stack)]
            name = f"{source}: {depth} tags {'/'.join(f'{tpid:04x}' for tpid in stack)}"
            yield Case(name, ethernet(packet, *tags), reason)
    for depth in range(1, 5):
        frame = ethernet(packet, *[tag()] * depth)
        for length in range(14, 14 + 4 * depth):
            yield Case(f"{depth} tags, cut after {length} bytes", frame[:length], Reason.SHORT_ETHERNET)
    yield Case(f"{source}: tag with priority, DEI and VLAN 4095", ethernet(packet, tag(0xFFFF)), Reason.DEFAULT)


def ipv4_headers(source: str) -> Iterator[Case]:
    """RFC 791 section 3.1: version 4, IHL of 5 to 15 words, total length with the header in it."""
    segment = SEGMENTS["tcp"]
    length = 20 + len(segment.data)
    for version in set(range(16)) - {4}:
        yield Case(f"IPv4 with version {version}", ethernet(ipv4(source, segment, version=version)), Reason.BAD_IPV4)
    for ihl in range(5):
        yield Case(f"IPv4 with IHL {ihl}", ethernet(ipv4(source, segment, ihl=ihl)), Reason.BAD_IPV4)
    for words in range(1, 11):
        options = b"\x01" * 4 * words
        yield Case(f"IPv4 with {words} words of NOP", ethernet(ipv4(source, segment, options=options)), Reason.DEFAULT)
        frame = ethernet(ipv4(source, segment, options=options, total_length=19 + 4 * words))
        yield Case(f"IPv4 with {words} words of options, total length one less", frame, Reason.BAD_IPV4)
        nothing = ipv4(source, p.raw(p.GRE), ihl=5 + words, total_length=20)
        yield Case(f"IPv4 with IHL {5 + words} and no options there", ethernet(nothing), Reason.BAD_IPV4)
        padded = ethernet(nothing, pad_to=100)
        yield Case(f"IPv4 with IHL {5 + words}, options in the padding only", padded, Reason.BAD_IPV4)
    record_route = b"\x07\x27\x04" + bytes(36) + b"\x00"
    yield Case("IPv4 with record route", ethernet(ipv4(source, segment, options=record_route)), Reason.DEFAULT)
    for total in (0, 1, 19):
        frame = ethernet(ipv4(source, segment, total_length=total))
        yield Case(f"IPv4 with total length {total}", frame, Reason.BAD_IPV4)
    for total in (length + 1, length + 100, 65535):
        frame = ethernet(ipv4(source, segment, total_length=total))
        yield Case(f"IPv4 with total length {total} of {length}", frame, Reason.BAD_IPV4)
    short = dict.fromkeys(range(20, 40), Reason.SHORT_TRANSPORT) | {40: Reason.DEFAULT, length: Reason.DEFAULT}
    for total, reason in short.items():
        frame = ethernet(ipv4(source, segment, total_length=total), pad_to=64)
        yield Case(f"IPv4 with total length {total}, more bytes behind it", frame, reason)
    header_only = ethernet(ipv4(source, p.raw(p.OSPF)))
    yield Case("IPv4 header alone, unknown protocol", header_only, Reason.DEFAULT)
    yield Case("IPv6 under the EtherType of IPv4", ethernet(p.other(p.ETH_IPV4, ip("fd00::1", segment).data)), BAD[4])
    for protocol in (p.HOP_BY_HOP, p.ROUTING, p.FRAGMENT, p.AUTHENTICATION, p.DESTINATION, p.ICMPV6):
        # These are numbers of protocols: in IPv4 nothing but the IP header is walked.
        frame = ethernet(ipv4(source, p.raw(protocol, b"\xff" * 8)))
        yield Case(f"IPv4 with protocol {protocol}", frame, Reason.DEFAULT)


def ipv6_headers(source: str) -> Iterator[Case]:
    """RFC 8200 section 3; a payload length of 0 is honest, or a jumbogram's (RFC 2675)."""
    segment = SEGMENTS["tcp"]
    length = len(segment.data)
    for version in set(range(16)) - {6}:
        yield Case(f"IPv6 with version {version}", ethernet(ipv6(source, segment, version=version)), Reason.BAD_IPV6)
    for payload in (length + 1, length + 100, 65535):
        frame = ethernet(ipv6(source, segment, payload_length=payload))
        yield Case(f"IPv6 with payload length {payload} of {length}", frame, Reason.BAD_IPV6)
    short = dict.fromkeys(range(20), Reason.SHORT_TRANSPORT) | {20: Reason.DEFAULT, length: Reason.DEFAULT}
    for payload, reason in short.items():
        frame = ethernet(ipv6(source, segment, payload_length=payload), pad_to=90)
        yield Case(f"IPv6 with payload length {payload}, more bytes behind it", frame, reason)
    yield Case("IPv6 header alone, no next header", ethernet(ipv6(source, p.raw(p.NO_NEXT))), Reason.DEFAULT)
    jumbo = ethernet(ipv6(source, segment, p.hop_by_hop(), payload_length=0))
    yield Case("IPv6 with payload length 0 and hop-by-hop: to the end", jumbo, Reason.DEFAULT)
    other = ethernet(ipv6(source, segment, p.destination_options(), payload_length=0))
    yield Case("IPv6 with payload length 0 and destination options", other, Reason.SHORT_EXTENSION)
    yield Case("IPv4 under the EtherType of IPv6", ethernet(p.other(p.ETH_IPV6, ip("10.0.0.1", segment).data)), BAD[6])


def truncated(source: str) -> Iterator[Case]:
    """Whatever is cut off, the IP header's length then claims more than is there."""
    bad = BAD[6 if ":" in source else 4]
    for name, segment in SEGMENTS.items():
        for tags in ((), (tag(), tag())):
            frame = ethernet(ip(source, segment), *tags)
            for length in range(14 + 4 * len(tags), len(frame)):
                yield Case(f"{source}: {name}, {len(tags)} tags, cut after {length} bytes", frame[:length], bad)


def extensions(source: str) -> Iterator[Case]:
    """RFC 8200 section 4, in any order and number up to 8; AH counts its length in its own way (RFC 4302 2.2)."""
    segment = SEGMENTS["tcp"]
    for number, specimen in p.EXTENSIONS.items():
        for count in range(11):
            reason = Reason.DEFAULT if count <= 8 else Reason.EXTENSION_DEPTH
            frame = ethernet(ipv6(source, segment, *[specimen] * count))
            yield Case(f"{count} extension headers of kind {number}", frame, reason)
    kinds = list(p.EXTENSIONS.values())
    yield Case("one of each of the eight kinds", ethernet(ipv6(source, segment, *kinds)), Reason.DEFAULT)
    for number in (p.ESP, p.NO_NEXT, p.IPIP, 253):
        frame = ethernet(ipv6(source, p.raw(number), *kinds))
        yield Case(f"eight headers, then {number} with nothing behind", frame, Reason.DEFAULT)
    for size in (8, 16, 24, 64, 256, 1024, 2048):
        for number in (p.HOP_BY_HOP, p.DESTINATION, p.MOBILITY, p.HIP, p.SHIM6):
            header = p.options_header(number, size)
            yield Case(f"header {number} of {size} bytes", ethernet(ipv6(source, segment, header)), Reason.DEFAULT)
        yield Case(f"routing header of {size} bytes", ethernet(ipv6(source, segment, p.routing(size))), Reason.DEFAULT)
    for size in (8, 12, 16, 20, 24, 28, 40, 1028):
        frame = ethernet(ipv6(source, segment, p.authentication(size)))
        yield Case(f"AH of {size} bytes", frame, Reason.DEFAULT)
        frame = ethernet(ipv6(source, p.cut(segment, 19), p.authentication(size)))
        yield Case(f"AH of {size} bytes, then 19 bytes of TCP", frame, Reason.SHORT_TRANSPORT)


def short_extensions(source: str) -> Iterator[Case]:
    """An extension header must be whole within the IP payload (RFC 7112); padding behind it does not count."""
    for number, specimen in (p.EXTENSIONS | {p.AUTHENTICATION: p.authentication(12)}).items():
        for length in range(len(specimen.data)):
            packet = ipv6(source, p.raw(number, (bytes([p.TCP]) + specimen.data[1:])[:length]))
            name = f"header {number}, {length} bytes of it"
            yield Case(name, ethernet(packet), Reason.SHORT_EXTENSION)
            if length or number != p.HOP_BY_HOP:  # hop-by-hop and payload length 0 mean "to the end"
                yield Case(f"{name}, then padding", ethernet(packet, pad_to=120), Reason.SHORT_EXTENSION)
        whole = ipv6(source, p.raw(p.NO_NEXT), specimen)
        yield Case(f"header {number} whole, nothing behind", ethernet(whole), Reason.DEFAULT)
    for size in (16, 2048):
        header = p.destination_options(size)
        frame = ethernet(ipv6(source, p.raw(p.DESTINATION, bytes([p.TCP]) + header.data[1:-1])))
        yield Case(f"a header of {size} bytes, one short", frame, Reason.SHORT_EXTENSION)
    eighth = ipv6(source, p.raw(p.DESTINATION, b"\x3b"), *[p.routing()] * 7)
    yield Case("the eighth header cut short", ethernet(eighth), Reason.SHORT_EXTENSION)


def fragments(source: str) -> Iterator[Case]:
    """RFC 791, 8200 4.5: later fragments have no ports; first ones must hold the upper header (RFC 7112, 8900)."""
    for name, segment in SEGMENTS.items():
        needed = HEADER_BYTES[name]
        for length in range(needed + 1):
            reason = Reason.DEFAULT if length == needed else Reason.SHORT_TRANSPORT
            packet = ip_fragment(source, p.cut(segment, length), 0, more=True)
            yield Case(f"{source}: first fragment with {length} bytes of {name}", ethernet(packet, pad_to=100), reason)
        for offset, more in ((8, True), (8, False), (1480, False), (65528, False)):
            for length in (0, 1, 3, needed):
                packet = ip_fragment(source, p.cut(segment, length), offset, more=more)
                name_ = f"{source}: fragment at {offset}, more {more}, {length} bytes of {name}"
                yield Case(name_, ethernet(packet), Reason.DEFAULT)


def atomic_fragments(source: str) -> Iterator[Case]:
    """RFC 6946: offset 0 and no more fragments. What follows a fragment header at offset 0 is walked on."""
    segment, more = SEGMENTS["tcp"], p.fragment(0, more=True)
    atomic, later = p.fragment(), p.fragment(8)
    yield Case("atomic fragment", ethernet(ipv6(source, segment, atomic)), Reason.DEFAULT)
    short = ipv6(source, p.cut(segment, 19), atomic)
    yield Case("atomic fragment with 19 bytes of TCP", ethernet(short), Reason.SHORT_TRANSPORT)
    for first in (atomic, more):
        behind = ipv6(source, segment, p.hop_by_hop(), first, p.destination_options())
        yield Case("options behind a first fragment header", ethernet(behind), Reason.DEFAULT)
        cut_off = ipv6(source, p.raw(p.DESTINATION, b"\x06"), first)
        yield Case("options cut short behind a first fragment header", ethernet(cut_off), Reason.SHORT_EXTENSION)
        many = ipv6(source, segment, first, *[p.routing()] * 8)
        yield Case("eight headers behind a first fragment header", ethernet(many), Reason.EXTENSION_DEPTH)
    for number in (p.DESTINATION, p.FRAGMENT, p.AUTHENTICATION, p.HOP_BY_HOP):
        # The number is that of the first fragment's header; the bytes are from the middle of the payload.
        packet = ipv6(source, p.raw(number, b"\xff"), later)
        yield Case(f"later fragment of {number}", ethernet(packet), Reason.DEFAULT)
    eighth = ipv6(source, p.raw(p.DESTINATION, b"\xff"), *[p.routing()] * 7, later)
    yield Case("a later fragment's header as the eighth", ethernet(eighth), Reason.DEFAULT)
    ninth = ipv6(source, segment, *[p.routing()] * 8, later)
    yield Case("a later fragment's header as the ninth", ethernet(ninth), Reason.EXTENSION_DEPTH)


def transports(source: str) -> Iterator[Case]:
    """RFC 9293, 768, 9260, 792, 4443: the fixed header must be there; others have none that is looked at."""
    for name, segment in SEGMENTS.items():
        needed = HEADER_BYTES[name]
        for length in range(needed + 1):
            reason = Reason.DEFAULT if length == needed else Reason.SHORT_TRANSPORT
            packet = ip(source, p.cut(segment, length))
            yield Case(f"{source}: {length} bytes of {name}", ethernet(packet), reason)
            yield Case(f"{source}: {length} bytes of {name}, padded", ethernet(packet, pad_to=100), reason)
    for protocol in (2, p.GRE, p.ESP, p.OSPF, p.NO_NEXT, 136, 253, 254, 255):
        for length in (0, 1, 40):
            packet = ip(source, p.raw(protocol, b"\xff" * length))
            yield Case(
                f"{source}: protocol {protocol} with {length} bytes", ethernet(packet, pad_to=60), Reason.DEFAULT
            )
    yield Case(f"{source}: port 0", ethernet(ip(source, p.udp(0, 0))), Reason.DEFAULT)


def discovery(source4: str, source6: str) -> Iterator[Case]:
    """RFC 4861 (types 133…137, hop limit 255 shows that no router forwarded it), RFC 6980 (never fragmented)."""
    for type_ in (0, 1, 128, 129, 130, 132, *range(133, 138), 138, 143, 255):
        reason = Reason.NDP if 133 <= type_ <= 137 else Reason.DEFAULT
        yield Case(f"ICMPv6 {type_}", ethernet(ipv6(source6, p.ndp(type_), hop_limit=255)), reason)
        tagged = ethernet(ipv6(source6, p.ndp(type_), hop_limit=255), tag(1, p.QINQ), tag(2))
        yield Case(f"ICMPv6 {type_} in two tags", tagged, reason)
    for type_ in range(133, 138):
        segment = p.ndp(type_)
        for limit in (0, 1, 64, 254):
            frame = ethernet(ipv6(source6, segment, hop_limit=limit))
            yield Case(f"discovery {type_} with hop limit {limit}", frame, Reason.DEFAULT)
        for header in (p.fragment(), p.fragment(0, more=True), p.fragment(8)):
            for others in ((header,), (p.hop_by_hop(), header), (header, p.destination_options())):
                frame = ethernet(ipv6(source6, segment, *others, hop_limit=255))
                yield Case(f"discovery {type_}, fragmented, {len(others)} headers", frame, Reason.DEFAULT)
        for number in set(p.EXTENSIONS) - {p.FRAGMENT}:
            frame = ethernet(ipv6(source6, segment, p.EXTENSIONS[number], hop_limit=255))
            yield Case(f"discovery {type_} behind header {number}", frame, Reason.NDP)
        for length in range(4):
            frame = ethernet(ipv6(source6, p.cut(segment, length), hop_limit=255), pad_to=90)
            yield Case(f"discovery {type_}, {length} bytes of it", frame, Reason.SHORT_TRANSPORT)
        deep = ethernet(ipv6(source6, segment, *[p.routing()] * 9, hop_limit=255))
        yield Case(f"discovery {type_} behind nine headers", deep, Reason.EXTENSION_DEPTH)
        four = ethernet(ipv4(source4, p.raw(p.ICMPV6, segment.data), ttl=255))
        yield Case(f"discovery {type_} in IPv4", four, Reason.DEFAULT)
        echo = ethernet(ipv6(source6, p.raw(p.ICMP, segment.data), hop_limit=255))
        yield Case(f"ICMP {type_} in IPv6", echo, Reason.DEFAULT)


def tunnels(source4: str, source6: str) -> Iterator[Case]:
    """Only the outer header counts: what is inside belongs to whoever unpacks it."""
    for source in (source4, source6):
        for inner in BLOCKED_INSIDE:
            packet = ip(inner, p.tcp())
            gre = p.raw(p.GRE, struct.pack("!HH", 0, packet.ethertype) + packet.data)
            plain = p.raw(p.IPV6_IN_IP if ":" in inner else p.IPIP, packet.data)
            vxlan = p.udp(40000, 4789, struct.pack("!II", 0x08000000, 0) + ethernet(packet))
            for name, segment in (("GRE", gre), ("IP in IP", plain), ("VXLAN", vxlan)):
                yield Case(f"{name} from {source}, {inner} inside", ethernet(ip(source, segment)), Reason.DEFAULT)
        esp = p.raw(p.ESP, struct.pack("!II", 1, 1) + bytes(32))
        yield Case(f"ESP from {source}", ethernet(ip(source, esp)), Reason.DEFAULT)


def big(source4: str, source6: str) -> Iterator[Case]:
    """BIG TCP: a length of 0 means "to the end" only in packets longer than 16 bits can say (RFC 2675)."""
    for more, reason4, reason6 in ((0, Reason.BAD_IPV4, Reason.SHORT_TRANSPORT), (1, Reason.DEFAULT, Reason.DEFAULT)):
        segment4, segment6 = (p.tcp(payload=bytes(65535 - header + more)) for header in (40, 20))
        four = ipv4(source4, segment4, total_length=0)
        yield Case(f"IPv4 of {len(four.data)} bytes with total length 0", ethernet(four), reason4)
        six = ipv6(source6, segment6, payload_length=0)
        yield Case(f"IPv6 of {len(six.data) - 40} bytes behind it, payload length 0", ethernet(six), reason6)


def large(source: str) -> Iterator[Case]:
    """Up to the jumbo MTU of 9,000, in several buffers."""
    overhead = 48 if ":" in source else 28
    for mtu in (1500, 2000, 3498, 3500, 4000, 8000, 9000):
        frame = ethernet(ip(source, p.udp(payload=bytes(mtu - overhead))))
        yield Case(f"{source}: packet of {mtu} bytes", frame, Reason.DEFAULT)
        yield Case(f"{source}: packet of {mtu} bytes, one missing", frame[:-1], BAD[6 if ":" in source else 4])
    if ":" in source:
        far = [p.destination_options(2048)] * 2
        yield Case("TCP behind 4,096 bytes of options", ethernet(ipv6(source, p.tcp(), *far)), Reason.DEFAULT)
        short = ethernet(ipv6(source, p.cut(p.tcp(), 19), *far))
        yield Case("19 bytes of TCP behind 4,096 bytes of options", short, Reason.SHORT_TRANSPORT)
        far_discovery = ethernet(ipv6(source, p.ndp(), *far, hop_limit=255))
        yield Case("discovery behind 4,096 bytes of options", far_discovery, Reason.NDP)
        straddling = ethernet(ipv6(source, p.raw(p.DESTINATION, b"\x06"), *far))
        yield Case("a header cut short behind 4,096 bytes of options", straddling, Reason.SHORT_EXTENSION)
