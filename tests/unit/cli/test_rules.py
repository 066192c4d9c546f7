# SPDX-License-Identifier: Apache-2.0
"""rules, explain and replay on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.canned import Canned, Told, problem
from tests.unit.cli.given import Call


def rule(id: str, **more: Any) -> dict[str, Any]:
    return {
        "id": id, "position": 3, "enabled": True, "comment": "", "match": {"protocol": ["tcp"]}, "action": "drop",
        "mode": "enforce", "limit": None, "log": None, "packets": 0, "bytes": 0, "warning": None, **more,
    }  # fmt: skip


def written(id: str, **more: Any) -> Told:
    return Told(document=rule(id) | {"revision": 5, "changed": True, "dry_run": False} | more)


def test_the_list_shows_the_order_and_what_was_matched(call: Call, daemon: Canned) -> None:
    items = [rule("allow", position=1, action="pass", packets=12_345), rule("web", position=2, mode="monitor")]
    daemon.tells["GET", "/rules"] = Told(document={"items": items, "next": None, "total": 2})
    code, out, _ = call("rules")
    lines = out.splitlines()
    assert code == 0 and lines[1].split()[:3] == ["1", "allow", "pass"]
    assert "drop, monitor" in lines[2] and "protocol tcp" in lines[2]
    assert json.loads(call("rules", "list", "--json")[1])["total"] == 2


def test_add_sends_the_whole_rule(call: Call, daemon: Canned) -> None:
    daemon.tells["PUT", "/rules/web"] = written("web")
    code, out, _ = call(
        "rules", "add", "web", "limit", "--source", "block,!10.0.0.0/8", "--source", "allow", "--destination-port",
        "80,8000-8100", "--tcp-flags", "syn,ack/syn", "--rate", "10", "--ban", "1h", "--monitor", "--before", "block",
    )  # fmt: skip
    assert code == 0 and "at position 3" in out
    assert daemon.asked[-1].document == {
        "action": "limit",
        "mode": "monitor",
        "match": {
            "source": ["block", "!10.0.0.0/8", "allow"],
            "destination_ports": ["80", "8000-8100"],
            "tcp_flags": ["syn,ack/syn"],
        },
        "limit": {"rate": 10, "ban": 3600},
        "before": "block",
    }


def test_edit_sends_what_is_said_and_any_takes_a_condition_out(call: Call, daemon: Canned) -> None:
    daemon.tells["PATCH", "/rules/web"] = written("web")
    assert call("rules", "edit", "web", "--protocol", "any", "--vlan", "7", "--disable", "--action", "pass")[0] == 0
    assert daemon.asked[-1].document == {"enabled": False, "action": "pass", "match": {"protocol": None, "vlan": ["7"]}}
    assert call("rules", "edit", "web")[0] == 2


def test_move_and_remove(call: Call, daemon: Canned) -> None:
    daemon.tells["PATCH", "/rules/web"] = written("web")
    daemon.tells["DELETE", "/rules/web"] = Told(status=204)
    assert call("rules", "move", "web", "--position", "1")[0] == 0
    assert daemon.asked[-1].document == {"position": 1}
    assert call("rules", "move", "web")[0] == 2
    code, out, _ = call("rules", "remove", "web")
    assert (code, out.strip()) == (0, "rule web is removed")


def test_refusals_keep_their_exit_codes(call: Call, daemon: Canned) -> None:
    daemon.tells["PATCH", "/rules/x"] = problem(404, "there is no rule x")
    assert call("rules", "edit", "x", "--vlan", "1")[0] == 3
    daemon.tells["PUT", "/rules/x"] = problem(422, "no")
    assert call("rules", "add", "x", "drop")[0] == 2


EXPLAINED = {
    "verdict": "drop", "reason": "rule", "rule": "block", "because": "rule block matches", "monitored": False,
    "watching": None, "tier": "trie", "revision": 3, "destination_matches": [], "packet": {"source": "192.0.2.1"},
    "matches": [{"set": "block", "prefix": "192.0.2.0/24", "comment": "x"}],
}  # fmt: skip


def test_explain_says_what_it_is_told(call: Call, daemon: Canned) -> None:
    daemon.tells["POST", "/explain"] = Told(document=EXPLAINED)
    code, out, _ = call("explain", "192.0.2.1", "192.0.2.9", "--protocol", "tcp", "--destination-port", "22")
    assert code == 0
    assert daemon.asked[-1].document == {
        "source": "192.0.2.1", "destination": "192.0.2.9", "protocol": "tcp", "destination_port": 22,
    }  # fmt: skip
    assert out.startswith("drop: rule block matches")
    assert "192.0.2.0/24" in out
    assert json.loads(call("explain", "192.0.2.1", "--json")[1])["rule"] == "block"


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    path = tmp_path / "some.pcap"
    path.write_bytes(b"capture")
    return path


def test_replay_sums_up(call: Call, daemon: Canned, capture: Path) -> None:
    totals = {
        "packets": 3, "passed": 1, "dropped": 2, "monitored": 0, "skipped": 0, "distinct_sources": 1,
        "reasons": {"rule:block": 2, "default": 1},
        "sources": [{"address": "192.0.2.1", "passed": 1, "dropped": 2}],
    }  # fmt: skip
    daemon.tells["POST", "/replay"] = Told(document=totals)
    code, out, _ = call("replay", str(capture), "--interface", "eth0")
    assert code == 0 and out.startswith("3 packets: 1 pass, 2 drop")
    assert daemon.asked[-1].query["interface"] == "eth0"


def test_a_file_that_is_not_there_is_a_usage_error(call: Call, daemon: Canned) -> None:
    assert call("replay", "/nowhere/x.pcap")[0] == 2
