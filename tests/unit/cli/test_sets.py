# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from collections.abc import Callable

from tests.canned import Asked, Canned, Told, problem
from tests.unit.cli.given import Call, entry

BLOCK = ("PATCH", "/sets/block/entries")


def paged(prefixes: list[str]) -> Callable[[Asked], Told]:
    def tell(asked: Asked) -> Told:
        first = int(asked.query.get("cursor", 0))
        last = min(first + min(int(asked.query["limit"]), 2), len(prefixes))
        items = [entry(prefix) for prefix in prefixes[first:last]]
        following = str(last) if last < len(prefixes) else None
        return Told(document={"items": items, "next": following, "total": len(prefixes)})

    return tell


def test_list_goes_through_all_pages(call: Call, daemon: Canned) -> None:
    prefixes = [f"192.0.2.{n}/32" for n in range(5)]
    daemon.tells["GET", "/sets/block/entries"] = paged(prefixes)
    code, out, _ = call("list", "block", "--within", "192.0.2.0/24", "--origin", "o")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["prefix", *prefixes]
    assert len(daemon.asked) == 3
    assert all(asked.query["within"] == "192.0.2.0/24" and asked.query["origin"] == "o" for asked in daemon.asked)


def test_list_json_is_one_document(call: Call, daemon: Canned) -> None:
    prefixes = [f"192.0.2.{n}/32" for n in range(5)]
    daemon.tells["GET", "/sets/block/entries"] = paged(prefixes)
    document = json.loads(call("list", "block", "--json")[1])
    assert (document["set"], document["total"], document["next"]) == ("block", 5, None)
    assert [item["prefix"] for item in document["items"]] == prefixes
    daemon.tells["GET", "/sets/block/entries"] = paged([])
    assert json.loads(call("list", "block", "--json")[1])["items"] == []


def test_list_stops_at_the_limit_and_says_so(call: Call, daemon: Canned) -> None:
    daemon.tells["GET", "/sets/block/entries"] = paged([f"192.0.2.{n}/32" for n in range(5)])
    _, out, err = call("list", "block", "--limit", "3")
    assert len(out.splitlines()) == 4
    assert "3 of 5 shown" in err
    assert json.loads(call("list", "block", "--limit", "3", "--json")[1])["next"] == "3"


def test_a_set_that_is_absent_is_3_and_prints_no_half_document(call: Call, daemon: Canned) -> None:
    daemon.tells["GET", "/sets/x/entries"] = problem(404, "no set x")
    assert call("list", "x", "--json")[:2] == (3, "")


def test_list_shows_the_sets(call: Call, daemon: Canned) -> None:
    item = {"name": "block", "comment": "c", "entries": 1_000_000, "entries4": 999_999, "entries6": 1,
            "packets": 12_345, "bytes": 1_000_000}  # fmt: skip
    daemon.tells["GET", "/sets"] = Told(document={"items": [item], "next": None, "total": 1})
    _, out, _ = call("list")
    assert out.splitlines()[1] == "block  1,000,000  999,999     1   12.3 k  1.00 MB  c"


def test_describing_a_set_uses_its_etag_and_never_makes_one(call: Call, daemon: Canned) -> None:
    assert call("set", "describe", "x", "text")[0] == 3
    daemon.tells["GET", "/sets/x"] = Told(document={}, headers={"ETag": '"5"'})
    daemon.tells["PUT", "/sets/x"] = Told(document={"revision": 2, "changed": True})
    assert call("set", "describe", "x", "text")[0] == 0
    assert daemon.asked[-1].headers["If-Match"] == '"5"'
    assert daemon.asked[-1].document == {"comment": "text"}


def test_a_deletion_without_a_body_is_a_change(call: Call, daemon: Canned) -> None:
    daemon.tells["DELETE", "/sets/x"] = Told(204, headers={"X-Revision": "9"})
    code, out, _ = call("set", "delete", "x", "--json")
    assert (code, json.loads(out)) == (0, {"revision": 9, "changed": True})


def test_detach_all_names_what_it_detached(call: Call, daemon: Canned) -> None:
    items = [
        {"name": "a", "desired": "auto", "state": "attached"},
        {"name": "b", "desired": None, "state": "detached"},
        {"name": "c", "desired": "native", "state": "absent"},
    ]
    daemon.tells["GET", "/interfaces"] = Told(document={"items": items, "next": None, "total": 3})
    for name in "ac":
        daemon.tells["DELETE", f"/interfaces/{name}"] = Told(204, headers={"X-Revision": "9"})
    code, out, _ = call("detach", "--all")
    assert (code, out) == (0, "a: detached\nc: detached\n")
    daemon.tells["DELETE", "/interfaces/a"] = problem(503, "the kernel refuses")
    code, out, err = call("detach", "--all")
    assert (code, out) == (5, "c: detached\n")
    assert "the kernel refuses" in err


def test_attach_warns_of_generic_mode(call: Call, daemon: Canned) -> None:
    answer = {"name": "a", "state": "attached", "mode": "generic", "warning": "slow", "revision": 1, "changed": True}
    daemon.tells["PUT", "/interfaces/a"] = Told(document=answer)
    code, out, err = call("attach", "a")
    assert (code, out) == (0, "a: attached in generic mode\n")
    assert "slow" in err
    assert daemon.asked[0].document == {"mode": "auto"}
