# SPDX-License-Identifier: Apache-2.0
"""What the firewall asks the network stack: peers to protect, links and their changes, clocks."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lab.waiting import eventually
from tests.wire import make_pair
from xdpfw.kernel import bpffs, neighbours
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.grace import Grace
from xdpfw.model.errors import KernelError
from xdpfw.model.interface import Route
from xdpfw.policy.ops import NEVER

pytestmark = pytest.mark.kernel


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.mark.usefixtures("namespace")
def test_peers_are_gateways_and_established_ssh_connections(kernel: RealKernel) -> None:
    ip("link", "set", "lo", "up")
    Path("/proc/sys/net/ipv6/conf/lo/disable_ipv6").write_text("0")

    def peers() -> list[str]:
        return sorted(each.address for each in kernel.neighbours() if each.role != "resolver")

    assert peers() == []
    make_pair("xf0", "xf1", 1500)
    ip("address", "add", "10.1.0.1/24", "dev", "xf0")
    ip("route", "add", "default", "via", "10.1.0.254")
    assert peers() == ["10.1.0.254"]
    [gateway] = [each for each in kernel.neighbours() if each.role == "gateway"]
    assert gateway.route == kernel.route("10.1.0.254") == Route("xf0", "10.1.0.1")
    assert kernel.route("192.0.2.7") == Route("xf0", "10.1.0.1") and kernel.route("2001:db8::7") == Route()
    ways = "nexthop via 10.1.0.254 dev xf0 nexthop via 10.1.0.253 dev xf0"
    ip("route", "replace", "default", *ways.split())
    assert peers() == ["10.1.0.253", "10.1.0.254"]
    ip("route", "replace", "default", "via", "10.1.0.254")
    with (
        socket.create_server(("127.0.0.1", 22)) as four,
        socket.create_server(("::1", 22), family=socket.AF_INET6) as six,
        socket.create_connection(four.getsockname()),
        socket.create_connection(six.getsockname()[:2]),
    ):
        assert peers() == ["10.1.0.254", "127.0.0.1", "::1"]
        ssh = [each for each in kernel.neighbours() if each.role == "ssh"]
        assert [(each.route.interface, each.route.local) for each in ssh] == [("lo", "127.0.0.1"), ("lo", "::1")]
    eventually(lambda: peers() == ["10.1.0.254"], "closed connections protect nobody")
    with socket.create_server(("127.0.0.1", 2222)) as other, socket.create_connection(other.getsockname()):
        assert peers() == ["10.1.0.254"]


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 192.0.2.53\nnameserver 2001:db8::53\noptions edns0\n", ["192.0.2.53", "2001:db8::53"]),
        ("# nameserver 192.0.2.1\nnameserver\nnameserver x.example\n nameserver fe80::1%eth0\n", ["fe80::1%eth0"]),
        ("nameserver 127.0.0.53\n", ["198.51.100.53"]),
        ("", ["198.51.100.53"]),
    ],
)
def test_name_servers_are_those_of_resolv_conf_or_of_the_resolver_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, servers: list[str]
) -> None:
    (tmp_path / "1").write_text(text)
    (tmp_path / "2").write_text("nameserver 198.51.100.53\n")
    monkeypatch.setattr(neighbours, "RESOLVERS", (tmp_path / "1", tmp_path / "2", tmp_path / "absent"))
    assert neighbours.name_servers() == servers
    monkeypatch.setattr(neighbours, "RESOLVERS", (tmp_path / "absent",))
    assert neighbours.name_servers() == []


@pytest.mark.usefixtures("namespace")
def test_changes_of_links_are_told(kernel: RealKernel) -> None:
    async def watch() -> None:
        changes = kernel.changes()
        for change in (("add", "xf0", "type", "veth", "peer", "name", "xf1"), ("set", "xf0", "up"), ("del", "xf0")):
            waiting = asyncio.ensure_future(anext(aiter(changes)))
            await asyncio.sleep(0)
            await asyncio.to_thread(ip, "link", *change)
            await asyncio.wait_for(waiting, 5)

    asyncio.run(watch())


@pytest.fixture
def clock() -> Iterator[KernelClock]:
    made = KernelClock()
    yield made
    made.close()


def test_jiffies_follow_the_monotonic_clock(clock: KernelClock) -> None:
    def bracketed() -> tuple[float, int, float]:
        return time.monotonic(), clock.jiffies(), time.monotonic()

    first = bracketed()
    last = eventually(lambda: now if (now := bracketed())[1] >= first[1] + 25 else None, "25 ticks go by", every=0)
    ticks = last[1] - first[1]
    assert (last[0] - first[2]) * clock.hz - 2 <= ticks <= (last[2] - first[0]) * clock.hz + 2


def test_deadlines_are_never_early_and_hardly_late(clock: KernelClock) -> None:
    before, now = clock.jiffies(), time.time_ns()
    seconds = np.array([0, 1, 3600, 31_536_000])
    ticks = clock.deadlines(now + seconds * 1_000_000_000).astype(np.int64) - seconds * clock.hz
    after = clock.jiffies()
    assert (ticks > before).all() and (ticks <= after + 2).all()
    assert clock.deadlines(np.array([NEVER])).tolist() == [0]
    assert 0 < clock.deadlines(np.array([0]))[0] < before


def test_a_step_of_the_wall_clock_moves_times_of_display_only() -> None:
    step = 0
    clock = KernelClock(lambda: time.time_ns() + step)
    stamp = np.array([clock.jiffies() & 0xFFFFFFFF])
    before = clock.wall_times(stamp)
    assert clock.wall_times(stamp) == before
    step = 3600 * 10**9
    assert clock.wall_times(stamp)[0] - before[0] == pytest.approx(step, abs=10**9)
    future = time.time_ns() + step + 60 * 10**9
    assert int(clock.deadlines(np.array([future]))[0]) - clock.jiffies() == pytest.approx(
        60 * clock.hz, abs=5 * clock.hz
    )
    clock.close()


def test_stamps_of_the_low_half_wrap(clock: KernelClock) -> None:
    now = clock.jiffies()
    stamps = np.array([now & 0xFFFFFFFF, (now - 1000) & 0xFFFFFFFF, (now - 2**31) & 0xFFFFFFFF])
    times = clock.wall_times(stamps)
    assert abs(time.time_ns() - times[0]) < 5 * 10**9
    assert (times[0] - times[1:]).tolist() == pytest.approx(
        [1000 * 10**9 / clock.hz, 2**31 * 10**9 / clock.hz], abs=1000
    )


def test_a_grace_period_takes_its_time_and_ends() -> None:
    grace = Grace()
    start = time.monotonic()
    grace.wait()
    assert time.monotonic() - start < 5
    grace.close()


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "..", "x" * 65, "a b"])
def test_names_that_cannot_be_pinned_are_refused(name: str) -> None:
    with pytest.raises(KernelError, match="cannot name an instance"):
        bpffs.Pins(name)


def test_interface_names_survive_their_encoding() -> None:
    for name in ("eth0", "eth0.42", "a.b.c", "wan%2E", "%", "..."):
        encoded = bpffs.encode(name)
        assert "." not in encoded
        assert bpffs.decode(encoded) == name


def test_a_missing_bpffs_is_mounted(tmp_path: Path) -> None:
    place = tmp_path / "bpf"
    bpffs.ensure_mounted(place)
    assert bpffs.is_mounted(place)
    bpffs.ensure_mounted(place)
    subprocess.run(["umount", str(place)], check=True)
    assert not bpffs.is_mounted(place)
