# SPDX-License-Identifier: Apache-2.0
"""Somebody with root's rights and bpftool is at the kernel's side of it: noticed within 10 s, shown, mended."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Collection, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from lab.daemon import Daemon
from lab.network import Network
from lab.probes import expect, reach, start_services
from lab.waiting import eventually
from tests.netns.conftest import Site, attach_all, xdp
from xdpfw.service.upkeep import DRIFT_EVERY

pytestmark = pytest.mark.netns

WITHIN = 10.0


@pytest.fixture(scope="module")
def site(tools: None) -> Iterator[Site]:
    with Network(1) as network:
        start_services(network)
        arguments = ("--listen", "none", *attach_all(network))
        site = Site(network, Daemon(network.firewall, network.home, arguments=arguments).start())
        site.put("block", "203.0.113.0/24")
        site.put("block", "203.0.113.7")
        site.put("block", "2001:db8:5::/48")
        eventually(lambda: site.daemon.rest.get("verification")["ok"], "it has looked at everything once")
        yield site


def bpftool(*words: str) -> Any:
    done = subprocess.run(["bpftool", "-j", *words], capture_output=True, text=True, check=True)
    return json.loads(done.stdout) if done.stdout.strip() else None


def octets(number: bytes) -> list[str]:
    return [str(octet) for octet in number]


def pin(site: Site, name: str) -> str:
    return str(site.daemon.pins / "tables-1" / name)


def seen(site: Site) -> list[dict[str, Any]]:
    return list(site.daemon.rest.get("status")["drift"])


def noticed(site: Site, told: str, known: Collection[str] = ()) -> None:
    """It is told of in status and readiness, mended, and everything is as it should be. `known`: times of what was told
    before."""

    def found() -> bool:
        new = [each for each in seen(site) if each["mended"] and each["at"] not in known]
        return any(told in text for each in new for text in each["found"])

    eventually(found, f"{told!r} is noticed and mended: {site.daemon.tail()}", WITHIN)
    ready = site.daemon.rest.call("GET", "/readyz")
    assert ready.status == 200
    assert any(told in text for each in ready.json()["drift"] for text in each["found"])
    assert any(told in warning for warning in site.daemon.rest.get("status")["warnings"])
    assert site.daemon.rest.get("verification")["ok"]


def test_entries_a_leaf_and_a_gate(site: Site) -> None:
    """Taken out, put in, given other sets, and gone past."""
    client = site.clients[0]
    bpftool("map", "delete", "pinned", pin(site, "hosts4"), "key", *octets(ip_address("203.0.113.7").packed))
    key = octets((24).to_bytes(4, "little") + ip_network(client.network4).network_address.packed)
    bpftool("map", "update", "pinned", pin(site, "trie4"), "key", *key, "value", "1", "0", "0", "0")
    bpftool("map", "update", "pinned", pin(site, "leaf"), "key", "1", "0", "0", "0", "value", *["0"] * 8)
    cell = int(ip_address("203.0.113.0")) >> 8
    bpftool(
        "map",
        "update",
        "pinned",
        pin(site, "gate4"),
        "key",
        *octets((cell // 32).to_bytes(4, "little")),
        "value",
        *["0"] * 8,
    )
    for told in ("203.0.113.7/32 is missing", client.network4, "is in other sets", "203.0.113.0/24 leads past"):
        noticed(site, told)
    expect(client, reached=True)


def test_a_policy_that_was_changed(site: Site) -> None:
    client = site.clients[0]
    for generation in "01":
        value = ["1", "0", "0", "0", *["0"] * 20]
        bpftool("map", "update", "pinned", pin(site, "policy"), "key", generation, "0", "0", "0", "value", *value)
    assert not reach(client, ["ping4"])["ping4"], "everything is dropped now"
    noticed(site, "default_drop")
    expect(client, reached=True)


def test_pins_that_were_deleted(site: Site) -> None:
    program = xdp(site.network.firewall, "lan1")
    for name in ("trie6", "leaf", "flats4-pages/203", "on-lan1/program"):
        (site.daemon.pins / "tables-1" / name).unlink()
    noticed(site, "flats4 is gone")
    for name in ("trie6", "leaf", "flats4-pages/203", "on-lan1/program"):
        assert (site.daemon.pins / "tables-1" / name).exists()
    assert program is not None and xdp(site.network.firewall, "lan1") is not None
    # What is pinned is what is in force: the next daemon adopts it.
    site.daemon.kill()
    site.daemon.start()
    assert not any("take their place" in warning for warning in site.daemon.rest.get("status")["warnings"])
    assert site.daemon.rest.get("verification")["ok"]


@pytest.mark.parametrize("way", ["the pin of the link", "bpftool link detach"])
def test_a_program_that_was_taken_off_by_force(site: Site, way: str) -> None:
    link, known = site.daemon.pins / "links" / "lan1", [each["at"] for each in seen(site)]
    client = site.clients[0]
    site.put("block", client.network4)
    assert not reach(client, ["ping4"])["ping4"]
    if way == "bpftool link detach":
        bpftool("link", "detach", "pinned", str(link))
    else:
        link.unlink()
    noticed(site, "lan1: somebody took the program off", known)
    assert xdp(site.network.firewall, "lan1") is not None
    assert not reach(client, ["ping4"])["ping4"]
    site.remove("block", client.network4)


def test_what_is_taken_off_on_purpose_stays_off(make_site: Callable[..., Site]) -> None:
    """`detach --all --offline` beside a running daemon is no drift."""
    site = make_site(1)
    site.daemon.offline_detach()
    eventually(lambda: site.daemon.rest.get("interfaces/lan1")["state"] == "detached", "the daemon has noticed")
    began = site.daemon.rest.get("status")["uptime"]
    eventually(lambda: site.daemon.rest.get("status")["uptime"] > began + 2.5 * DRIFT_EVERY, "two looks later")
    assert not site.daemon.pins.exists()
    assert xdp(site.network.firewall, "lan1") is None
    assert seen(site) == []
