# SPDX-License-Identifier: Apache-2.0
"""Pages for people: what stands in them, not how wide it is."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.canned import Canned, Told
from tests.unit.cli.given import Call


def counted(packets: int, size: int, **rates: float) -> dict[str, Any]:
    return {"packets": packets, "bytes": size, **rates}


def rated(packets: int, size: int, bps: float = 0.0) -> dict[str, Any]:
    return counted(packets, size, pps=packets / 2, bps=bps)


INTERFACE = {
    "name": "eth0", "index": 2, "mac": "02:00:00:00:00:01", "mtu": 1500, "driver": "veth", "desired": "auto",
    "state": "attached", "mode": "generic", "program_id": 7, "passed": counted(10, 1000),
    "dropped": counted(20_000, 2_000_000), "warning": "the driver cannot do native mode",
}  # fmt: skip
STATUS = {
    "version": "0.1.0", "instance": "default", "revision": 42, "uptime": 3700.0,
    "started_at": "2026-01-01T00:00:00Z", "ready": True, "problems": [], "warnings": ["the clock was stepped"],
    "policy": {"default": "pass", "mode": "enforce", "rows": ["allow", "block"], "ethertypes": []},
    "interfaces": [INTERFACE],
    "sets": [{"name": "block", "entries": 1_000_000}],
    "maps": {"leaves": {"used": 950, "size": 1000}, "hosts4": {"used": 1, "size": 1000},
             "x": {"used": None, "size": 9}},
    "bans": {"used": 12, "size": 65_536, "made": 15, "refused": 3, "untracked": 0},
    "operation": {"kind": "import", "set": "block", "done": 250, "total": 1000, "started_at": "2026-01-01T00:00:00Z"},
    "events": {"watchers": 1, "lost": [0, 1234], "limited": [5, 6]},
    "kernel": {},
}  # fmt: skip


@pytest.fixture
def status(daemon: Canned) -> dict[str, Any]:
    document = json.loads(json.dumps(STATUS))
    daemon.tells["GET", "/status"] = Told(document=document)
    return dict(document)


def test_status_is_a_page(call: Call, status: dict[str, Any]) -> None:
    code, out, err = call("status")
    assert (code, err) == (0, "")
    for text in (
        "instance default: ready, up 1 h 1 m",
        "default pass, enforce, revision 42",
        "the clock was stepped",
        "import block: 250 of 1,000, 25 %",
        "eth0       attached  generic",
        "20.0 k / 2.00 MB",
        "eth0: the driver cannot do native mode",
        "block 1,000,000",
        "bans       12 of 65,536, 3 packets found no room for theirs",
        "events     lost since the start, because they came too fast: 1,234 on CPU 1\n",
        "leaves: 950 of 1,000, nearly full",
        "hosts4: 1 of 1,000\n",
    ):
        assert text in out
    assert "x:" not in out  # how full it is cannot be told
    assert json.loads(call("status", "--json")[1]) == status


def test_status_says_first_what_is_wrong(call: Call, daemon: Canned, status: dict[str, Any]) -> None:
    policy = status["policy"] | {"mode": "monitor"}
    quiet = {"watchers": 0, "lost": [0, 0], "limited": [0, 0]}
    worse = {"ready": False, "problems": ["the store is read-only"], "operation": None, "policy": policy}
    worse["events"] = quiet
    daemon.tells["GET", "/status"] = Told(document=status | worse)
    lines = call("status")[1].splitlines()
    assert "NOT READY" in lines[0]
    assert "nothing is dropped" in lines[1]
    assert "the store is read-only" in lines[2]
    assert not any(line.startswith("events") for line in lines)


@pytest.mark.parametrize(
    ("verdict", "sentence"),
    [
        ("drop", "192.0.2.7 is dropped: set block has 192.0.2.0/24"),
        ("pass", "192.0.2.7 passes: set block has 192.0.2.0/24"),
        ("conditional", "192.0.2.7 is dropped or passes, depending on the packet: set block has 192.0.2.0/24"),
    ],
)
def test_show_begins_with_the_verdict(call: Call, daemon: Canned, verdict: str, sentence: str) -> None:
    until = (datetime.now(UTC) + timedelta(hours=2, seconds=30)).isoformat().replace("+00:00", "Z")
    match = {"set": "block", "prefix": "192.0.2.0/24", "origin": "feed", "expires_at": until, "comment": "c",
             "packets": 5, "bytes": 500}  # fmt: skip
    seen = {"name": "eth0", "passed": counted(1, 100), "dropped": counted(5, 500), "last_seen": "2026-01-01T00:00:00Z"}
    document = {"address": "192.0.2.7", "verdict": verdict, "rule": "block", "because": "set block has 192.0.2.0/24",
                "matches": [match], "interfaces": [seen]}  # fmt: skip
    daemon.tells["GET", "/addresses/192.0.2.7"] = Told(document=document)
    code, out, _ = call("show", "192.0.2.7")
    first, *rest = out.splitlines()
    assert (code, first) == (0, sentence)
    assert any("192.0.2.0/24" in line and "2 h" in line and "feed" in line for line in rest)
    assert any("eth0" in line and "5 / 500 B" in line for line in rest)


def test_show_sends_what_was_typed_as_one_segment(call: Call, daemon: Canned) -> None:
    assert call("show", "192.0.2.7/../../policy")[0] == 3
    assert daemon.asked[0].raw_path == "/api/v1/addresses/192.0.2.7%2F..%2F..%2Fpolicy"


COUNTERS = {
    "name": "eth0", "passed": rated(10, 1000, 4e6), "dropped": rated(5, 500), "monitored": counted(0, 0),
    "reasons": {
        "rule:block": {"passed": counted(0, 0), "dropped": counted(5, 500), "monitored": counted(0, 0)},
        "default": {"passed": counted(10, 1000), "dropped": counted(0, 0), "monitored": counted(0, 0)},
    },
}  # fmt: skip


def test_counters_of_all_attached_interfaces(call: Call, daemon: Canned) -> None:
    items = [INTERFACE, INTERFACE | {"name": "eth1", "state": "detached"}]
    daemon.tells["GET", "/interfaces"] = Told(document={"items": items, "next": None, "total": 2})
    daemon.tells["GET", "/interfaces/eth0/counters"] = Told(document=COUNTERS)
    code, out, _ = call("counters")
    assert code == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.split()}
    assert rows["rule:block"] == ["0", "0", "B", "5", "500", "B"]
    assert rows["total"] == ["10", "1.00", "kB", "5", "500", "B"]
    assert "4.00 Mbit/s" in out
    assert "would drop" not in out
    assert json.loads(call("counters", "--json")[1]) == {"items": [COUNTERS]}
    assert json.loads(call("counters", "eth0", "--json")[1]) == COUNTERS


def test_counters_of_an_interface_that_is_not_attached_are_3(call: Call, daemon: Canned) -> None:
    assert call("counters", "eth9")[0] == 3


def talker(address: str, packets: int) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {"address": address, "passed": rated(packets, 10 * packets), "dropped": rated(0, 0), "since": now,
            "last_seen": now, "sets": ["allow"], "interfaces": None}  # fmt: skip


def test_top_adds_up(call: Call, daemon: Canned) -> None:
    both = {"passed": rated(100, 1000), "dropped": rated(0, 0)}
    other = {"passed": rated(5, 50), "dropped": rated(0, 0)}
    items = [talker("192.0.2.1", 60), talker("2001:db8::1", 20)]
    answer = {"items": items, "next": None, "total": 9, "other": other, "totals": both, "since": None}
    daemon.tells["GET", "/interfaces/eth0/talkers"] = Told(document=answer)
    code, out, _ = call("top", "eth0", "--sort", "pps", "--of", "passed", "--limit", "2", "--family", "6", "--once")
    assert code == 0
    assert daemon.asked[0].query == {"sort": "pps", "of": "passed", "order": "desc", "limit": "2", "family": "6"}
    passed = {line[:11].strip(): line[11:].split()[0] for line in out.splitlines()}
    assert passed["192.0.2.1"] == "60"
    assert passed["not shown"] == "15"  # 100 - 5 - 60 - 20
    assert (passed["other"], passed["total"]) == ("5", "100")
    assert "2 of 9 talkers" in out
    assert json.loads(call("top", "eth0", "--json")[1]) == answer


def test_policy_page(call: Call, daemon: Canned) -> None:
    daemon.tells["GET", "/policy"] = Told(document=STATUS["policy"] | {"default": "drop", "ethertypes": ["0x88cc"]})  # type: ignore[operator]
    out = call("policy", "show")[1]
    assert out.index("allow") < out.index("block") < out.index("default  drop")
    assert "0x88cc" in out


def test_policy_changes_one_thing(call: Call, daemon: Canned) -> None:
    daemon.tells["PATCH", "/policy"] = Told(document={"revision": 3, "changed": True, "mode": "monitor"})
    assert call("policy", "mode", "monitor", "--force")[:2] == (0, "mode is monitor\n")
    assert (daemon.asked[0].document, daemon.asked[0].query) == ({"mode": "monitor"}, {"force": "true"})
    assert call("policy", "default", "drop", "--dry-run")[0] == 10


def test_a_token_is_all_that_goes_to_stdout(call: Call, daemon: Canned) -> None:
    made, never = "2026-01-01T00:00:00Z", {"expires_at": None, "sources": []}
    token = {"id": "5f", "name": "x", "role": "read", "created_at": made, "secret": "s3cret"} | never
    daemon.tells["POST", "/tokens"] = Told(201, document=token | {"revision": 1, "changed": True})
    code, out, err = call("token", "create", "x")
    assert (code, out) == (0, "s3cret\n")
    assert "5f" in err
    assert daemon.asked[0].document == {"name": "x", "role": "read"}
    daemon.tells["GET", "/tokens"] = Told(document={"items": [token], "next": None, "total": 1})
    assert "s3cret" not in call("token", "list")[1]
    daemon.tells["DELETE", "/tokens/5f"] = Told(204, headers={"X-Revision": "1"})
    assert call("token", "revoke", "5f")[:2] == (0, "token 5f: revoked\n")


def test_a_token_may_be_for_a_while_and_from_some_places(call: Call, daemon: Canned) -> None:
    token = {"id": "5f", "name": "x", "role": "read", "created_at": "2026-01-01T00:00:00Z"}
    told = token | {"secret": "s3cret", "revision": 1, "changed": True}
    daemon.tells["POST", "/tokens"] = Told(201, document=told)
    assert call("token", "create", "x", "--for", "8h", "--source", "192.0.2.1", "--source", "2001:db8::/32")[0] == 0
    sent = {"name": "x", "role": "read", "ttl": 28_800, "sources": ["192.0.2.1", "2001:db8::/32"]}
    assert daemon.asked[0].document == sent
    past = token | {"expires_at": "2026-01-02T00:00:00Z", "sources": ["192.0.2.1/32"]}
    daemon.tells["GET", "/tokens"] = Told(document={"items": [past], "next": None, "total": 1})
    out = call("token", "list")[1]
    assert "run out" in out
    assert "192.0.2.1/32" in out
