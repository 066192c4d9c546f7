# SPDX-License-Identifier: Apache-2.0
"""Questions to the packet path: one packet explained, a capture replayed. Nothing is counted and nothing changes."""

from __future__ import annotations

import base64
import json
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from tests import packets as p
from tests.api.conftest import WAN, Api, ok, problem
from tests.corpora import source_counts

PCAP = {"Content-Type": "application/vnd.tcpdump.pcap"}


def explain(api: Api, **said: Any) -> Any:
    return ok(api.client.post("explain", json=said)).json()


def pcap(*frames: bytes) -> bytes:
    records = (struct.pack("<4I", 0, 0, len(frame), len(frame)) + frame for frame in frames)
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + b"".join(records)


@pytest.fixture
def ruled(api: Api) -> Api:
    api.put("sets/block/entries/203.0.113.0/24", {"comment": "scanners"})
    api.put("sets/allow/entries/203.0.113.9")
    api.put("rules/web", {"action": "drop", "match": {"protocol": "tcp", "destination_ports": [80], "interfaces": WAN}})
    api.put("rules/watch", {"action": "drop", "mode": "monitor", "match": {"vlan": [7]}, "position": 1})
    return api


def test_the_answer_names_what_decided(ruled: Api) -> None:
    blocked = explain(ruled, source="203.0.113.7")
    assert (blocked["verdict"], blocked["reason"], blocked["rule"]) == ("drop", "rule", "block")
    assert [(m["set"], m["prefix"], m["comment"]) for m in blocked["matches"]] == [
        ("block", "203.0.113.0/24", "scanners")
    ]
    assert blocked["tier"] == "flats"
    allowed = explain(ruled, source="203.0.113.9")
    assert (allowed["verdict"], allowed["rule"], len(allowed["matches"])) == ("pass", "allow", 2)
    other = explain(ruled, source="192.0.2.1")
    assert (other["verdict"], other["reason"], other["rule"], other["tier"]) == ("pass", "default", None, "none")


def test_more_than_the_source_decides(ruled: Api) -> None:
    packet = {"source": "192.0.2.1", "protocol": "tcp", "destination_port": 80}
    assert explain(ruled, **packet, interface=WAN)["rule"] == "web"
    assert explain(ruled, **packet)["verdict"] == "pass"
    assert explain(ruled, **packet, interface=WAN, fragment="later")["verdict"] == "pass"
    tagged = explain(ruled, source="2001:db8::1", vlan=7)
    assert (tagged["verdict"], tagged["watching"]) == ("pass", "watch")


def test_monitor_mode_is_told(ruled: Api) -> None:
    ruled.patch("policy", {"mode": "monitor"})
    told = explain(ruled, source="203.0.113.7")
    assert (told["verdict"], told["monitored"], told["rule"]) == ("pass", True, "block")
    assert "monitor mode" in told["because"]


def test_raw_bytes(ruled: Api) -> None:
    frame = p.ethernet(p.ip("203.0.113.7", p.udp(4000, 53)))
    told = explain(ruled, frame=base64.b64encode(frame).decode())
    assert (told["verdict"], told["packet"]["source"], told["packet"]["destination_port"]) == (
        "drop",
        "203.0.113.7",
        53,
    )


def test_a_broken_frame_is_explained_too(ruled: Api) -> None:
    broken = p.ethernet(p.ip("203.0.113.7", p.udp()))[:20]
    told = explain(ruled, frame=base64.b64encode(broken).decode())
    assert told["verdict"] == "drop" and told["rule"] is None


@pytest.mark.parametrize("body", [
    {},
    {"source": "203.0.113.0/24"},
    {"source": 5},
    {"source": "192.0.2.1", "destination": "2001:db8::1"},
    {"source": "192.0.2.1", "protocol": "icmp", "destination_port": 80},
    {"source": "192.0.2.1", "destination_port": 65536},
    {"source": "192.0.2.1", "destination_port": "80"},
    {"source": "192.0.2.1", "colour": "red"},
    {"source": "192.0.2.1", "tcp_flags": "sin"},
    {"source": "192.0.2.1", "length": 13},
    {"frame": "§"},
    {"frame": "AAAA", "source": "192.0.2.1"},
    [],
])  # fmt: skip
def test_what_is_no_packet_is_422(api: Api, body: Any) -> None:
    with api.nothing_changes():
        problem(api.client.post("explain", json=body), 422)


def test_asking_changes_nothing_and_needs_no_more_than_reading(ruled: Api) -> None:
    token = ok(ruled.client.post("tokens", json={"name": "reader", "role": "read"})).json()["secret"]
    with ruled.nothing_changes(), ruled.tcp(token) as client:
        assert ok(client.post("explain", json={"source": "203.0.113.7"})).json()["verdict"] == "drop"
        ok(client.post("replay", content=pcap(p.ethernet(p.arp(), pad_to=60)), headers=PCAP))
        problem(client.put("rules/x", json={"action": "drop"}), 403)
    assert ruled.get("rules/block")["packets"] == 0
    assert ruled.get("sets/block/entries/203.0.113.0/24")["packets"] == 0


def test_a_replay_sums_up(ruled: Api) -> None:
    sources = ("203.0.113.7", "203.0.113.7", "192.0.2.1", "203.0.113.9")
    frames = [p.ethernet(p.ip(source, p.udp())) for source in sources]
    told = ok(ruled.client.post("replay", content=pcap(*frames), headers=PCAP)).json()
    assert (told["packets"], told["passed"], told["dropped"], told["skipped"]) == (4, 2, 2, 0)
    assert told["reasons"] == {"rule:block": 2, "rule:allow": 1, "default": 1}
    assert told["sources"][0] == {"address": "203.0.113.7", "passed": 0, "dropped": 2}
    assert told["distinct_sources"] == 3


def test_a_replay_packet_by_packet(ruled: Api) -> None:
    frames = [p.ethernet(p.ip(source, p.udp())) for source in ("203.0.113.7", "192.0.2.1")]
    answer = ok(ruled.client.post("replay", content=pcap(*frames), headers=PCAP, params={"packets": "true"}))
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [(line["packet"], line["verdict"], line["rule"], line["source"]) for line in lines] == [
        (1, "drop", "block", "203.0.113.7"),
        (2, "pass", None, "192.0.2.1"),
    ]


def test_a_replay_is_quick(api: Api) -> None:
    """A million packets in 15 s: so many µs of processor time for each, with what reading their lines takes here."""
    if not api.real:
        return  # the fake judges in Python
    body, spent = pcap(*[p.ethernet(p.ip("203.0.113.7", p.udp()))] * 10_000), list[float]()
    for packets in ("false", "true") * 4:
        began = time.process_time()
        ok(api.client.post("replay", content=body, headers=PCAP, params={"packets": packets}))
        spent.append((time.process_time() - began) * 1e6 / 10_000)
    summed, told = min(spent[::2]), min(spent[1::2])
    print(f"[{summed:.1f}, packet by packet {told:.1f} µs each]", end=" ")
    assert summed < 15 and told < 25


def test_what_is_no_capture_is_400(api: Api) -> None:
    whole = pcap(bytes(60), bytes(60))
    for body in (b"", b"no capture at all, only words", whole[:-3]):
        for packets in ("true", "false"):
            problem(api.client.post("replay", content=body, headers=PCAP, params={"packets": packets}), 400)
    problem(api.client.post("replay", content=whole, headers={"Content-Type": "text/plain"}), 415)


@pytest.mark.corpora
def test_a_real_capture(api: Api, corpora: Path) -> None:
    name = "packet-captures__amp.TCP.reflection.SYNACK.pcap"
    counts = source_counts(corpora, name)
    chosen = sorted(counts)[:500]
    api.bulk("block", "\n".join(chosen))
    told = ok(api.client.post("replay", content=(corpora / "pcap" / name).read_bytes(), headers=PCAP)).json()
    assert told["skipped"] == 0
    assert told["reasons"]["rule:block"] == sum(counts[source].packets for source in chosen)
