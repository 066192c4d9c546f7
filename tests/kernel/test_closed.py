# SPDX-License-Identifier: Apache-2.0
"""What stands in when the daemon cannot start: what its program passes, where it is attached, how it is replaced."""

from __future__ import annotations

import ipaddress
import os
import random
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import lacks
from tests.kernel import plain
from tests.kernel.conftest import Host
from tests.packets import (
    VLAN,
    arp,
    ethernet,
    fragment,
    hop_by_hop,
    icmp,
    icmpv6,
    ip,
    ipv6,
    ndp,
    other,
    tag,
    tcp,
    truncate,
    truncations,
    udp,
)
from tests.wire import make_pair
from xdpfw.kernel import attach as attaching
from xdpfw.kernel import closed, libbpf, netlink, offline
from xdpfw.kernel.clock import KernelClock
from xdpfw.model.interface import AttachMode
from xdpfw.model.prefix import Prefix

pytestmark = pytest.mark.kernel

DROP, PASS = 1, 2
MANAGEMENT = tuple(
    map(Prefix.parse, ("192.0.2.0/24", "198.51.100.7", "10.0.0.0/9", "2001:db8::/33", "2001:db8:ffff::1", "fe80::/10"))
)
Run = Callable[[bytes], int]


@pytest.fixture
def run() -> Iterator[Run]:
    """The verdict on a frame."""
    fd, _ = libbpf.prog_load(closed.NAME, closed.instructions(MANAGEMENT), frags=True)
    yield lambda frame: libbpf.test_run(fd, frame)[0]
    os.close(fd)


STRANGER = "2001:db8:8000::1"


def discovery(type_: int) -> bytes:
    return ethernet(ipv6(STRANGER, ndp(type_), hop_limit=255))


FRAMES = [
    ("arp", ethernet(arp()), PASS),
    ("neighbour solicitation", discovery(135), PASS),
    ("router solicitation", discovery(133), PASS),
    ("redirect", discovery(137), PASS),
    ("from far away", ethernet(ipv6(STRANGER, ndp(135), hop_limit=254)), DROP),
    ("echo", ethernet(ipv6(STRANGER, icmpv6(128), hop_limit=255)), DROP),
    ("type 132", discovery(132), DROP),
    ("type 138", discovery(138), DROP),
    ("behind an extension header", ethernet(ipv6(STRANGER, ndp(135), hop_by_hop(), hop_limit=255)), DROP),
    ("a fragment", ethernet(ipv6(STRANGER, ndp(135), fragment(), hop_limit=255)), DROP),
    ("management, IPv4", ethernet(ip("192.0.2.255", tcp())), PASS),
    ("management, one address", ethernet(ip("198.51.100.7", udp())), PASS),
    ("beside it", ethernet(ip("198.51.100.6", udp())), DROP),
    ("management, IPv6", ethernet(ip("2001:db8:7fff::1", tcp())), PASS),
    ("beyond it", ethernet(ip(STRANGER, tcp())), DROP),
    ("management, one IPv6 address", ethernet(ip("2001:db8:ffff::1", tcp())), PASS),
    ("link-local", ethernet(ip("fe80::1", tcp())), PASS),
    ("anybody", ethernet(ip("203.0.113.1", icmp())), DROP),
    ("management, tagged", ethernet(ip("192.0.2.1", tcp()), tag(10, VLAN)), DROP),
    ("no IP", ethernet(other(0x88CC)), DROP),
    ("cut off", ethernet(truncate(ip("192.0.2.1", tcp()), 19)), DROP),
]


@pytest.mark.parametrize(("frame", "verdict"), [case[1:] for case in FRAMES], ids=[case[0] for case in FRAMES])
def test_what_passes(run: Run, frame: bytes, verdict: int) -> None:
    assert run(frame) == verdict


def test_every_truncation_has_a_verdict(run: Run) -> None:
    for frame in (ethernet(ip("192.0.2.1", tcp())), discovery(135)):
        for short in truncations(frame):
            if len(short) >= 14:  # the kernel takes no shorter ones
                assert run(short) in (DROP, PASS)


def test_addresses_pass_exactly_when_a_prefix_contains_them(run: Run) -> None:
    chance = random.Random(7)
    for prefix in MANAGEMENT:
        width = 8 * len(prefix.address)
        for bit in range(width):
            near = int.from_bytes(prefix.address) ^ (1 << (width - 1 - bit)) ^ chance.getrandbits(width - prefix.length)
            address = ipaddress.ip_address(near.to_bytes(width // 8))
            expected = any(each.contains(Prefix.host(address)) for each in MANAGEMENT)
            assert run(ethernet(ip(str(address), tcp()))) == (PASS if expected else DROP), address


def test_nothing_and_everything_as_management() -> None:
    for prefixes, verdict in (((), DROP), ((Prefix.parse("0.0.0.0/0"), Prefix.parse("::/0")), PASS)):
        fd, _ = libbpf.prog_load(closed.NAME, closed.instructions(prefixes), frags=True)
        for source in ("192.0.2.1", "2001:db8::1"):
            assert libbpf.test_run(fd, ethernet(ip(source, tcp())))[0] == verdict
        os.close(fd)


def program_on(name: str) -> int | None:
    seen = netlink.find(name)
    assert seen is not None
    return seen.link.xdp_program


@pytest.mark.usefixtures("namespace")
def test_only_what_is_wanted_present_and_without_a_program_is_closed(host: Host) -> None:
    make_pair("xf0", "xf1", 1500)
    make_pair("xf2", "xf3", 1500)
    clock = KernelClock()
    foreign = libbpf.link_create(clock._program, _index("xf2"), attaching.GENERIC_FLAG)
    before = program_on("xf2")
    wanted = dict.fromkeys(("xf1", "xf2", "xf9"), AttachMode.NATIVE)
    done = closed.close(wanted, (), host.instance)
    assert (done["xf1"], done["xf9"]) == ("closed", "absent")
    assert "left as it is" in done["xf2"]
    assert program_on("xf2") == before
    assert program_on("xf3") is None
    ours = program_on("xf1")
    assert ours is not None
    assert libbpf.prog_name(ours) == closed.NAME
    # once more, as each failing start does
    closed.close(wanted, (), host.instance)
    assert program_on("xf1") == ours
    assert offline.detach(host.instance) == ["xf1"]
    assert program_on("xf1") is None
    os.close(foreign)
    clock.close()


def _index(name: str) -> int:
    seen = netlink.find(name)
    assert seen is not None
    return seen.link.index


@pytest.mark.usefixtures("namespace")
@pytest.mark.parametrize("mode", [AttachMode.NATIVE, AttachMode.GENERIC, AttachMode.AUTO])
def test_the_next_daemon_swaps_its_program_in_place(host: Host, mode: AttachMode) -> None:
    make_pair("xf0", "xf1", 1500)
    closed.close({"xf1": mode}, (), host.instance)
    standin, link = program_on("xf1"), host.pins / "links" / "xf1"
    inode = link.stat().st_ino
    kernel = host.kernel()
    plain.start(kernel)
    [attachment] = kernel.attachments()
    assert attachment.program_id != standin
    assert attachment.mode is (AttachMode.GENERIC if mode is AttachMode.GENERIC else AttachMode.NATIVE)
    assert attachment.warning == ""
    assert link.stat().st_ino == inode, "the link was made anew: there was a gap"


@pytest.mark.usefixtures("namespace")
def test_a_fall_back_to_generic_is_told_of_later_too(host: Host) -> None:
    if subprocess.run(["ip", "link", "add", "ifb9", "type", "ifb"], check=False).returncode:
        lacks("no IFB devices")
    subprocess.run(["ip", "link", "set", "ifb9", "up"], check=True)
    assert "open" in closed.close({"ifb9": AttachMode.NATIVE}, (), host.instance)["ifb9"]
    assert closed.close({"ifb9": AttachMode.AUTO}, (), host.instance) == {"ifb9": "closed"}
    kernel = host.kernel()
    plain.start(kernel)
    [attachment] = kernel.attachments()
    assert attachment.mode is AttachMode.GENERIC
    assert "the driver ifb has no XDP" in attachment.warning
