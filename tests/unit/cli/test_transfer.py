# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from cli import lists
from cli.main import main
from cli.verbs import transfer
from tests.canned import Asked, Canned, Told, problem
from tests.unit.cli.given import WRITTEN, Call, stdin

BLOCK = ("PATCH", "/sets/block/entries")


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    file = tmp_path / "feed.txt"
    file.write_text("192.0.2.1\n; comment\n2001:db8::/32\n")
    return file


def test_import_adds_in_one_patch(call: Call, daemon: Canned, feed: Path) -> None:
    daemon.tells[BLOCK] = Told(document=WRITTEN | {"added": 2})
    code, out, _ = call("import", "block", str(feed))
    assert (code, out) == (0, "block: added 2 (12 entries, revision 7)\n")
    (asked,) = daemon.asked
    assert asked.document == {"add": ["192.0.2.1", "2001:db8::/32"]}


def test_import_names_the_lines_that_are_wrong(call: Call, daemon: Canned, feed: Path) -> None:
    daemon.tells[BLOCK] = problem(422, "1 fault", errors=[{"pointer": "/add/1/prefix", "detail": "is odd"}])
    code, _, err = call("import", "block", str(feed))
    assert code == 2
    assert "line 3: is odd" in err
    assert "--skip-invalid" in err


def test_a_large_import_is_rehearsed_before_it_changes_anything(
    call: Call, daemon: Canned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "BODY_BYTES", 40)
    file = tmp_path / "feed"
    file.write_text("".join(f"192.0.2.{n}\n" for n in range(8)))

    def tell(asked: Asked) -> Told:
        if "192.0.2.7" in asked.document["add"] and asked.query.get("dry_run"):
            return problem(422, "no", errors=[{"pointer": "/add/1", "detail": "is odd"}])
        return Told(document=WRITTEN)

    daemon.tells[BLOCK] = tell
    code, _, err = call("import", "block", str(file))
    assert code == 2
    assert "line 8: is odd" in err
    assert all(asked.query == {"dry_run": "true"} for asked in daemon.asked)

    daemon.tells[BLOCK] = lambda asked: Told(document=WRITTEN | {"added": len(asked.document["add"])})
    daemon.asked.clear()
    code, out, _ = call("import", "block", str(file), "--json")
    assert json.loads(out)["added"] == 8
    written = [asked for asked in daemon.asked if not asked.query]
    assert [p for asked in written for p in asked.document["add"]] == [f"192.0.2.{n}" for n in range(8)]
    assert len(daemon.asked) == 2 * len(written) > 2


def test_the_first_list_of_an_origin_goes_in_by_one_put(
    call: Call, daemon: Canned, feed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "_LONG_BYTES", 10)
    entries = "/sets/block/entries"
    daemon.tells["GET", entries] = Told(document={"items": [], "next": None, "total": 0}, headers={"ETag": '"8"'})
    daemon.tells["PUT", entries] = Told(document=WRITTEN)
    assert call("import", "block", str(feed))[0] == 0
    looked, put = daemon.asked
    assert looked.query == {"origin": "manual", "limit": "1"}
    assert (put.method, put.query, put.headers["If-Match"]) == ("PUT", {"origin": "manual"}, '"8"')
    assert put.body == feed.read_bytes()

    # Somebody else is quicker: then it is added to what is there.
    daemon.tells["PUT", entries] = problem(412, "it has changed")
    daemon.tells["PATCH", entries] = Told(document=WRITTEN)
    assert call("import", "block", str(feed))[0] == 0
    assert daemon.asked[-1].document == {"add": ["192.0.2.1", "2001:db8::/32"]}

    daemon.asked.clear()
    daemon.tells["GET", entries] = Told(document={"items": [], "next": "x", "total": 1}, headers={"ETag": '"8"'})
    assert call("import", "block", str(feed), "--origin", "o")[0] == 0
    assert [asked.method for asked in daemon.asked] == ["GET", "PATCH"]


def test_replace_is_one_put_of_the_file_as_it_is(call: Call, daemon: Canned, feed: Path) -> None:
    daemon.tells["PUT", "/sets/block/entries"] = Told(document=WRITTEN | {"removed": 3, "kept": 4})
    argv = ["--replace", "--origin", "feed", "--for", "1d", "--comment", "c", "--skip-invalid"]
    code, out, _ = call("import", "block", str(feed), *argv)
    assert (code, out) == (0, "block: added 1, removed 3, kept 4, for 1 d (12 entries, revision 7)\n")
    (asked,) = daemon.asked
    assert asked.body == feed.read_bytes()
    assert asked.headers["Content-Type"] == "text/plain"
    assert asked.headers["Content-Length"] == str(feed.stat().st_size)
    assert asked.query == {"origin": "feed", "ttl": "86400", "comment": "c", "skip_invalid": "true"}


def test_replace_from_standard_input_is_sent_as_it_comes(
    call: Call, daemon: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "192.0.2.1\n" * 100_000
    stdin(monkeypatch, text)
    daemon.tells["PUT", "/sets/block/entries"] = Told(document=WRITTEN)
    assert call("import", "block", "-", "--replace")[0] == 0
    assert daemon.asked[0].body == text.encode()
    assert daemon.asked[0].headers["Transfer-Encoding"] == "chunked"


def test_what_was_skipped_is_told(call: Call, daemon: Canned, feed: Path) -> None:
    skipped = [{"pointer": "line 2", "detail": "is odd"}]
    daemon.tells["PUT", "/sets/block/entries"] = Told(document=WRITTEN | {"skipped": skipped})
    _, out, err = call("import", "block", str(feed), "--replace", "--skip-invalid", "--json")
    assert json.loads(out)["skipped"] == skipped
    assert "line 2: is odd" in err


def test_import_skips_what_is_no_prefix_when_told_to(call: Call, daemon: Canned, tmp_path: Path) -> None:
    file = tmp_path / "feed"
    file.write_text("192.0.2.1\nbanana\n10.0.0.1/8\n")
    daemon.tells[BLOCK] = Told(document=WRITTEN)
    _, out, _ = call("import", "block", str(file), "--skip-invalid", "--json")
    assert daemon.asked[0].document == {"add": ["192.0.2.1"]}
    assert [each["pointer"] for each in json.loads(out)["skipped"]] == ["line 2", "line 3"]


def test_an_empty_import_changes_nothing(call: Call, daemon: Canned, tmp_path: Path) -> None:
    file = tmp_path / "feed"
    file.write_text("# nothing\n")
    code, _, err = call("import", "block", str(file))
    assert code == 1
    assert "holds no prefix" in err
    assert daemon.asked == []


def test_progress_is_told_when_asked_for(call: Call, daemon: Canned, feed: Path) -> None:
    asked_status = threading.Event()

    def status(_: Asked) -> Told:
        asked_status.set()
        return Told(document={"operation": {"kind": "import", "set": "block", "done": 5, "total": 10}})

    def slow(_: Asked) -> Told:
        assert asked_status.wait(10)
        return Told(document=WRITTEN)

    daemon.tells["GET", "/status"] = status
    daemon.tells["PUT", "/sets/block/entries"] = slow
    code, _, err = call("import", "block", str(feed), "--replace", "--progress")
    assert code == 0
    assert f"import block: sent {feed.stat().st_size} B of {feed.stat().st_size} B, 100 %" in err


def test_export_is_the_text_itself(daemon: Canned, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    daemon.tells["GET", "/sets/block/entries"] = Told(text=b"192.0.2.1/32\n")
    assert main(["export", "block", "--origin", "o"]) == 0
    assert capfdbinary.readouterr().out == b"192.0.2.1/32\n"
    assert daemon.asked[0].headers["Accept"] == "text/plain"
    assert daemon.asked[0].query == {"origin": "o"}


def test_an_export_that_is_cut_off_is_no_success(daemon: Canned) -> None:
    daemon.tells["GET", "/sets/block/entries"] = Told(text=b"192.0.2.1/32\n", cut=True)
    assert main(["export", "block"]) == 5
