# SPDX-License-Identifier: Apache-2.0
"""Frames built from a description are what was described, in the eyes of scapy."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.layers.l2 import Dot1Q, Ether
from scapy.layers.sctp import SCTP

from xdpfw.frames.build import Description, build
from xdpfw.model.errors import InvalidInput
from xdpfw.model.rule import Fragment

ADDRESSES = {4: ("192.0.2.1", "198.51.100.2"), 6: ("2001:db8::1", "2001:db8::2")}
LAYERS = {6: TCP, 17: UDP, 132: SCTP}


def said(version: int = 4, **more: Any) -> Description:
    return Description(*map(ipaddress.ip_address, ADDRESSES[version]), **more)


@given(
    version=st.sampled_from((4, 6)),
    protocol=st.sampled_from((6, 17, 132)),
    ports=st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
    vlan=st.none() | st.integers(0, 4095),
    length=st.none() | st.integers(120, 9014),
)
def test_what_is_said_is_in_the_frame(
    version: int, protocol: int, ports: tuple[int, int], vlan: int | None, length: int | None
) -> None:
    frame = build(
        said(version, protocol=protocol, source_port=ports[0], destination_port=ports[1], vlan=vlan, length=length)
    )
    assert len(frame) == (length or 60) or (length is None and len(frame) > 60)
    layers = Ether(frame)
    network = layers[IP] if version == 4 else layers[IPv6]
    assert (network.src, network.dst) == ADDRESSES[version]
    assert (layers[LAYERS[protocol]].sport, layers[LAYERS[protocol]].dport) == ports
    assert (layers[Dot1Q].vlan if vlan is not None else None) == vlan
    size = network.len if version == 4 else network.plen + 40
    assert size <= len(frame) - 14 - 4 * (vlan is not None)


def test_tcp_is_a_syn_unless_said_otherwise() -> None:
    assert Ether(build(said(protocol=6)))[TCP].flags == "S"
    assert Ether(build(said(protocol=6, tcp_flags=0x12)))[TCP].flags == "SA"


def test_ports_alone_mean_tcp() -> None:
    assert Ether(build(said(destination_port=22)))[TCP].dport == 22


def test_types_of_icmp() -> None:
    assert Ether(build(said(protocol=1, icmp_type=8)))[ICMP].type == 8


@pytest.mark.parametrize("version", [4, 6])
def test_fragments(version: int) -> None:
    first = Ether(build(said(version, protocol=17, destination_port=53, fragment=Fragment.FIRST)))
    later = Ether(build(said(version, protocol=17, fragment=Fragment.LATER)))
    if version == 4:
        assert (first[IP].flags, first[IP].frag, later[IP].flags) == ("MF", 0, 0) and later[IP].frag > 0
    else:
        fragment = first[IPv6ExtHdrFragment]
        assert (fragment.m, fragment.offset) == (1, 0) and later[IPv6ExtHdrFragment].offset > 0


@pytest.mark.parametrize("more", [
    {"protocol": 1, "destination_port": 22},
    {"protocol": 6, "icmp_type": 8},
    {"protocol": 17, "tcp_flags": 2},
    {"length": 20},
    {"length": 9015},
])  # fmt: skip
def test_what_cannot_be_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        build(said(**more))


def test_families_do_not_mix() -> None:
    with pytest.raises(InvalidInput, match="family"):
        build(Description(ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")))
