# SPDX-License-Identifier: Apache-2.0
"""Rules nobody thought of, and frames that they are likely to tell apart: both draw from few values."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from tests import packets as p
from xdpfw.model.rule import Rule
from xdpfw.model.rule_form import ICMP_TYPES, parse_rules

PORTS = (0, 22, 53, 80, 443, 8000, 8080, 8100, 40000, 65535)
TYPES = (0, 3, 8, 128, 129, 133)
FLAGS = ("syn", "syn,ack/syn", "all/none", "rst", "ack", "fin,psh,urg/fin,psh,urg", "syn,fin")
VLANS = (0, 1, 7, 4095)
LENGTHS = (60, 64, 74, 100, 128)
INTERFACES = ("wan0", "lan0")
SOURCES = ("192.0.2.1", "203.0.113.7", "203.0.113.66", "10.9.0.2", "2001:db8::1", "2001:db8:bad::66", "::ffff:10.9.0.2")
PREFIXES = (
    "0.0.0.0/0", "::/0", "10.0.0.0/8", "10.9.0.0/16", "10.9.0.2", "203.0.113.0/24", "203.0.113.64/26", "2001:db8::/32",
    "2001:db8:bad::/48", "2001:db8:bad::66", "::/64", "128.0.0.0/1",
)  # fmt: skip


def rules(seed: int, count: int, sets: Sequence[str]) -> tuple[Rule, ...]:
    r = random.Random(seed)
    return parse_rules([_rule(r, number, sets) for number in range(count)])


def _rule(r: random.Random, number: int, sets: Sequence[str]) -> dict[str, Any]:
    terms = (*sets, *sets, *PREFIXES, *(f"!{term}" for term in (*sets, *PREFIXES)))
    fields = {
        "source": lambda: _some(r, terms),
        "destination": lambda: _some(r, terms),
        "protocol": lambda: _some(r, ("tcp", "udp", "icmp", "icmpv6", "sctp", 47, 0)),
        "source_ports": lambda: _ranges(r, PORTS),
        "destination_ports": lambda: _ranges(r, PORTS),
        "icmp_types": lambda: _some(r, (*TYPES, *ICMP_TYPES)),
        "tcp_flags": lambda: _some(r, FLAGS),
        "vlan": lambda: r.choice(("none", *_ranges(r, VLANS))),
        "length": lambda: _ranges(r, LENGTHS),
        "fragment": lambda: _some(r, ("none", "first", "later")),
        "interfaces": lambda: _some(r, INTERFACES),
    }
    chosen = r.sample(sorted(fields), r.choice((1, 1, 2, 2, 3)))
    if {"source_ports", "destination_ports", "icmp_types", "tcp_flags"} & set(chosen):
        chosen = [name for name in chosen if name != "protocol"]
    action = r.choice(("pass", "drop", "limit"))
    return {
        "id": f"r{number}",
        "match": {name: fields[name]() for name in chosen},
        "action": action,
        "limit": {"rate": 1} if action == "limit" else None,
        "mode": r.choice(("enforce", "enforce", "enforce", "monitor")),
        "enabled": r.random() < 0.9,
    }


def _some(r: random.Random, values: Sequence[Any]) -> list[Any]:
    return r.sample(list(values), min(len(values), r.choice((1, 1, 2, 3))))


def _ranges(r: random.Random, values: Sequence[int]) -> list[Any]:
    first, last = sorted(r.choices(values, k=2))
    return [r.choice(values), f"{first}-{last}"][: r.choice((1, 2))]


def frames(seed: int, count: int) -> Iterator[tuple[bytes, str]]:
    """Frames with the interface that they arrive on."""
    r = random.Random(seed)
    for _ in range(count):
        source, destination = r.choice(SOURCES), r.choice(SOURCES)
        segment = r.choice(_SEGMENTS)(r)
        offset, more = r.choice(((0, False), (0, False), (0, True), (1480, False)))
        if ":" in source:
            destination = destination if ":" in destination else f"::ffff:{destination}"
            extensions = [] if (offset, more) == (0, False) else [p.fragment(offset, more=more)]
            packet = p.ipv6(source, segment, *extensions, destination=destination)
        else:
            plain = [address for address in SOURCES if ":" not in address]
            packet = p.ipv4(source, segment, destination=r.choice(plain), offset=offset, more=more)
        tags = [p.tag(r.choice(VLANS)) for _ in range(r.choice((0, 0, 1, 2)))]
        yield p.ethernet(packet, *tags, pad_to=r.choice(LENGTHS)), r.choice((*INTERFACES, "other0"))


_SEGMENTS = (
    lambda r: p.tcp(r.choice(PORTS), r.choice(PORTS), flags=r.choice((0, 1, 2, 4, 16, 18, 41, 255))),
    lambda r: p.tcp(r.choice(PORTS), r.choice(PORTS), flags=2),
    lambda r: p.udp(r.choice(PORTS), r.choice(PORTS)),
    lambda r: p.sctp(r.choice(PORTS), r.choice(PORTS)),
    lambda r: p.icmp(r.choice(TYPES), 0),
    lambda r: p.icmpv6(r.choice(TYPES), 0),
    lambda r: p.raw(47, bytes(20)),
    lambda r: p.cut(p.tcp(r.choice(PORTS), r.choice(PORTS)), 12),
)
