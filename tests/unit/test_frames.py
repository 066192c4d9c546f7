# SPDX-License-Identifier: Apache-2.0
"""The test tools themselves: the builder against scapy, the table of frames against the second parser."""

from __future__ import annotations

import ipaddress

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet

from tests import packets as p
from tests.corpora import range_prefixes
from tests.frame_table import table
from tests.random_frames import frames
from tests.second_parser import Reading, read

SOURCES = "192.0.2.1", "2001:db8::1"


def resealed(packet: Packet) -> bytes:
    """The same packet with every length and checksum computed by scapy."""
    for layer in packet.iterpayloads():
        for name in ("len", "plen", "chksum", "cksum"):
            if name in layer.fields:
                del layer.fields[name]
    return bytes(packet)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("segment", [p.tcp(payload=b"odd"), p.udp(payload=b"even"), p.udp()])
def test_lengths_and_checksums_are_those_that_scapy_computes(source: str, segment: p.Segment) -> None:
    frame = p.ethernet(p.ip(source, segment))
    assert resealed(Ether(frame)) == frame


def test_echo_requests_and_discovery_have_scapys_checksums() -> None:
    for packet in (
        p.ipv4(SOURCES[0], p.echo(4, b"abc"), options=b"\x01" * 4),
        p.ipv6(SOURCES[1], p.echo(6, b"abc"), p.hop_by_hop()),
        p.ipv6(SOURCES[1], p.ndp(136), hop_limit=255),
    ):
        frame = p.ethernet(packet)
        assert resealed(Ether(frame)) == frame


def test_scapy_finds_the_layers_that_were_put_together() -> None:
    packet = p.ipv6(SOURCES[1], p.tcp(1, 2), p.hop_by_hop(2048), p.routing(24), p.destination_options(264))
    parsed = Ether(p.ethernet(packet, p.tag(7, p.QINQ), p.tag(8)))
    assert [layer.vlan for layer in parsed.iterpayloads() if isinstance(layer, Dot1Q)] == [7, 8]
    assert parsed[IPv6].src == SOURCES[1]
    assert (parsed[TCP].sport, parsed[TCP].dport) == (1, 2)
    parsed = Ether(p.ethernet(p.ip_fragment(SOURCES[0], p.udp(), 1480, more=True), pad_to=60))
    assert (parsed[IP].frag, parsed[IP].flags) == (185, "MF")
    assert UDP not in parsed
    assert Ether(p.ethernet(p.arp("10.0.0.1", "10.0.0.2")))[ARP].pdst == "10.0.0.2"


def reason_of(reading: Reading) -> str:
    if reading.fault or reading.ndp:
        return reading.fault or "ndp"
    if reading.family is None:
        return "arp" if reading.ethertype == p.ETH_ARP else "non_ip"
    return "default"


@pytest.mark.parametrize("source6", ["2001:db8::1", "::ffff:192.0.2.1", "::"])
def test_the_second_parser_reads_the_table_as_it_was_written(source6: str) -> None:
    wrong = {
        str(case): (case.reason.label, reason_of(read(case.frame)))
        for case in table(SOURCES[0], source6)
        if reason_of(read(case.frame)) != case.reason.label
    }
    assert wrong == {}


def test_the_same_seed_gives_the_same_frames() -> None:
    first, again, other = (list(frames(seed, 200, SOURCES[:1], SOURCES[1:])) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("first", "last", "prefixes"),
    [
        ("0.0.0.0", "255.255.255.255", ["0.0.0.0/0"]),
        ("10.0.0.1", "10.0.0.1", ["10.0.0.1/32"]),
        ("10.0.0.1", "10.0.0.6", ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]),
        ("192.0.2.0", "192.0.3.255", ["192.0.2.0/23"]),
    ],
)
def test_a_range_becomes_the_fewest_prefixes(first: str, last: str, prefixes: list[str]) -> None:
    start, end = ipaddress.IPv4Address(first), ipaddress.IPv4Address(last)
    assert list(range_prefixes(int(start), int(end))) == prefixes
    assert [str(network) for network in ipaddress.summarize_address_range(start, end)] == prefixes
