# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.canned import Canned, Told
from tests.unit.cli.given import Call
from xdpfw.kernel import doctor
from xdpfw.kernel.port import Check

READY = {"ready": True, "problems": [], "version": "1", "revision": 5}


def machine(monkeypatch: pytest.MonkeyPatch, *checks: Check) -> None:
    monkeypatch.setattr(doctor, "checks", lambda: list(checks))


def test_a_fit_machine_is_0_with_and_without_a_daemon(
    call: Call, daemon: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, Check("jit", True, "on"))
    daemon.tells["GET", "/status"] = Told(document=READY)
    code, out, err = call("doctor")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["ok    jit: on", "ok    daemon: 1 answers, revision 5"]
    code, out, _ = call("doctor", "--socket", "/absent")
    assert code == 0
    assert "none  daemon: no daemon answers" in out
    assert "goes on filtering" in out


def test_what_fails_comes_with_its_meaning_and_its_mend(
    call: Call, daemon: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, Check("jit", False, "off", "slow", "sysctl net.core.bpf_jit_enable=1"))
    code, out, _ = call("doctor", "--socket", "/absent")
    assert code == 1
    assert out.splitlines()[:3] == ["FAIL  jit: off", "      slow", "      mend: sysctl net.core.bpf_jit_enable=1"]
    document = json.loads(call("doctor", "--socket", "/absent", "--json")[1])
    assert (document["ok"], document["items"][0]["mend"]) == (False, "sysctl net.core.bpf_jit_enable=1")
    assert document["daemon"]["ok"] is None


def test_a_daemon_that_cannot_enforce_is_1(call: Call, daemon: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, Check("jit", True, "on"))
    daemon.tells["GET", "/status"] = Told(document=READY | {"ready": False, "problems": ["the store is read-only"]})
    code, out, _ = call("doctor")
    assert code == 1
    assert "FAIL  daemon: the store is read-only" in out


DIFFERS = {
    "ok": False,
    "deviations": [{"table": "trie4", "places": 3, "details": ["203.0.113.0/24 is missing"]}],
    "prefixes": 5,
    "seconds": 0.1,
}
SAME = DIFFERS | {"ok": True, "deviations": []}


def test_verify_says_what_differs_and_ends_with_10(call: Call, daemon: Canned) -> None:
    daemon.tells["GET", "/verification"] = Told(document=SAME)
    assert call("doctor", "--verify") == (0, "nothing differs: 5 prefixes and all rules, 0.1 s\n", "")
    daemon.tells["GET", "/verification"] = Told(document=DIFFERS)
    code, out, _ = call("doctor", "--verify")
    assert (code, out.splitlines()) == (10, ["DIFFERS  trie4: 203.0.113.0/24 is missing", "DIFFERS  trie4: and 2 more"])
    assert json.loads(call("doctor", "--verify", "--json")[1]) == DIFFERS


def test_where_no_daemon_answers_and_there_is_no_database_it_is_3(call: Call, daemon: Canned, tmp_path: Path) -> None:
    code, _, err = call("doctor", "--verify", "--socket", "/absent", "--state-dir", str(tmp_path))
    assert code == 3
    assert f"there is no database {tmp_path}/" in err and "systemctl status xdpfw" in err


def test_a_daemon_that_is_busy_or_elsewhere_is_not_gone_past(call: Call, daemon: Canned, tmp_path: Path) -> None:
    daemon.tells["GET", "/verification"] = Told(503, document={"detail": "starting", "status": 503})
    for where in ((), ("--url", "http://127.0.0.1:1")):
        code, _, err = call("doctor", "--verify", *where, "--state-dir", str(tmp_path))
        assert code == 5
        assert "database" not in err


def test_repairing_without_a_daemon_says_what_does_it(call: Call, daemon: Canned) -> None:
    code, _, err = call("doctor", "--repair", "--socket", "/absent")
    assert code == 5
    assert "starting one does it" in err


def test_repair_tells_what_was_mended_and_fails_if_it_could_not_be(call: Call, daemon: Canned) -> None:
    daemon.tells["POST", "/verification"] = Told(document=DIFFERS)
    daemon.tells["GET", "/verification"] = Told(document=SAME)
    code, out, _ = call("doctor", "--repair")
    assert code == 0
    assert out.splitlines()[-1] == "it was written again, and nothing differs now"
    daemon.tells["GET", "/verification"] = Told(document=DIFFERS)
    code, _, err = call("doctor", "--repair")
    assert code == 1
    assert "not all of it could be mended" in err
