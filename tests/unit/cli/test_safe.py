# SPDX-License-Identifier: Apache-2.0
"""Verbs that make changes safe: apply, config, confirm, rollback, panic, audit; and --confirm on all others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.canned import Canned, Told, problem
from tests.unit.cli.given import WRITTEN, Call

AUTHOR = {"actor": "uid:0", "label": "", "source": "unix", "pid": 7, "method": "PATCH", "path": "/policy",
          "request_id": "x"}  # fmt: skip
DIFFERENCES = [
    {"path": "policy", "before": {"default": "pass"}, "after": {"default": "drop"}},
    {"path": "rules/web", "before": None, "after": {"position": 1, "action": "drop", "comment": ""}},
    {"path": "sets/old", "before": {"comment": "x\x1b[31m"}, "after": None},
]
VIEW = {"revision": 9, "changed": True, "dry_run": False, "confirmation": None, "differences": DIFFERENCES, "more": 0,
        "warnings": []}  # fmt: skip
WAITING = {"id": "5f", "revision": 8, "made_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T00:01:00Z",
           "left": 42, "author": AUTHOR, "writes": ["policy"], "differences": DIFFERENCES[:1], "more": 3}  # fmt: skip
TOLD = Told(document={"revision": 9, "changed": True, "dry_run": False, "confirmation": None, "created": False})


@pytest.mark.parametrize(
    ("argv", "method", "path", "document"),
    [
        (("block", "192.0.2.1"), "PATCH", "/sets/block/entries", WRITTEN),
        (("unblock", "192.0.2.1"), "PATCH", "/sets/block/entries", WRITTEN),
        (("policy", "default", "drop"), "PATCH", "/policy", {"revision": 1, "changed": True}),
        (
            ("rules", "add", "x", "drop"),
            "PUT",
            "/rules/x",
            {
                "id": "x",
                "action": "drop",
                "match": {},
                "position": 1,
                "enabled": True,
                "comment": "",
                "mode": "enforce",
                "limit": None,
                "log": None,
                "packets": 0,
                "bytes": 0,
                "warning": None,
                "revision": 1,
                "changed": True,
            },
        ),
        (("rules", "remove", "x"), "DELETE", "/rules/x", {"revision": 1, "changed": True}),
        (("set", "create", "x"), "PUT", "/sets/x", {"revision": 1, "changed": True}),
        (("attach", "eth0"), "PUT", "/interfaces/eth0", {"revision": 1, "changed": True, "warning": None}),
        (("detach", "eth0"), "DELETE", "/interfaces/eth0", {"revision": 1, "changed": True}),
        (("panic", "--off"), "DELETE", "/panic", {"revision": 1, "changed": True}),
        (("rollback", "--to", "3"), "POST", "/rollback", VIEW),
    ],
)
def test_every_write_can_wait_for_confirmation(
    call: Call, daemon: Canned, argv: tuple[str, ...], method: str, path: str, document: Any
) -> None:
    daemon.tells[method, path] = Told(document=document, headers={"X-Confirmation": "5f"})
    code, _, err = call(*argv, "--confirm", "90s")
    assert code == 0
    assert daemon.asked[0].query["confirm_within"] == "90"
    assert "1 m 30 s" in err and "xdpfw confirm" in err and "xdpfw rollback" in err


def test_nothing_is_said_when_nothing_waits(call: Call, daemon: Canned) -> None:
    daemon.tells["PATCH", "/policy"] = Told(document={"revision": 1, "changed": False})
    assert call("policy", "default", "pass", "--confirm", "60")[2] == ""


def test_confirm_keeps_what_waits(call: Call, daemon: Canned) -> None:
    daemon.tells["GET", "/confirmations"] = Told(document={"items": [WAITING], "next": None, "total": 1})
    daemon.tells["POST", "/confirmations/5f"] = TOLD
    code, out, err = call("confirm")
    assert (code, err) == (0, "")
    assert "PATCH /policy of uid:0 (revision 8) stays" in out and "default pass → drop" in out and "3 more" in out
    assert json.loads(call("confirm", "--json")[1]) == TOLD.document
    assert call("confirm", "--dry-run")[0] == 10


def test_rollback_takes_it_back(call: Call, daemon: Canned) -> None:
    daemon.tells["GET", "/confirmations"] = Told(document={"items": [WAITING], "next": None, "total": 1})
    daemon.tells["DELETE", "/confirmations/5f"] = Told(204, headers={"X-Revision": "9"})
    code, out, _ = call("rollback")
    assert code == 0 and "is taken back" in out


@pytest.mark.parametrize("verb", ["confirm", "rollback"])
def test_nothing_waits(call: Call, daemon: Canned, verb: str) -> None:
    daemon.tells["GET", "/confirmations"] = Told(document={"items": [], "next": None, "total": 0})
    code, out, err = call(verb)
    assert (code, out) == (3, "") and "nothing waits" in err


def test_rollback_to_a_revision(call: Call, daemon: Canned) -> None:
    daemon.tells["POST", "/rollback"] = Told(document=VIEW)
    code, out, _ = call("rollback", "--to", "3", "--force")
    assert code == 0 and "the policy is that of revision 3" in out
    assert (daemon.asked[0].document, daemon.asked[0].query) == ({"revision": 3}, {"force": "true"})
    assert call("rollback", "--to", "3", "--dry-run")[0] == 10
    daemon.tells["POST", "/rollback"] = Told(document=VIEW | {"changed": False, "differences": []})
    code, out, _ = call("rollback", "--to", "3", "--dry-run")
    assert code == 0 and "nothing of revision 3" in out


def test_rollback_lists_revisions(call: Call, daemon: Canned) -> None:
    items = [
        {"revision": 7, "made_at": "2026-01-01T00:00:00Z", "author": AUTHOR, "whole": True},
        {"revision": 3, "made_at": None, "author": None, "whole": False},
    ]
    daemon.tells["GET", "/revisions"] = Told(document={"items": items, "next": None, "total": 2})
    out = call("rollback", "--list")[1].splitlines()
    assert "7" in out[1] and "PATCH /policy" in out[1]
    assert "before these" in out[2] and "without its lists" in out[2]
    assert json.loads(call("rollback", "--list", "--json")[1])["items"] == items


@pytest.mark.parametrize(
    "argv",
    [("rollback", "--to", "x"), ("rollback", "--to", "1", "--list"), ("rollback", "--confirm", "60"),
     ("panic", "--off", "--keep", "192.0.2.1"), ("apply",), ("apply", "/absent/file"), ("audit", "--limit", "0"),
     ("audit", "--outcome", "lost"), ("confirm", "--to", "1")],
)  # fmt: skip
def test_usage(call: Call, daemon: Canned, argv: tuple[str, ...]) -> None:
    code, out, err = call(*argv)
    assert (code, out) == (2, "") and err and daemon.asked == []


@pytest.mark.parametrize(("name", "kind"), [("a.yaml", "application/yaml"), ("a.json", "application/json")])
def test_apply_sends_the_file_and_shows_the_difference(
    call: Call, daemon: Canned, tmp_path: Path, name: str, kind: str
) -> None:
    file = tmp_path / name
    file.write_text("rules: []\n")
    daemon.tells["PUT", "/config"] = Told(document=VIEW | {"warnings": ["eth9 is not here"]})
    code, out, err = call("apply", str(file), "--confirm", "1m")
    assert code == 0 and "revision 9" in out and "eth9" in err
    assert "~ policy  default pass → drop" in out and "+ rules/web  position 1, action drop" in out
    assert "- sets/old  comment x\ufffd[31m" in out
    [asked] = daemon.asked
    assert (asked.body, asked.headers["Content-Type"], asked.query) == (b"rules: []\n", kind, {"confirm_within": "60"})
    assert json.loads(call("apply", str(file), "--json")[1])["differences"] == DIFFERENCES


def test_check_is_10_when_something_differs_and_0_when_not(call: Call, daemon: Canned, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("{}")
    daemon.tells["PUT", "/config"] = Told(document=VIEW | {"dry_run": True})
    assert call("apply", str(file), "--check")[0] == 10
    assert daemon.asked[0].query == {"dry_run": "true"}
    daemon.tells["PUT", "/config"] = Told(document=VIEW | {"changed": False, "differences": []})
    assert call("apply", str(file), "--check")[:2] == (0, "nothing would change\n")
    assert call("apply", str(file))[:2] == (0, "everything is as it should be already\n")


def test_faults_of_a_document_are_told_with_their_places(call: Call, daemon: Canned, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("{}")
    errors = [{"pointer": f"/rules/{n}/id", "detail": "is bad"} for n in range(30)]
    daemon.tells["PUT", "/config"] = problem(422, "the first of them", errors=errors)
    code, out, err = call("apply", str(file))
    assert (code, out) == (2, "")
    assert "30 faults" in err and "/rules/0/id: is bad" in err and "10 more" in err and "nothing was changed" in err


def test_config_is_the_document_itself(daemon: Canned, capsysbinary: Any) -> None:
    daemon.tells["GET", "/config"] = Told(text=b"policy: {}\n")
    from cli.main import main

    assert main(["config", "--entries", "allow,office"]) == 0
    assert capsysbinary.readouterr().out == b"policy: {}\n"
    assert (daemon.asked[0].query, daemon.asked[0].headers["Accept"]) == (
        {"entries": "allow,office"}, "application/yaml")  # fmt: skip


def test_panic_tells_who_is_let_through(call: Call, daemon: Canned) -> None:
    told = {"on": True, "since": "2026-01-01T00:00:00Z", "keep": ["192.0.2.0/24"], "revision": 3, "changed": True}
    daemon.tells["PUT", "/panic"] = Told(document=told)
    code, out, _ = call("panic", "--keep", "192.0.2.0/24", "2001:db8::/32", "--keep", "::1")
    assert code == 0 and "192.0.2.0/24" in out and "xdpfw panic --off" in out
    assert daemon.asked[0].document == {"keep": ["192.0.2.0/24", "2001:db8::/32", "::1"]}
    daemon.tells["DELETE", "/panic"] = Told(204, headers={"X-Revision": "4"})
    assert "over" in call("panic", "--off")[1]
    daemon.tells["PUT", "/panic"] = problem(409, "nobody", kind="guarded")
    code, _, err = call("panic")
    assert code == 4 and "--keep PREFIX" in err


def test_audit(call: Call, daemon: Canned) -> None:
    refused = {"id": 2, "at": "2026-01-01T00:00:00Z", "author": AUTHOR | {"label": "deploy", "actor": "token:5f",
               "source": "192.0.2.9", "pid": None, "path": "/sets/x\x1b[2J"}, "outcome": "refused", "status": 409,
               "revision": 3, "detail": "a guard", "differences": [], "more": 0}  # fmt: skip
    accepted = refused | {"id": 1, "author": AUTHOR, "outcome": "accepted", "detail": "", "differences": DIFFERENCES}
    daemon.tells["GET", "/audit"] = Told(document={"items": [refused, accepted], "next": None, "total": 2})
    code, out, _ = call("audit", "--resource", "sets/x", "--actor", "deploy", "--outcome", "refused", "--limit", "5")
    assert code == 0
    assert daemon.asked[0].query == {"limit": "5", "resource": "sets/x", "actor": "deploy", "outcome": "refused"}
    lines = out.splitlines()
    assert "refused 409" in lines[0] and "token:5f (deploy) from 192.0.2.9" in lines[0] and "\x1b" not in out
    assert lines[1] == "    a guard"
    assert "uid:0 from unix pid 7" in lines[2] and lines[3].startswith("    ~ policy")
    daemon.tells["GET", "/audit"] = Told(document={"items": [], "next": None, "total": 0})
    assert "nothing of that kind" in call("audit")[1]


def test_several_changes_cannot_wait_together(call: Call, daemon: Canned, tmp_path: Path) -> None:
    items = [{"name": name, "desired": "auto", "state": "attached"} for name in ("a", "b")]
    daemon.tells["GET", "/interfaces"] = Told(document={"items": items, "next": None, "total": 2})
    code, _, err = call("detach", "--all", "--confirm", "60")
    assert code == 2 and "one alone" in err and len(daemon.asked) == 1


def test_status_is_loud_about_panic(call: Call, daemon: Canned) -> None:
    from tests.unit.cli.test_pages import STATUS

    panic = {"on": True, "since": "2026-01-01T00:00:00Z", "keep": ["192.0.2.1/32"]}
    daemon.tells["GET", "/status"] = Told(document=STATUS | {"panic": panic})
    assert "PANIC      everything is dropped; let through: 192.0.2.1/32" in call("status")[1]
