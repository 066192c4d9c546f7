# SPDX-License-Identifier: Apache-2.0
"""Under a default of drop, what this host and those behind it ask for works, and nothing else gets in."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from lab.namespace import Namespace
from lab.network import Network
from lab.waiting import eventually
from tests import packets as p
from tests.netns.conftest import xdp
from tests.netns.world import ANSWERS, Denied, look_for_clients
from xdpfw.model.prefix import FAMILIES, Family

pytestmark = pytest.mark.netns

PLACES = ("host", "behind", "behind a NAT")
families = pytest.mark.parametrize("family", FAMILIES)
places = pytest.mark.parametrize("place", PLACES)


@pytest.fixture(scope="module")
def denied(tools: None) -> Iterator[Denied]:
    look_for_clients()
    with Network(2) as network, closing(Denied(network)) as made:
        yield made


CLIENTS: dict[str, tuple[Callable[[Denied, Namespace, Family], object], Callable[[Family], object]]] = {
    "curl": (lambda world, space, family: world.curl(space, family), lambda _: "hello\n"),
    "curl upload": (
        lambda world, space, family: world.curl(space, family, "", "-o/dev/null", "-w%{http_code}", "-d@/bin/sh"),
        lambda _: "501",  # it came through, and this server takes no uploads
    ),
    "DNS": (lambda world, space, family: world.dig(space, family), lambda family: f"{ANSWERS[family]}\n"),
    "DNS over TCP": (
        lambda world, space, family: world.dig(space, family, "+tcp"),
        lambda family: f"{ANSWERS[family]}\n",
    ),
    "unconnected UDP": (
        lambda world, space, family: world.ask_unconnected(space, family),
        lambda family: {4: 46, 6: 58}[family],
    ),
    "ssh": (lambda world, space, family: world.ssh(space, family, "echo", "hello"), lambda _: "hello\n"),
}  # fmt: skip


@families
@places
@pytest.mark.parametrize("client", CLIENTS)
def test_clients_are_answered(denied: Denied, client: str, place: str, family: Family) -> None:
    ask, answer = CLIENTS[client]
    before = denied.counted("established", "passed")
    assert ask(denied, denied.at(place), family) == answer(family)
    assert denied.counted("established", "passed") > before


@families
@places
def test_apt_gets_its_lists(denied: Denied, place: str, family: Family) -> None:
    assert "Maintainer: Nobody" in denied.apt(denied.at(place), family)


@families
@places
@pytest.mark.parametrize("options", [(), ("-R",), ("-u", "-b", "20M"), ("-u", "-b", "20M", "-R")], ids=" ".join)
def test_much_traffic_in_either_direction(denied: Denied, place: str, family: Family, options: tuple[str, ...]) -> None:
    assert "iperf Done" in denied.iperf(denied.at(place), family, *options)


@families
@places
def test_ping_is_answered_whole_and_in_fragments(denied: Denied, place: str, family: Family) -> None:
    space = denied.at(place)
    assert "2 received" in denied.ping(space, family)
    # The first large echo may come too early for its later fragments; those that follow may not.
    assert " 0% packet loss" in denied.ping(space, family, "-s", "4000")


@families
@places
def test_errors_on_the_way_come_back(denied: Denied, place: str, family: Family) -> None:
    """Time exceeded, packet too big and port unreachable, of which a path is made known."""
    before = denied.counted("related", "passed")
    shown = denied.tracepath(denied.at(place), family)
    assert "pmtu 1280" in shown
    assert "reached" in shown
    assert denied.counted("related", "passed") >= before + 2


@families
@places
def test_a_transfer_finds_the_mtu_of_its_path(denied: Denied, place: str, family: Family) -> None:
    space = denied.at(place)
    space.run("ip", f"-{family}", "route", "flush", "cache")
    assert "iperf Done" in space.run("iperf3", "-c", denied.far[family], "-n", "2M")


# what nobody asked for

UNASKED: dict[str, Callable[[Family], p.Segment]] = {
    "SYN": lambda _: p.tcp(40000, 7, flags=0x02),
    "SYN-ACK": lambda _: p.tcp(443, 40001, flags=0x12),
    "ACK": lambda _: p.tcp(443, 40001, flags=0x10),
    "RST": lambda _: p.tcp(443, 40001, flags=0x04),
    "FIN": lambda _: p.tcp(443, 40001, flags=0x11),
    "UDP": lambda _: p.udp(53, 40001),
    "SCTP": lambda _: p.sctp(5060, 40001),
    "GRE": lambda _: p.raw(p.GRE, bytes(32)),
    "DHCP": lambda family: p.udp(67, 68, bytes(240)) if family == 4 else p.udp(547, 546, bytes(64)),
    "echo request": lambda family: p.echo(family),
    "echo reply": lambda family: p.icmp(0) if family == 4 else p.icmpv6(129),
    "redirect": lambda family: p.icmp(5, 1, bytes(28)) if family == 4 else p.icmpv6(5, payload=bytes(60)),
}


def unasked_error(denied: Denied, place: str, family: Family) -> p.Segment:
    """Port unreachable, about a datagram that was never sent."""
    here, there = denied.address(place, family), denied.target(family)
    if family == 4:
        return p.icmp(3, 3, p.ipv4(here, p.udp(40001, 53), destination=there).data)
    return p.icmpv6(1, 4, bytes(4) + p.ipv6(here, p.udp(40001, 53), destination=there).data)


@families
@pytest.mark.parametrize("place", PLACES[:2])
@pytest.mark.parametrize("kind", [*UNASKED, "error"])
def test_what_nobody_asked_for_is_dropped_and_counted(denied: Denied, kind: str, place: str, family: Family) -> None:
    denied.at(place)
    segment = unasked_error(denied, place, family) if kind == "error" else UNASKED[kind](family)
    source, target = denied.target(family), denied.address(place, family)
    build = p.ipv4 if family == 4 else p.ipv6
    packet = build(source, segment, destination=target)  # type: ignore[operator]
    before = denied.counted("default")
    denied.send([p.ethernet(packet)] * 5)
    eventually(lambda: denied.counted("default") >= before + 5, "all were dropped and counted")


@families
def test_a_socket_that_waits_for_anybody_has_not_asked(denied: Denied, family: Family) -> None:
    firewall = denied.network.firewall
    kind, gateway = (socket.AF_INET if family == 4 else socket.AF_INET6), denied.address("host", family)
    with (
        firewall.socket(kind, socket.SOCK_DGRAM) as waiting,
        firewall.socket(kind, socket.SOCK_STREAM) as listening,
        denied.world.space.socket(kind, socket.SOCK_DGRAM) as stranger,
        denied.world.space.socket(kind, socket.SOCK_STREAM) as caller,
    ):
        waiting.bind((gateway, 0))
        listening.bind((gateway, 0))
        listening.listen()
        before = denied.counted("default")
        stranger.sendto(b"hello", waiting.getsockname()[:2])
        caller.settimeout(0.5)
        with pytest.raises(TimeoutError):
            caller.connect(listening.getsockname()[:2])
        waiting.settimeout(0.2)
        with pytest.raises(TimeoutError):
            waiting.recv(16)
        assert denied.counted("default") >= before + 2
        # Now it asks, and whom it asked may answer.
        waiting.sendto(b"hello", (denied.target(family), stranger.getsockname()[1]))
        answer, who = stranger.recvfrom(16)
        stranger.sendto(answer, who)
        waiting.settimeout(5)
        assert waiting.recv(16) == b"hello"


# addresses


CONFIGURE = """#!/bin/sh
case $reason in
BOUND) ip address add "$new_ip_address/24" dev "$interface" ;;
BOUND6) ip address add "$new_ip6_address/64" dev "$interface" nodad ;;
esac
"""


@families
def test_dhcp_gives_an_address_and_renews_it(denied: Denied, family: Family) -> None:
    """The request goes to everybody, from no address; the renewal (here only of IPv4: its time can be set) does not."""
    world, firewall, home = denied.world.space, denied.network.firewall, denied.home
    ranges = "10.77.1.100,10.77.1.110,2m" if family == 4 else "fd00:77:1::100,fd00:77:1::110,64,2m"
    served, script, leases = home / f"served-{family}", home / "configure", home / f"leases-{family}"
    script.write_text(CONFIGURE)
    script.chmod(0o755)
    (home / "dhclient.conf").write_text("supersede dhcp-renewal-time 1;\n")
    server = world.popen(
        "dnsmasq", "--no-daemon", "--port=0", "--conf-file=/dev/null", "--user=root", "--interface=eth0",
        f"--dhcp-range={ranges}", f"--dhcp-leasefile={served}", "--dhcp-authoritative", "--no-ping",
    )  # fmt: skip
    eventually(lambda: world.run("ss", "-Hlun", f"sport = :{67 if family == 4 else 547}").strip(), "DHCP is served")
    client = firewall.popen(
        "dhclient", f"-{family}", "-d", "-sf", str(script), "-cf", str(home / "dhclient.conf"),
        "-pf", str(home / f"dhclient-{family}.pid"), "-lf", str(leases), "lan1",
    )  # fmt: skip
    try:
        beginning, wanted = ("lease {", 2) if family == 4 else ("lease6 {", 1)
        eventually(
            lambda: leases.exists() and leases.read_text().count(beginning) >= wanted,
            "an address was given, and kept",
            within=30,
        )
    finally:
        for process in (client, server):
            process.terminate()
            process.wait(timeout=10)
        leases.unlink(missing_ok=True)
        firewall.run(
            "ip", "address", "flush", "dev", "lan1", "to", ranges.split(",")[0] + f"/{28 if family == 4 else 120}"
        )


def test_generic_mode_answers_alike(denied: Denied) -> None:
    denied.attach("generic")
    try:
        seen = xdp(denied.network.firewall, "lan1")
        assert seen is not None
        assert seen["mode"] == 2
        for place in PLACES:
            space = denied.at(place)
            for family in FAMILIES:
                for ask, answer in CLIENTS.values():
                    assert ask(denied, space, family) == answer(family)
                assert "pmtu 1280" in denied.tracepath(space, family)
        before = denied.counted("default")
        stray = p.ipv4(denied.target(4), p.tcp(443, 40001, flags=0x10), destination=denied.address("host", 4))
        denied.send([p.ethernet(stray)] * 5)
        eventually(lambda: denied.counted("default") >= before + 5, "all were dropped and counted")
    finally:
        denied.attach("native")
