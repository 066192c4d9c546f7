# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest

from tests.canned import Canned, Told, problem
from tests.unit.cli.given import WRITTEN, Call, stdin

BLOCK = ("PATCH", "/sets/block/entries")


def test_block_is_one_patch(call: Call, daemon: Canned) -> None:
    daemon.tells[BLOCK] = Told(document=WRITTEN)
    code, out, err = call("block", "198.51.100.7")
    assert (code, err) == (0, "")
    assert out == "198.51.100.7: added 1 (block has 12, revision 7)\n"
    (asked,) = daemon.asked
    assert (asked.query, asked.document) == ({}, {"add": ["198.51.100.7"]})
    assert asked.headers["Content-Type"] == "application/json"


def test_several_prefixes_with_all_that_can_be_said_are_one_change(
    call: Call, daemon: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin(monkeypatch, "2001:db8::/32 # from a list\n")
    daemon.tells["PATCH", "/sets/allow/entries"] = Told(document=WRITTEN | {"effective": "pass"})
    said = ["--for", "1h", "--comment", "ü", "--origin", "me"]
    assert call("allow", "192.0.2.1", "-", *said, "--force", "--exactly")[0] == 0
    (asked,) = daemon.asked
    assert asked.query == {"force": "true", "ttl_policy": "set"}
    common = {"ttl": 3600, "comment": "ü", "origin": "me"}
    assert asked.document == {"add": [{"prefix": "192.0.2.1", **common}, {"prefix": "2001:db8::/32", **common}]}


def test_unblock_removes(call: Call, daemon: Canned) -> None:
    daemon.tells[BLOCK] = Told(document=WRITTEN | {"added": 0, "removed": 1, "effective": "pass"})
    code, out, err = call("unblock", "192.0.2.1", "--origin", "a", "--ignore-missing")
    assert (code, err) == (0, "")
    assert "removed 1" in out
    assert daemon.asked[0].document == {"remove": ["192.0.2.1"]}
    assert daemon.asked[0].query == {"origin": "a", "ignore_missing": "true"}


def test_unallow_writes_the_set_allow(call: Call, daemon: Canned) -> None:
    daemon.tells["PATCH", "/sets/allow/entries"] = Told(document=WRITTEN | {"added": 0, "removed": 1})
    assert call("unallow", "192.0.2.1")[0] == 0


def test_unban_lifts_bans(call: Call, daemon: Canned) -> None:
    told = WRITTEN | {"added": 0, "removed": 2, "effective": "conditional"}
    daemon.tells["PATCH", "/sets/banned/entries"] = Told(document=told)
    code, out, err = call("unban", "192.0.2.1", "2001:db8::/64")
    assert (code, err) == (0, "") and "removed 2" in out
    assert daemon.asked[0].document == {"remove": ["192.0.2.1", "2001:db8::/64"]}


@pytest.mark.parametrize(
    ("verb", "effective", "warned"),
    [
        ("block", "drop", False), ("block", "pass", True), ("block", "mixed", True), ("block", "conditional", True),
        ("allow", "pass", False), ("allow", "drop", True), ("unblock", "pass", False), ("unblock", "drop", True),
        ("unallow", "drop", False),
    ],
)  # fmt: skip
def test_what_has_not_the_effect_asked_for_is_warned_of(
    call: Call, daemon: Canned, verb: str, effective: str, warned: bool
) -> None:
    name = verb.removeprefix("un")
    daemon.tells["PATCH", f"/sets/{name}/entries"] = Told(
        document=WRITTEN | {"effective": effective, "because": "that is why"}
    )
    for json_too in ([], ["--json"]):
        code, out, err = call(verb, "192.0.2.1", *json_too)
        assert code == 0
        assert ("that is why" in err) == warned
        assert "that is why" not in out or json_too


def test_a_dry_run_is_10_if_it_would_change_something(call: Call, daemon: Canned) -> None:
    daemon.tells[BLOCK] = lambda asked: Told(document=WRITTEN | {"dry_run": True})
    code, out, _ = call("block", "192.0.2.1", "--dry-run")
    assert code == 10
    assert "would be added 1" in out
    assert daemon.asked[0].query == {"dry_run": "true"}
    daemon.tells[BLOCK] = Told(document=WRITTEN | {"dry_run": True, "changed": False, "added": 0})
    assert call("block", "192.0.2.1", "--dry-run")[0] == 0


def test_faults_are_told_where_they_were_typed(call: Call, daemon: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, "\n192.0.2.1/8\n")
    faults = [{"pointer": "/add/1", "detail": "did you mean 192.0.0.0/8?"}]
    daemon.tells[BLOCK] = problem(422, "1 fault", errors=faults)
    code, out, err = call("block", "192.0.2.9", "-")
    assert (code, out) == (2, "")
    assert "line 2: did you mean 192.0.0.0/8?" in err


def test_a_guard_names_force_and_another_conflict_does_not(call: Call, daemon: Canned) -> None:
    daemon.tells[BLOCK] = problem(409, "this is everybody", kind="guarded")
    code, _, err = call("block", "0.0.0.0/0")
    assert code == 4
    assert "--force" in err
    daemon.tells[BLOCK] = problem(409, "something else", kind="conflict")
    assert "--force" not in call("block", "192.0.2.0/24")[2]


def test_json_is_the_answer_itself(call: Call, daemon: Canned) -> None:
    daemon.tells[BLOCK] = Told(document=WRITTEN)
    assert json.loads(call("block", "192.0.2.1", "--json")[1]) == WRITTEN
