# SPDX-License-Identifier: Apache-2.0
"""Interfaces that go and come, other people's programs, several daemons, and leaving nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.daemon import Daemon
from lab.network import Network
from lab.probes import expect, reach
from lab.waiting import eventually
from tests.netns.conftest import Site, attach_all, xdp
from xdpfw.kernel import libbpf

pytestmark = pytest.mark.netns


def state(daemon: Daemon, name: str) -> str:
    return str(daemon.rest.get(f"interfaces/{name}")["state"])


@contextmanager
def foreign_program(network: Network, link: str) -> Iterator[int]:
    """Somebody else's XDP program, attached by iproute2; yields its id."""
    # mov r0, 2 (XDP_PASS); exit: RFC 9669
    descriptor, _ = libbpf.prog_load("somebody_else", bytes.fromhex("b700000002000000 9500000000000000"), frags=False)
    pins = Path("/sys/fs/bpf") / f"xdpfw-{network.name}-foreign"
    pins.mkdir()
    try:
        libbpf.pin(descriptor, pins / "program")
        space = network.firewall
        space.run("ip", "link", "set", "dev", link, "xdpdrv", "pinned", str(pins / "program"))
        attached = xdp(space, link)
        assert attached is not None
        yield attached["prog"]["id"]
        space.run("ip", "link", "set", "dev", link, "xdpdrv", "off")
    finally:
        os.close(descriptor)
        shutil.rmtree(pins)


def test_foreign_program_is_left_alone(make_network: Callable[..., Network]) -> None:
    network = make_network(1)
    daemon = Daemon(network.firewall, network.home, arguments=("--listen", "none")).start()
    rest = daemon.rest
    with foreign_program(network, "lan1") as identity:
        for query in ("", "?force=true"):
            for mode in ("native", "generic", "auto"):
                refused = rest.call("PUT", f"interfaces/lan1{query}", {"mode": mode})
                assert refused.status == 409
                assert str(identity) in refused.json()["detail"]
                assert "somebody_else" in refused.json()["detail"]
        assert rest.call("DELETE", "interfaces/lan1?force=true").status == 404
        found = xdp(network.firewall, "lan1")
        assert found is not None
        assert found["prog"]["id"] == identity
    rest.must("PUT", "interfaces/lan1", {"mode": "native"})
    assert xdp(network.firewall, "lan1") is not None


def test_nobody_takes_our_program_off_by_accident(site: Site) -> None:
    """A link holds it: what `ip` would do to a program attached the old way is refused."""
    with pytest.raises(subprocess.CalledProcessError):
        site.network.firewall.run("ip", "link", "set", "dev", "lan1", "xdpdrv", "off")
    assert xdp(site.network.firewall, "lan1") is not None


def test_interface_that_comes_back_is_attached_again(make_site: Callable[..., Site]) -> None:
    site = make_site()
    gone, staying = site.clients
    site.put("block", gone.network4)
    site.network.disconnect(gone)
    eventually(lambda: state(site.daemon, gone.interface) == "absent", "the interface is reported absent")
    expect(staying, reached=True)
    site.network.connect(gone)
    eventually(lambda: state(site.daemon, gone.interface) == "attached", "the interface is attached again")
    assert not any(reach(gone, ["ping4", "tcp4", "udp4"]).values())
    expect(gone, reached=True, kinds=["ping6", "tcp6", "udp6"])
    assert site.daemon.rest.get(f"interfaces/{gone.interface}")["mode"] == "native"


def test_interface_that_comes_back_while_the_daemon_is_down(make_site: Callable[..., Site]) -> None:
    site = make_site(1)
    client = site.clients[0]
    site.put("block", client.network4)
    site.daemon.stop()
    site.network.disconnect(client)
    site.network.connect(client)
    site.daemon.arguments = ("--listen", "none")  # what is attached is remembered, not told again
    site.daemon.start()
    eventually(lambda: state(site.daemon, client.interface) == "attached", "the interface is attached again")
    assert not reach(client, ["udp4"])["udp4"]


def test_daemons_in_two_namespaces_do_not_see_each_other(make_site: Callable[..., Site]) -> None:
    """Both have an interface `lan1` with the same index and the same addresses behind it."""
    one, two = make_site(1), make_site(1)
    one.put("block", one.clients[0].network4)
    assert not any(reach(one.clients[0], ["ping4", "tcp4", "udp4"]).values())
    expect(two.clients[0], reached=True)
    assert two.daemon.rest.get("sets/block/entries")["items"] == []
    names = [view["name"] for view in two.daemon.rest.get("interfaces")["items"]]
    assert sorted(names) == ["lan1", "lo"]
    one.daemon.cli("detach", "--all")
    assert xdp(one.network.firewall, "lan1") is None
    assert xdp(two.network.firewall, "lan1") is not None
    two.put("block", two.clients[0].network4)
    assert not reach(two.clients[0], ["ping4"])["ping4"]
    expect(one.clients[0], reached=True)


def test_detach_leaves_nothing(make_network: Callable[..., Network]) -> None:
    network = make_network(2)
    space = network.firewall
    daemon = Daemon(space, network.home, arguments=("--listen", "none", "--detach-on-exit", *attach_all(network)))
    daemon.start()
    programs = {daemon.rest.get(f"interfaces/{name}")["program_id"] for name in ("lan1", "lan2")}
    ours = {("prog", each) for each in programs} | {("map", each) for each in maps_of(programs)}
    assert ours <= loaded()
    assert len(ours) > len(programs) + 10
    assert daemon.pins.is_dir()
    daemon.cli("detach", "lan1")
    assert xdp(space, "lan1") is None
    assert xdp(space, "lan2") is not None
    assert daemon.stop() == 0
    assert xdp(space, "lan2") is None
    assert not daemon.pins.exists()
    eventually(lambda: not ours & loaded(), "programs and maps are gone", 20)


def bpftool(*arguments: str) -> list[dict[str, Any]]:
    listing = json.loads(subprocess.run(["bpftool", "-j", *arguments], capture_output=True, check=True).stdout)
    assert isinstance(listing, list)
    return listing


def loaded() -> set[tuple[str, int]]:
    """What there is on the whole machine."""
    return {(kind, item["id"]) for kind in ("prog", "map") for item in bpftool(kind, "show")}


def maps_of(programs: set[int]) -> set[int]:
    return {each for item in bpftool("prog", "show") if item["id"] in programs for each in item["map_ids"]}


def test_offline_detach_needs_no_daemon_and_holds(make_site: Callable[..., Site]) -> None:
    site = make_site(1)
    client = site.clients[0]
    site.put("block", client.network4)
    site.daemon.kill()
    assert not reach(client, ["ping4"])["ping4"]
    site.daemon.offline_detach()
    assert xdp(site.network.firewall, client.interface) is None
    assert not site.daemon.pins.exists()
    expect(client, reached=True)
    # It left a mark: nothing attaches again by itself.
    site.daemon.arguments = ("--listen", "none")
    site.daemon.launch()
    eventually(lambda: site.daemon.answers("/healthz"), "the daemon answers", 60)
    expect(client, reached=True)
    assert xdp(site.network.firewall, client.interface) is None
    site.daemon.cli("attach", client.interface)
    assert not reach(client, ["ping4"])["ping4"]
