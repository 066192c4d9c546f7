# SPDX-License-Identifier: Apache-2.0
"""The worst mornings: a reboot with an empty bpffs, a start that fails, and the way out when nothing works."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable

import pytest

from lab.daemon import XDPFW, Daemon
from lab.flow import Flow
from lab.network import Client, Network
from lab.probes import expect, reach, start_services
from lab.waiting import eventually
from tests.netns.conftest import Site, attach_all, xdp
from tests.netns.test_crash import BLOCKS, RATE, SOURCES
from tests.netns.test_links import loaded, maps_of
from xdpfw.kernel import closed
from xdpfw.kernel.bpffs import remove_tree
from xdpfw.kernel.compile import DEBIAN_BCC

pytestmark = pytest.mark.netns

# The mount is this command's alone: nobody else misses BCC.
WITHOUT_BCC = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {DEBIAN_BCC.parent} && exec "$@"', "sh")


def reboot(daemon: Daemon) -> None:
    """What is left after one: the store, and nothing in the kernel."""
    daemon.stop()
    remove_tree(daemon.pins)


def test_tables_are_full_before_anything_is_attached(make_site: Callable[..., Site]) -> None:
    """From the first blocked datagram that is dropped, not one passes; what is clean passes all the time."""
    site = make_site(1)
    for prefix in BLOCKS:
        site.put("block", prefix)
    many = "\n".join(f"100.{n >> 8}.{n & 255}.0/24" for n in range(40_000))
    site.daemon.rest.must("PUT", "sets/block/entries?origin=feed", many.encode(), kind="text/plain")
    reboot(site.daemon)
    assert xdp(site.network.firewall, "lan1") is None
    flow = Flow(site.network, site.clients[0], SOURCES, RATE)
    flow.wait(RATE // 4)
    site.daemon.start()
    flow.wait(RATE // 2)
    flow.stop()
    assert 0 < flow.received["blocked"] < flow.sent["blocked"]
    assert flow.missing["blocked"] == [], "one was dropped, and later ones passed"
    assert (flow.received["clean"], flow.missing["clean"]) == (flow.sent["clean"], [])


class Rebooted:
    """A lab after a reboot. The settings want `lan1`, the store `lan2`; the clients behind `lan3` are management."""

    def __init__(self, network: Network, verdict: str) -> None:
        self.network = network
        start_services(network)
        config = network.home / "xdpfw.toml"
        friend = network.clients[2]
        management = json.dumps([friend.network4, friend.network6])
        settings = [
            'listen = "none"',
            'attach = ["lan1"]',
            f'on_start_failure = "{verdict}"',
            f"management = {management}",
        ]
        config.write_text("\n".join(settings))
        self.daemon = Daemon(network.firewall, network.home, arguments=("--config", str(config))).start()
        for name in ("lan2", "lan3"):
            self.daemon.rest.must("PUT", f"interfaces/{name}", {"mode": "native"})
        self.daemon.rest.must("PATCH", "sets/block/entries", {"add": [*BLOCKS]})
        reboot(self.daemon)

    @property
    def clients(self) -> list[Client]:
        return self.network.clients

    def programs(self) -> list[str | None]:
        """By name, on each client's interface."""
        found = [xdp(self.network.firewall, client.interface) for client in self.clients]
        return [each["prog"]["name"] if each else None for each in found]

    def start_in_vain(self) -> str:
        """What it said."""
        self.daemon.launch()
        assert self.daemon.process is not None
        assert self.daemon.process.wait(timeout=60) == 1
        return self.daemon.log.read_text()


class Damaged(Rebooted):
    """And its database is damaged."""

    def __init__(self, network: Network, verdict: str) -> None:
        super().__init__(network, verdict)
        self.database = self.daemon.state / "xdpfw.db"
        self.copy = self.database.read_bytes()
        self.database.write_bytes(b"this is no database" * 100)

    def mend(self) -> None:
        self.database.write_bytes(self.copy)


def test_a_start_that_fails_passes_unless_told_otherwise(make_network: Callable[..., Network]) -> None:
    lab = Damaged(make_network(3), "pass")
    assert "damaged" in lab.start_in_vain()
    assert lab.programs() == [None, None, None]
    for client in lab.clients:
        expect(client, reached=True)


def test_a_start_that_fails_may_drop_until_one_succeeds(make_network: Callable[..., Network]) -> None:
    lab = Damaged(make_network(3), "drop")
    assert "lan1 is closed" in lab.start_in_vain()
    # What the store wanted is not known without it.
    assert lab.programs() == [closed.NAME, None, None]
    assert not any(reach(lab.clients[0]).values())
    before = xdp(lab.network.firewall, "lan1")
    lab.start_in_vain()  # as a service manager does, again and again
    assert xdp(lab.network.firewall, "lan1") == before
    flow = Flow(lab.network, lab.clients[0], SOURCES, RATE)
    flow.wait(RATE // 4)
    lab.mend()
    lab.daemon.start()
    flow.wait(RATE // 4)
    flow.stop()
    assert flow.received["blocked"] == 0, "it was open for a moment"
    assert 0 < flow.received["clean"] < flow.sent["clean"]
    assert lab.programs() == ["xdp_filter"] * 3
    for client in lab.clients:
        expect(client, reached=True)


def test_without_a_compiler_it_drops_until_there_is_one(make_network: Callable[..., Network]) -> None:
    """The daemon runs and says what is wrong; it goes on trying."""
    lab = Rebooted(make_network(3), "drop")
    shutil.rmtree(lab.daemon.state / "programs")
    lab.daemon.wrapped = WITHOUT_BCC
    lab.daemon.launch()
    eventually(lambda: lab.daemon.answers("/healthz"), "it answers", 60)
    eventually(lambda: lab.programs() == [closed.NAME] * 3, "all that is wanted is closed", 60)
    for client in lab.clients[:2]:
        assert not any(reach(client).values())
    expect(lab.clients[2], reached=True)
    assert lab.daemon.rest.call("GET", "/readyz").status == 503
    view = lab.daemon.rest.get("interfaces/lan2")
    assert view["state"] == "error"
    assert "apt-get install python3-bpfcc" in view["warning"]
    assert "on_start_failure is drop" in view["warning"]
    assert lab.daemon.rest.call("GET", "interfaces/lan2/counters").status == 404
    flow = Flow(lab.network, lab.clients[0], SOURCES, RATE)
    flow.wait(RATE // 4)
    assert lab.daemon.process is not None
    mounts = f"--mount=/proc/{lab.daemon.process.pid}/ns/mnt"
    subprocess.run(["nsenter", mounts, "umount", str(DEBIAN_BCC.parent)], check=True)
    eventually(lambda: lab.daemon.answers("/readyz"), "it filters by itself", 60)
    flow.wait(RATE // 4)
    flow.stop()
    assert flow.received["blocked"] == 0, "it was open for a moment"
    assert 0 < flow.received["clean"] < flow.sent["clean"]
    assert lab.programs() == ["xdp_filter"] * 3


def test_what_is_closed_can_be_opened_by_hand(make_network: Callable[..., Network]) -> None:
    lab = Rebooted(make_network(3), "drop")
    shutil.rmtree(lab.daemon.state / "programs")
    lab.daemon.wrapped = WITHOUT_BCC
    lab.daemon.launch()
    eventually(lambda: lab.programs() == [closed.NAME] * 3, "all that is wanted is closed", 60)
    eventually(lambda: lab.daemon.answers("/healthz"), "it answers", 60)
    lab.daemon.cli("detach", "lan1")
    expect(lab.clients[0], reached=True)
    lab.daemon.kill()
    lab.daemon.offline_detach()
    assert lab.programs() == [None, None, None]
    lab.daemon.launch()
    eventually(lambda: lab.daemon.answers("/readyz"), "nothing is wanted, so nothing is missing", 60)
    for client in lab.clients:
        expect(client, reached=True)


def test_a_second_start_closes_nothing(make_network: Callable[..., Network]) -> None:
    """It fails because the first one runs."""
    lab = Rebooted(make_network(3), "drop")
    lab.daemon.start()
    lab.daemon.rest.must("DELETE", "interfaces/lan2")
    second = Daemon(lab.daemon.space, lab.daemon.state.parent, arguments=lab.daemon.arguments)
    second.launch()
    assert second.process is not None
    assert second.process.wait(timeout=60) == 4
    assert lab.programs() == ["xdp_filter", None, "xdp_filter"]


# Break glass


def test_the_way_out_needs_neither_daemon_nor_store_nor_compiler(make_site: Callable[..., Site]) -> None:
    site = make_site(2)
    daemon = site.daemon
    for client in site.clients:
        site.put("block", client.network4)
        site.put("block", client.network6)
    assert not any(reach(site.clients[0]).values())
    assert daemon.process is not None
    os.kill(daemon.process.pid, signal.SIGSTOP)
    shutil.rmtree(daemon.state)
    daemon.state.parent.joinpath("xdpfw.toml").write_text("this is no TOML")
    where = ("--state-dir", str(daemon.state), "--instance", daemon.instance)
    out = subprocess.run(
        [*WITHOUT_BCC, str(XDPFW), "detach", "--all", "--offline", *where],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert out == "lan1: detached\nlan2: detached\n"
    assert not daemon.pins.exists()
    for client in site.clients:
        expect(client, reached=True)
        assert xdp(site.network.firewall, client.interface) is None
    # It wakes up, and its interfaces come and go: nothing attaches again by itself.
    os.kill(daemon.process.pid, signal.SIGCONT)
    eventually(lambda: state(daemon, "lan1") == "detached", "the daemon has noticed")
    site.network.disconnect(site.clients[1])
    site.network.connect(site.clients[1])
    eventually(lambda: state(daemon, "lan2") == "detached", "the daemon has seen lan2 come back")
    daemon.kill()
    daemon.arguments = ("--listen", "none", *attach_all(site.network))
    daemon.start()
    for client in site.clients:
        assert state(daemon, client.interface) == "detached"
        expect(client, reached=True)
    # Until somebody says so.
    daemon.cli("attach", "lan1")
    assert xdp(site.network.firewall, "lan1") is not None


def state(daemon: Daemon, name: str) -> str:
    return str(daemon.rest.get(f"interfaces/{name}")["state"])


# Nothing is left


@pytest.mark.parametrize("way", ["detach --all", "detach --all --offline", "detach_on_exit"])
def test_nothing_is_left(make_network: Callable[..., Network], way: str) -> None:
    network = make_network(2)
    before = set(network.home.iterdir())
    arguments = ("--listen", "none", *attach_all(network))
    daemon = Daemon(network.firewall, network.home, arguments=arguments)
    if way == "detach_on_exit":
        daemon.arguments = (*arguments, "--detach-on-exit")
    daemon.start()
    daemon.rest.must("PATCH", "sets/block/entries", {"add": [*BLOCKS]})
    programs = {daemon.rest.get(f"interfaces/{name}")["program_id"] for name in ("lan1", "lan2")}
    ours = {("prog", each) for each in programs} | {("map", each) for each in maps_of(programs)}
    assert ours <= loaded()
    if way == "detach --all":
        daemon.cli("detach", "--all")
    elif way == "detach --all --offline":
        daemon.offline_detach()
        assert not daemon.pins.exists()
    assert daemon.stop() == 0
    assert not daemon.pins.exists()
    assert [xdp(network.firewall, name) for name in ("lan1", "lan2")] == [None, None]
    eventually(lambda: not ours & loaded(), "programs and maps are gone", 20)
    links = json.loads(subprocess.run(["bpftool", "-j", "link", "show"], capture_output=True, check=True).stdout)
    assert not [link for link in links if link.get("prog_id") in programs]
    # The state directory is what was asked to be kept; the log is this test's.
    assert set(network.home.iterdir()) - before == {daemon.state, daemon.log}
