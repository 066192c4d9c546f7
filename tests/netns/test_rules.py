# SPDX-License-Identifier: Apache-2.0
"""Rules on real links: each field sees its packets, and counts outlive edits, other programs, kills and new tables."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from lab.waiting import eventually
from tests import packets as p
from tests.netns.conftest import Site

pytestmark = pytest.mark.netns

SOURCE = "198.51.100.1"
PART = p.udp(payload=bytes(56))
TIMES = 3

# What a rule matches, and a frame that it alone of these matches.
FIELDS: dict[str, tuple[dict[str, Any], bytes]] = {
    "source": ({"source": ["192.0.2.0/24", "!192.0.2.9"]}, p.ethernet(p.ip("192.0.2.8", p.udp()))),
    "a-set": ({"source": "guests"}, p.ethernet(p.ip("2001:db8:77::1", p.udp()))),
    "destination": ({"destination": "10.99.0.0/16"}, p.ethernet(p.ipv4(SOURCE, p.udp(), destination="10.99.1.1"))),
    "protocol": ({"protocol": ["sctp", 47]}, p.ethernet(p.ip(SOURCE, p.raw(47)))),
    "source-port": ({"source_ports": "100-199"}, p.ethernet(p.ip(SOURCE, p.udp(150)))),
    "destination-port": ({"destination_ports": [7, "8000-8100"]}, p.ethernet(p.ip(SOURCE, p.tcp(dport=8050)))),
    "icmp": ({"icmp_types": [13]}, p.ethernet(p.ip(SOURCE, p.icmp(13)))),
    "icmpv6": ({"protocol": "icmpv6", "icmp_types": [140]}, p.ethernet(p.ip("2001:db8:78::1", p.icmpv6(140)))),
    "tcp-flags": ({"tcp_flags": "all/none"}, p.ethernet(p.ip(SOURCE, p.tcp(flags=0)))),
    "vlan": ({"vlan": [7, "4000-4094"]}, p.ethernet(p.ip(SOURCE, p.udp()), p.tag(4001))),
    "length": ({"length": "1000-1100"}, p.ethernet(p.ip(SOURCE, p.udp(payload=bytes(1000))))),
    "first": ({"fragment": "first"}, p.ethernet(p.ip_fragment(SOURCE, PART, 0, more=True))),
    "later": ({"fragment": "later"}, p.ethernet(p.ip_fragment(SOURCE, PART, 64, more=False))),
    "interface": ({"interfaces": "lan1", "source": "!usual"}, p.ethernet(p.ip("203.0.113.1", p.udp()))),
}
USUAL = ["198.51.100.0/24", "10.0.0.0/8", "192.0.2.0/24", "::/0"]


def rules(names: Iterable[str], action: str = "drop") -> list[dict[str, Any]]:
    return [{"id": name, "action": action, "match": FIELDS[name][0]} for name in names]


def send(site: Site) -> None:
    """Each frame, and one more that only an exclusion keeps from the first rule."""
    with site.clients[0].space.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind(("eth0", 0))
        for frame in [*(frame for _, frame in FIELDS.values()), p.ethernet(p.ip("192.0.2.9", p.udp()))] * TIMES:
            out.send(frame)


def counts(site: Site) -> dict[str, int]:
    return {rule["id"]: rule["packets"] for rule in site.daemon.rest.get("rules")["items"]}


def program(site: Site) -> int:
    return int(site.daemon.rest.get("interfaces/lan1")["program_id"])


def test_each_field_sees_its_packets_and_counts_go_on(make_site: Callable[..., Site]) -> None:
    site = make_site(1)
    for name, prefixes in (("guests", ["2001:db8:77::/48"]), ("usual", USUAL)):
        site.daemon.rest.must("PUT", f"sets/{name}", {})
        site.daemon.rest.must("PUT", f"sets/{name}/entries", prefixes)
    expected = dict.fromkeys(FIELDS, 0)

    def replaced(*documents: dict[str, Any]) -> None:
        site.daemon.rest.must("PUT", "rules?force=true", list(documents))

    def check(*names: str) -> None:
        """Send, and see who counted."""
        send(site)
        for name in names:
            expected[name] += TIMES
        eventually(lambda: {name: counts(site).get(name, 0) for name in FIELDS} == expected, f"{expected}")

    replaced(*rules(["source"]))
    check("source")
    before = program(site)
    replaced(*rules(FIELDS))
    assert program(site) != before, "other fields need another program"
    check(*FIELDS)
    site.daemon.kill()
    site.daemon.start()
    assert counts(site) == expected
    config = site.network.home / "xdpfw.toml"
    config.write_text("[limits]\nleaves = 100000\nmemberships = 20000\n")
    site.daemon.stop()
    site.daemon.arguments = ("--config", str(config), *site.daemon.arguments)
    site.daemon.start()
    assert counts(site) == expected, "tables of other sizes took over"
    replaced(*reversed(rules(FIELDS, "pass")))
    check(*FIELDS)
    watching = [rule | {"mode": "monitor"} for rule in rules(["source"])]
    replaced(*watching, {"id": "behind", "action": "pass"}, *rules([name for name in FIELDS if name != "source"]))
    check("source")
    assert counts(site)["behind"] >= TIMES * len(FIELDS)
