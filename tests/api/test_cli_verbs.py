# SPDX-License-Identifier: Apache-2.0
"""The command line against the API it is made for."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cli import lists
from cli.main import main
from tests.api.conftest import LAN, WAN, Api


class Shell:
    """Calls of `xdpfw` against the API under test."""

    def __init__(self, api: Api, capsys: pytest.CaptureFixture[str]) -> None:
        self.api = api
        self.capsys = capsys

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        code = main([*argv, "--socket", str(self.api.host.socket)])
        out, err = self.capsys.readouterr()
        return code, out, err

    def document(self, *argv: str, code: int = 0) -> Any:
        """The one document of --json."""
        got, out, err = self(*argv, "--json")
        assert got == code, err
        return json.loads(out)


@pytest.fixture
def xdpfw(api: Api, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(api, capsys)


@pytest.fixture
def attached(xdpfw: Shell) -> Shell:
    assert xdpfw("attach", LAN)[0] == 0
    return xdpfw


def test_a_range_is_blocked_shown_and_released(attached: Shell) -> None:
    code, out, err = attached("block", "198.51.100.0/24", "2001:db8::/32", "--for", "1h", "--comment", "c")
    assert (code, err) == (0, "")
    assert "added 2, for 1 h" in out

    code, out, _ = attached("show", "198.51.100.7")
    assert code == 0
    assert out.startswith("198.51.100.7 is dropped: ")
    assert "198.51.100.0/24" in out
    document = attached.document("show", "2001:db8::1")
    assert (document["verdict"], document["matches"][0]["comment"]) == ("drop", "c")

    assert attached.document("list", "block")["total"] == 2
    assert attached("unblock", "198.51.100.0/24", "2001:db8::/32")[0] == 0
    assert attached.document("show", "198.51.100.7")["verdict"] == "pass"
    assert attached("unblock", "198.51.100.0/24")[0] == 3
    assert attached("unblock", "198.51.100.0/24", "--ignore-missing")[0] == 0


def test_one_bad_prefix_and_nothing_is_changed(attached: Shell) -> None:
    with attached.api.nothing_changes():
        code, out, err = attached("block", "192.0.2.1", "192.0.2.1/8", "banana")
    assert (code, out) == (2, "")
    assert "'192.0.2.1/8' has host bits set; did you mean 192.0.0.0/8?" in err
    assert "'banana'" in err


def test_what_does_not_drop_is_warned_of(xdpfw: Shell) -> None:
    code, _, err = xdpfw("block", "198.51.100.0/24")
    assert code == 0
    assert "still pass" in err  # nothing is attached
    assert xdpfw("attach", LAN)[0] == 0
    assert xdpfw("block", "198.51.100.0/24")[2] == ""
    assert xdpfw("allow", "198.51.0.0/16")[2] == ""
    _, _, err = xdpfw("block", "198.51.100.7")
    assert "198.51.0.0/16" in err


def test_a_longer_time_stays_unless_exactly_is_said(attached: Shell) -> None:
    attached("block", "192.0.2.1", "--for", "2h")
    attached("block", "192.0.2.1", "--for", "1h")
    (entry,) = attached.document("list", "block")["items"]
    assert 3600 < entry["ttl"] <= 7200
    attached("block", "192.0.2.1", "--for", "1h", "--exactly")
    (entry,) = attached.document("list", "block")["items"]
    assert 0 < entry["ttl"] <= 3600


def test_each_origin_has_its_own_claim(attached: Shell) -> None:
    attached("block", "192.0.2.1", "--origin", "a")
    attached("block", "192.0.2.1", "--origin", "b")
    assert attached("unblock", "192.0.2.1", "--origin", "c")[0] == 3
    assert attached("unblock", "192.0.2.1", "--origin", "a")[0] == 0
    assert [e["origin"] for e in attached.document("list", "block", "--origin", "b")["items"]] == ["b"]
    assert attached.document("show", "192.0.2.1")["verdict"] == "drop"


def test_a_dry_run_changes_nothing_and_tells(attached: Shell) -> None:
    attached("block", "192.0.2.1")
    with attached.api.nothing_changes():
        assert attached("block", "192.0.2.2", "--dry-run")[0] == 10
        assert attached("block", "192.0.2.1", "--dry-run")[0] == 0
        assert attached("unblock", "192.0.2.1", "--dry-run")[0] == 10
        assert attached("set", "create", "x", "--dry-run")[0] == 10
        assert attached("policy", "mode", "monitor", "--dry-run")[0] == 10
        assert attached("detach", LAN, "--dry-run")[0] == 10
        assert attached("detach", "--all", "--dry-run")[0] == 10
        assert attached("attach", LAN, "--dry-run")[0] == 0


def test_a_guard_is_4_and_force_is_the_way_past_it(attached: Shell) -> None:
    with attached.api.nothing_changes():
        code, _, err = attached("block", "::/0")
    assert code == 4
    assert "--force" in err
    assert attached("block", "::/0", "--force")[0] == 0


def test_interfaces(xdpfw: Shell) -> None:
    assert xdpfw("attach", "nosuch0")[0] == 3
    code, out, _ = xdpfw("attach", LAN, "--mode", "generic")
    assert (code, out) == (0, f"{LAN}: attached in generic mode\n")
    code, _, err = xdpfw("attach", LAN, "--mode", "native")
    assert code == 4
    assert "--force" in err
    assert xdpfw("attach", WAN)[0] == 0
    assert set(xdpfw.document("detach", "--all")["detached"]) == {LAN, WAN}
    assert xdpfw("detach", LAN)[0] == 3
    assert xdpfw("detach", "--all")[:2] == (0, "nothing is attached\n")


@pytest.mark.parametrize(
    "argv", [["status"], ["counters"], ["counters", LAN], ["top"], ["top", LAN, "--once"], ["policy"], ["list"]]
)
def test_pages_and_documents(attached: Shell, argv: list[str]) -> None:
    code, out, err = attached(*argv)
    assert (code, err) == (0, "")
    assert out
    assert isinstance(attached.document(*argv), dict)


def test_status_names_what_matters(attached: Shell) -> None:
    attached("block", "192.0.2.0/24")
    attached("policy", "mode", "monitor")
    _, out, _ = attached("status")
    assert LAN in out
    assert "nothing is dropped" in out
    assert "block 1" in out


def test_sets(attached: Shell) -> None:
    assert attached("set", "create", "partners", "--comment", "a")[:2] == (0, "set partners: created\n")
    assert attached("set", "create", "partners", "--comment", "a")[:2] == (0, "set partners: there already\n")
    assert attached("set", "describe", "partners", "b")[:2] == (0, "set partners: described\n")
    assert attached("set", "describe", "absent", "b")[0] == 3
    assert {item["name"]: item["comment"] for item in attached.document("list")["items"]}["partners"] == "b"
    assert attached("set", "delete", "partners")[0] == 0
    assert attached("set", "delete", "partners")[0] == 3
    assert attached("set", "delete", "block")[0] == 4
    assert attached("set", "create", "No Name")[0] == 2
    assert attached("list", "partners")[0] == 3


def test_tokens(xdpfw: Shell) -> None:
    code, secret, _ = xdpfw("token", "create", "grafana")
    assert code == 0
    with xdpfw.api.tcp(secret.strip()) as client:
        assert client.get("policy").status_code == 200
    (token,) = xdpfw.document("token", "list")["items"]
    assert (token["name"], token["role"]) == ("grafana", "read")
    assert xdpfw("token", "revoke", token["id"])[0] == 0
    assert xdpfw("token", "revoke", token["id"])[0] == 3
    assert xdpfw("token", "create", "visitor", "--for", "1h", "--source", "192.0.2.0/24")[0] == 0
    (token,) = xdpfw.document("token", "list")["items"]
    assert (token["sources"], token["expires_at"] is None) == (["192.0.2.0/24"], False)
    assert "192.0.2.0/24" in xdpfw("token", "list")[1]


def test_over_tcp_a_token_is_needed(xdpfw: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = xdpfw("token", "create", "x")[1].strip()
    url = f"http://127.0.0.1:{xdpfw.api.host.port}"
    monkeypatch.delenv("XDPFW_TOKEN", raising=False)
    assert main(["policy", "--url", url]) == 6
    assert "XDPFW_TOKEN" in xdpfw.capsys.readouterr().err
    monkeypatch.setenv("XDPFW_TOKEN", secret)
    assert main(["policy", "--url", url]) == 0


# whole lists


def write(path: Path, lines: list[str]) -> str:
    path.write_text("".join(line + "\n" for line in lines))
    return str(path)


def test_import_adds_and_export_gives_it_back(attached: Shell, tmp_path: Path) -> None:
    attached("block", "203.0.113.0/24")
    prefixes = ["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32"]
    file = write(tmp_path / "list", ["# mine", *prefixes, prefixes[0]])
    document = attached.document("import", "block", file, "--comment", "c")
    assert (document["added"], document["total"]) == (3, 4)
    assert sorted(attached("export", "block")[1].split()) == sorted([*prefixes, "203.0.113.0/24"])


def test_a_broken_list_changes_nothing(attached: Shell, tmp_path: Path) -> None:
    file = write(tmp_path / "list", ["192.0.2.1", "192.0.2.1/33", "x"])
    for mode in ([], ["--replace"]):
        with attached.api.nothing_changes():
            code, _, err = attached("import", "block", file, *mode)
        assert code == 2
        assert "line 2: " in err
        assert "line 3: " in err
    for mode in ([], ["--replace"]):
        document = attached.document("import", "block", file, "--skip-invalid", *mode)
        assert [each["pointer"] for each in document["skipped"]] == ["line 2", "line 3"]
    assert attached("export", "block")[1] == "192.0.2.1/32\n"


def test_a_list_that_needs_several_bodies(attached: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "BODY_BYTES", 2000)
    prefixes = [f"10.0.{n}.0/24" for n in range(250)]
    document = attached.document("import", "block", write(tmp_path / "list", prefixes), "--for", "1h")
    assert (document["added"], document["total"]) == (250, 250)
    bad = write(tmp_path / "bad", [*(f"10.1.{n}.0/24" for n in range(250)), "10.2.3.4/8"])
    with attached.api.nothing_changes():
        code, _, err = attached("import", "block", bad)
    assert code == 2
    assert "line 251: " in err


def test_replace_takes_the_place_of_one_origins_claims(attached: Shell, tmp_path: Path) -> None:
    attached("block", "203.0.113.1")
    first = write(tmp_path / "1", ["192.0.2.1", "192.0.2.2", "192.0.2.3"])
    second = write(tmp_path / "2", ["192.0.2.2", "192.0.2.3", "192.0.2.4"])
    assert attached("import", "block", first, "--replace", "--origin", "feed")[0] == 0
    document = attached.document("import", "block", second, "--replace", "--origin", "feed")
    assert (document["added"], document["removed"], document["kept"]) == (1, 1, 2)
    assert attached("export", "block", "--origin", "feed")[1].split() == [f"192.0.2.{n}/32" for n in (2, 3, 4)]
    assert attached.document("list", "block")["total"] == 4


def test_replace_by_nothing_is_guarded(attached: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attached("block", "203.0.113.1")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"# a feed that failed\n")))
    with attached.api.nothing_changes():
        assert attached("import", "block", "-", "--replace")[0] == 4
    assert attached("import", "block", write(tmp_path / "empty", []), "--replace", "--force")[0] == 0
    assert attached.document("list", "block")["total"] == 0


def test_a_copy_by_ndjson_keeps_everything(attached: Shell, tmp_path: Path) -> None:
    attached("block", "192.0.2.1", "--for", "2h", "--comment", "ü", "--origin", "a")
    attached("block", "192.0.2.1", "--origin", "b")
    attached("block", "2001:db8::/32")
    copy = tmp_path / "copy.ndjson"
    copy.write_text(attached("export", "block", "--format", "ndjson")[1])
    kept = ("prefix", "origin", "comment", "expires_at")

    def state() -> list[dict[str, Any]]:
        """What the claims say, to the second."""
        found = []
        for entry in attached.document("list", "block")["items"]:
            for claim in entry["claims"] or [entry]:
                found.append({name: {**entry, **claim}[name] for name in kept})
        return [each | {"expires_at": (each["expires_at"] or "")[:19]} for each in found]

    before = state()
    assert len(before) == 3
    attached("unblock", "192.0.2.1", "2001:db8::/32")
    assert state() == []
    assert attached("import", "block", str(copy))[0] == 0
    assert state() == before


def test_list_pages_through_everything(attached: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.verbs.sets._PAGE", 7)
    prefixes = [f"10.0.{n}.0/24" for n in range(50)]
    attached("import", "block", write(tmp_path / "list", prefixes))
    document = attached.document("list", "block")
    assert [item["prefix"] for item in document["items"]] == prefixes
    assert len(attached("list", "block", "--limit", "20")[1].splitlines()) == 21
    within = attached.document("list", "block", "--within", "10.0.16.0/20")
    assert [item["prefix"] for item in within["items"]] == prefixes[16:32]
