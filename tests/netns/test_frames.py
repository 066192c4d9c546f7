# SPDX-License-Identifier: Apache-2.0
"""Whatever a frame from a blocked source looks like, it does not arrive; the same from another source does."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lab.network import Client
from lab.waiting import eventually
from tests import packets as p
from tests.netns.conftest import Site

pytestmark = pytest.mark.netns

ETH_P_ALL = 3
BLOCKED = {4: "192.0.2.66", 6: "2001:db8:66::66"}
CLEAN = {4: "198.51.100.66", 6: "2001:db8:77::66"}

Shape = Callable[[str], bytes]
SHAPES4: dict[str, Shape] = {
    "plain": lambda source: p.ethernet(p.ipv4(source, p.udp())),
    "VLAN": lambda source: p.ethernet(p.ipv4(source, p.udp()), p.tag(7)),
    "QinQ": lambda source: p.ethernet(p.ipv4(source, p.udp()), p.tag(7, p.QINQ), p.tag(8)),
    "four tags": lambda source: p.ethernet(p.ipv4(source, p.udp()), *(p.tag(n) for n in range(1, 5))),
    "options": lambda source: p.ethernet(p.ipv4(source, p.udp(), options=b"\x94\x04\0\0" + b"\x01" * 8)),
    "first fragment": lambda source: p.ethernet(p.ipv4(source, p.udp(payload=bytes(64)), more=True)),
    "later fragment": lambda source: p.ethernet(p.ipv4(source, p.raw(p.UDP, bytes(64)), offset=72)),
    "GRE": lambda source: p.ethernet(p.ipv4(source, p.raw(p.GRE, b"\0\0\x08\0" + bytes(28)))),
    "ESP": lambda source: p.ethernet(p.ipv4(source, p.raw(p.ESP, bytes(40)))),
    "IP in IP": lambda source: p.ethernet(p.ipv4(source, p.raw(p.IPIP, p.ipv4(CLEAN[4], p.udp()).data))),
    "OSPF": lambda source: p.ethernet(p.ipv4(source, p.raw(p.OSPF, bytes(44)))),
    "SCTP": lambda source: p.ethernet(p.ipv4(source, p.sctp())),
    "ICMP": lambda source: p.ethernet(p.ipv4(source, p.icmp())),
}
SHAPES6: dict[str, Shape] = {
    "plain": lambda source: p.ethernet(p.ipv6(source, p.udp())),
    "VLAN": lambda source: p.ethernet(p.ipv6(source, p.udp()), p.tag(7)),
    "QinQ": lambda source: p.ethernet(p.ipv6(source, p.udp()), p.tag(7, p.QINQ), p.tag(8)),
    "all extension headers": lambda source: p.ethernet(p.ipv6(source, p.tcp(), *p.EXTENSIONS.values())),
    "hop-by-hop": lambda source: p.ethernet(p.ipv6(source, p.udp(), p.hop_by_hop(64))),
    "first fragment": lambda source: p.ethernet(p.ipv6(source, p.udp(payload=bytes(64)), p.fragment(more=True))),
    "later fragment": lambda source: p.ethernet(p.ipv6(source, p.raw(p.UDP, bytes(64)), p.fragment(72))),
    "AH": lambda source: p.ethernet(p.ipv6(source, p.tcp(), p.authentication())),
    "GRE": lambda source: p.ethernet(p.ipv6(source, p.raw(p.GRE, b"\0\0\x08\0" + bytes(28)))),
    "ESP": lambda source: p.ethernet(p.ipv6(source, p.raw(p.ESP, bytes(40)))),
    "IPv4 in IPv6": lambda source: p.ethernet(p.ipv6(source, p.raw(p.IPIP, p.ipv4(CLEAN[4], p.udp()).data))),
    "ICMPv6 echo": lambda source: p.ethernet(p.ipv6(source, p.icmpv6())),
    "mapped IPv4": lambda source: p.ethernet(
        p.ipv6(f"::ffff:{BLOCKED[4] if source == BLOCKED[6] else CLEAN[4]}", p.udp())
    ),
}
CASES = [(4, name) for name in SHAPES4] + [(6, name) for name in SHAPES6]
MARK = b"after everything else"


def untagged(frame: bytes) -> bytes:
    """From the EtherType on, without tags: the kernel takes the outermost one out of what a tap sees."""
    rest = frame[12:]
    while int.from_bytes(rest[:2]) in p.TPIDS:
        rest = rest[4:]
    return rest


@contextmanager
def wire(site: Site, client: Client) -> Iterator[tuple[Callable[[bytes], object], Callable[[], set[bytes]]]]:
    """Send frames at the client, and collect what came past the program at the firewall up to now."""
    with (
        client.space.socket(socket.AF_PACKET, socket.SOCK_RAW) as out,
        site.network.firewall.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as tap,
    ):
        out.bind(("eth0", 0))
        tap.bind((client.interface, ETH_P_ALL))
        tap.settimeout(5)

        def collect() -> set[bytes]:
            out.send(
                p.ethernet(p.other(0x88B5, MARK + bytes(46)))
            )  # an experimental EtherType: frames keep their order
            seen: set[bytes] = set()
            while MARK not in (frame := tap.recv(65536)):
                seen.add(untagged(frame))
            return seen

        yield out.send, collect


@pytest.mark.parametrize(("family", "name"), CASES, ids=[f"IPv{family} {name}" for family, name in CASES])
def test_only_the_source_decides(site: Site, family: int, name: str) -> None:
    shape = (SHAPES4 if family == 4 else SHAPES6)[name]
    client = site.clients[2]
    with wire(site, client) as (send, collect):
        send(shape(BLOCKED[family]))
        assert untagged(shape(BLOCKED[family])) in collect(), (
            "the frame does not arrive even unblocked: the test shows nothing"
        )
        site.put("block", "192.0.2.0/24")
        site.put("block", "2001:db8:66::/48")
        send(shape(BLOCKED[family]))
        send(shape(CLEAN[family]))
        seen = collect()
    assert untagged(shape(CLEAN[family])) in seen
    assert untagged(shape(BLOCKED[family])) not in seen


def test_jumbo_frames_are_judged_in_native_mode(make_site: Callable[..., Site]) -> None:
    site = make_site(1, mtu=9000)
    client = site.clients[0]
    view = site.daemon.rest.get(f"interfaces/{client.interface}")
    assert (view["mode"], view["mtu"]) == ("native", 9000)
    big = {source: p.ethernet(p.ipv4(source, p.udp(payload=bytes(8900)))) for source in (BLOCKED[4], CLEAN[4])}
    site.put("block", BLOCKED[4])
    with wire(site, client) as (send, collect):
        for frame in big.values():
            send(frame)
        seen = collect()
    assert untagged(big[CLEAN[4]]) in seen
    assert untagged(big[BLOCKED[4]]) not in seen
    entry = site.daemon.rest.get(f"sets/block/entries/{BLOCKED[4]}")
    assert (entry["packets"], entry["bytes"]) == (1, len(big[BLOCKED[4]]))


def test_talkers_show_who_was_dropped(site: Site) -> None:
    client = site.clients[2]
    rest = site.daemon.rest
    rest.call("DELETE", f"interfaces/{client.interface}/talkers")
    site.put("block", BLOCKED[4])
    with wire(site, client) as (send, collect):
        for _ in range(5):
            send(SHAPES4["plain"](BLOCKED[4]))
        for _ in range(3):
            send(SHAPES4["VLAN"](CLEAN[4]))
        collect()

    def talkers() -> dict[str, tuple[int, int]]:
        items = rest.get(f"interfaces/{client.interface}/talkers?limit=50")["items"]
        return {item["address"]: (item["passed"]["packets"], item["dropped"]["packets"]) for item in items}

    eventually(lambda: talkers().keys() >= {BLOCKED[4], CLEAN[4]}, "both are listed")
    found = talkers()
    assert found[BLOCKED[4]] == (0, 5)
    assert found[CLEAN[4]] == (3, 0)


def test_link_state_is_what_ip_says(site: Site) -> None:
    """The kernel's own tools see the program that the API reports."""
    for client in site.clients:
        listing = json.loads(site.network.firewall.run("ip", "-j", "-d", "link", "show", client.interface))[0]
        view = site.daemon.rest.get(f"interfaces/{client.interface}")
        assert listing["xdp"]["mode"] == 1  # XDP_ATTACHED_DRV (linux/if_link.h): native
        assert listing["xdp"]["prog"]["id"] == view["program_id"]
