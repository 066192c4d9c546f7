# SPDX-License-Identifier: Apache-2.0
"""Ping, TCP and UDP of both families, blocked and released."""

from __future__ import annotations

import pytest

from lab.probes import Kind, expect, reach
from lab.waiting import eventually
from tests.netns.conftest import Site

pytestmark = pytest.mark.netns

KINDS4: tuple[Kind, ...] = ("ping4", "tcp4", "udp4")
KINDS6: tuple[Kind, ...] = ("ping6", "tcp6", "udp6")


@pytest.mark.parametrize(
    ("prefix", "cut", "untouched"),
    [
        ("10.77.2.2", KINDS4, KINDS6),
        ("10.77.2.0/24", KINDS4, KINDS6),
        ("10.77.2.0/30", KINDS4, KINDS6),
        ("fd00:77:2::2", KINDS6, KINDS4),
        ("fd00:77:2::/64", KINDS6, KINDS4),
        ("fd00:77:2::/47", KINDS6, KINDS4),
    ],
)
def test_blocked_client_is_cut_off_until_released(
    site: Site, prefix: str, cut: tuple[Kind, ...], untouched: tuple[Kind, ...]
) -> None:
    other, blocked = site.clients[:2]
    expect(blocked, reached=True)
    site.put("block", prefix, force="/47" in prefix)
    assert not any(reach(blocked, cut).values())
    expect(blocked, reached=True, kinds=untouched)
    if "/47" not in prefix:  # which holds them all
        expect(other, reached=True)
    site.remove("block", prefix)
    expect(blocked, reached=True)


@pytest.mark.parametrize(("prefix", "cut", "untouched"), [("0.0.0.0/0", KINDS4, KINDS6), ("::/0", KINDS6, KINDS4)])
def test_whole_family_needs_force_and_blocks_everyone(
    site: Site, prefix: str, cut: tuple[Kind, ...], untouched: tuple[Kind, ...]
) -> None:
    refused = site.daemon.rest.call("PUT", f"sets/block/entries/{prefix}", {})
    assert refused.status == 409
    expect(site.clients[0], reached=True)
    site.put("block", prefix, force=True)
    for client in site.clients:
        assert not any(reach(client, cut).values())
        expect(client, reached=True, kinds=untouched)
    site.remove("block", prefix)
    for client in site.clients:
        expect(client, reached=True)


def test_host_in_a_blocked_range_is_allowed(site: Site) -> None:
    client = site.clients[1]
    site.network.add_addresses(client, ["203.0.113.7/32", "203.0.113.8/32", "2001:db8::7/128", "2001:db8::8/128"])
    site.put("block", "203.0.113.0/24")
    site.put("block", "2001:db8::/32")
    site.put("allow", "203.0.113.7")
    site.put("allow", "2001:db8::7")
    expect(client, reached=True, source4="203.0.113.7", source6="2001:db8::7")
    assert not any(reach(client, source4="203.0.113.8", source6="2001:db8::8").values())


def test_allow_of_a_range_beats_a_block_of_a_host_in_it(site: Site) -> None:
    client = site.clients[1]
    site.put("block", client.address4)
    site.put("block", client.address6)
    assert not any(reach(client).values())
    site.put("allow", client.network4)
    site.put("allow", client.network6)
    expect(client, reached=True)


def test_counters_of_entry_and_interface_move(site: Site) -> None:
    client = site.clients[1]
    rest = site.daemon.rest
    site.put("block", client.network4)
    before = rest.get(f"interfaces/{client.interface}/counters")["dropped"]["packets"]
    assert not reach(client, ["ping4"])["ping4"]
    entry = eventually(
        lambda: (found := rest.get(f"sets/block/entries/{client.network4}"))["packets"] and found, "the entry counts"
    )
    # One echo request: 14 bytes of Ethernet, 20 of IPv4, 8 of ICMP, 56 of payload. A retry never follows within -W.
    assert (entry["packets"], entry["bytes"]) == (1, 98)
    after = rest.get(f"interfaces/{client.interface}/counters")
    assert after["dropped"]["packets"] == before + 1
    assert after["reasons"]["rule:block"]["dropped"]["packets"] >= 1


def test_monitor_mode_passes_and_counts(site: Site) -> None:
    client = site.clients[1]
    site.policy(mode="monitor")
    site.put("block", client.network4)
    expect(client, reached=True)
    counters = site.daemon.rest.get(f"interfaces/{client.interface}/counters")
    assert counters["monitored"]["packets"] >= len(KINDS4)
    site.policy(mode="enforce")
    assert not any(reach(client, KINDS4).values())


def test_default_drop_keeps_neighbours_and_passes_what_is_allowed(site: Site) -> None:
    allowed, other = site.clients[:2]
    site.put("allow", allowed.network4)
    site.put("allow", allowed.network6)
    site.policy(default="drop")
    for client in (allowed, other):
        client.space.ip("neighbour flush dev eth0")
        site.network.firewall.ip(f"neighbour flush dev {client.interface}")
    expect(allowed, reached=True)
    assert not any(reach(other).values())
    # ARP and neighbour discovery worked all the same, in both directions.
    for address in (other.gateway4, other.gateway6):
        found = other.space.run("ip", "neighbour", "show", address)
        assert "lladdr" in found
        assert "FAILED" not in found
    site.policy(default="pass")
    expect(other, reached=True)
