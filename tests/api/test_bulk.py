# SPDX-License-Identifier: Apache-2.0
"""PUT of all entries: a set replaced at once."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.conftest import Api, problem
from tests.packets import ethernet, ip, udp

B = "sets/block/entries"
TEXT = {"Content-Type": "text/plain"}
LIST = """\ufeff# a list
192.0.2.0/24
198.51.100.7 ; a host\r
   203.0.113.0/24   # indented

;2001:db8:ffff::/48
2001:db8::/32
192.0.2.0/24
"""
LISTED = ["192.0.2.0/24", "198.51.100.7/32", "203.0.113.0/24", "2001:db8::/32"]


def counts(written: Any) -> tuple[int, int, int, int]:
    return written["added"], written["removed"], written["kept"], written["total"]


def test_text_with_comments_replaces_the_set(api: Api) -> None:
    assert counts(api.bulk("block", LIST)) == (4, 0, 0, 4)
    assert api.prefixes("block") == LISTED
    assert counts(api.bulk("block", "192.0.2.0/24\n2001:db8::/32\n10.0.0.0/8\n")) == (1, 2, 2, 3)
    assert api.prefixes("block") == ["10.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]
    assert api.get("sets/block") | {"packets": 0, "bytes": 0} == {
        "name": "block",
        "comment": "",
        "entries": 3,
        "entries4": 2,
        "entries6": 1,
        "packets": 0,
        "bytes": 0,
        "dynamic": False,
    }


def test_a_json_list_of_texts_and_objects(api: Api) -> None:
    body = ["192.0.2.0/24", {"prefix": "2001:db8::/32", "ttl": 60, "comment": "c"}]
    assert counts(api.bulk("block", json.dumps(body), "application/json")) == (2, 0, 0, 2)
    assert api.get(f"{B}/2001:db8::/32")["comment"] == "c"
    assert api.get(f"{B}/2001:db8::/32")["ttl"] <= 60
    assert api.get(f"{B}/192.0.2.0/24")["ttl"] is None


def test_ndjson_exports_load_again(api: Api) -> None:
    api.patch(B, {"add": ["192.0.2.0/24", {"prefix": "2001:db8::/32", "ttl": 3600, "comment": "c", "origin": "o"}]})
    before = api.get(f"{B}/2001:db8::/32")
    exported = api.client.get(B, headers={"Accept": "application/x-ndjson"}).content
    api.bulk("block", "", force=True)
    assert api.prefixes("block") == []
    assert api.bulk("block", exported, "application/x-ndjson")["total"] == 2
    after = api.get(f"{B}/2001:db8::/32")
    same = ("prefix", "comment", "origin", "expires_at")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_the_same_list_twice_changes_nothing(api: Api) -> None:
    api.bulk("block", LIST)
    with api.nothing_changes():
        written = api.bulk("block", LIST)
        assert (written["changed"], counts(written)) == (False, (0, 0, 4, 4))


def test_ttl_and_comment_apply_to_all(api: Api) -> None:
    api.bulk("block", LIST, ttl="1h", comment="weekly")
    for entry in api.get(B)["items"]:
        assert entry["comment"] == "weekly"
        assert 3590 <= entry["ttl"] <= 3600
    problem(api.client.put(B, content=LIST, headers=TEXT, params={"ttl": "1w"}), 422)


def test_with_an_origin_only_its_claims_are_replaced(api: Api) -> None:
    api.put(f"{B}/192.0.2.0/24")
    api.put(f"{B}/10.0.0.0/8")
    assert api.bulk("block", "192.0.2.0/24\n198.51.100.0/24\n", origin="feed")["total"] == 3
    assert len(api.get(f"{B}/192.0.2.0/24")["claims"]) == 2
    written = api.bulk("block", "203.0.113.0/24\n", origin="feed", force=True)
    assert written["total"] == 3
    assert api.prefixes("block") == ["10.0.0.0/8", "192.0.2.0/24", "203.0.113.0/24"]
    assert api.get(f"{B}/192.0.2.0/24")["claims"] is None
    assert api.get(f"{B}/203.0.113.0/24")["origin"] == "feed"


def test_bad_lines_refuse_everything_and_are_named(api: Api) -> None:
    api.put(f"{B}/192.0.2.9")
    with api.nothing_changes():
        document = problem(api.client.put(B, content="192.0.2.0/24\n\nx\n10.0.0.1/8\n", headers=TEXT), 422)
        assert [fault["pointer"] for fault in document["errors"]] == ["line 3", "line 4"]
        assert "10.0.0.0/8" in document["errors"][1]["detail"]


def test_only_the_first_hundred_bad_lines_are_listed(api: Api) -> None:
    with api.nothing_changes():
        document = problem(api.client.put(B, content="x\n" * 250, headers=TEXT), 422)
        assert [fault["pointer"] for fault in document["errors"]] == [f"line {n}" for n in range(1, 101)]


def test_skip_invalid_loads_the_rest_and_says_what_it_left_out(api: Api) -> None:
    written = api.bulk("block", "192.0.2.0/24\nx\n10.0.0.1/8\n2001:db8::/32\n", skip_invalid=True)
    assert written["total"] == 2
    assert [fault["pointer"] for fault in written["skipped"]] == ["line 2", "line 3"]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", '["192.0.2.1", 7]'),
        ("application/json", '[{"prefix": "192.0.2.1", "tll": 5}]'),
        ("application/json", '[{"ttl": 5}]'),
        ("application/json", '[{"prefix": "192.0.2.1", "comment": "\\ud800"}]'),
        ("application/json", '[{"prefix": "192.0.2.1", "comment": "two\\nlines"}]'),
        ("application/json", '[{"prefix": "192.0.2.1", "origin": "two words"}]'),
        ("application/json", '[{"prefix": "192.0.2.1", "expires_at": "9999-12-31T23:59:59Z"}]'),
        ("application/json", '[{"prefix": "192.0.2.1", "ttl": 1e300}]'),
        ("application/x-ndjson", '"192.0.2.1"\n{"prefix": 1}\n'),
    ],
)
def test_other_shapes_are_422(api: Api, kind: str, body: str) -> None:
    with api.nothing_changes():
        problem(api.client.put(B, content=body, headers={"Content-Type": kind}), 422)


@pytest.mark.parametrize(("kind", "body"), [("application/json", "["), ("application/json", "{}")])
def test_what_is_no_json_list_is_400(api: Api, kind: str, body: str) -> None:
    with api.nothing_changes():
        problem(api.client.put(B, content=body, headers={"Content-Type": kind}), 400)


@pytest.mark.parametrize("kind", ["text/csv", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_other_types_are_415(api: Api, kind: str) -> None:
    with api.nothing_changes():
        document = problem(api.client.put(B, content="192.0.2.1\n", headers={"Content-Type": kind}), 415)
        assert "text/plain" in document["detail"]


def test_compressed_bodies_are_415(api: Api) -> None:
    with api.nothing_changes():
        problem(api.client.put(B, content=b"\x1f\x8b", headers={**TEXT, "Content-Encoding": "gzip"}), 415)


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_body_over_the_limit_is_413(api: Api, announced: bool) -> None:
    limit = 128 << 20

    def lines() -> Iterator[bytes]:
        for _ in range(129):
            yield b"#" * (1 << 20)

    with api.nothing_changes():
        if announced:
            head = f"PUT /api/v1/{B} HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
            head += f"Content-Length: {limit + 1}\r\n\r\n"
            with socket.socket(socket.AF_UNIX) as raw:
                raw.connect(str(api.host.socket))
                raw.sendall(head.encode())
                assert raw.recv(4096).startswith(b"HTTP/1.1 413 ")
        else:
            problem(api.client.put(B, content=lines(), headers=TEXT), 413)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_body_cut_off_changes_nothing(api: Api, chunked: bool) -> None:
    api.put(f"{B}/192.0.2.9")
    with api.nothing_changes():
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(api.host.socket))
            length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1000"
            start = b"12\r\n203.0.113.0/24\n###\r\n" if chunked else b"203.0.113.0/24\n"
            head = f"PUT /api/v1/{B}?force=true HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n{length}\r\n\r\n"
            raw.sendall(head.encode() + start)
        # The next answers come after the server has seen the end of that connection.
        deadline = time.monotonic() + 5
        while api.host.connections > 1 and time.monotonic() < deadline:
            api.get("status")
        assert api.host.connections == 1


def test_an_empty_list_is_refused_unless_forced(api: Api) -> None:
    api.bulk("block", LIST)
    with api.nothing_changes():
        document = problem(api.client.put(B, content="# nothing\n", headers=TEXT), 409)
        assert document["type"].endswith(":guarded")
    assert counts(api.bulk("block", "", force=True)) == (0, 4, 0, 0)
    assert api.bulk("block", "")["changed"] is False


def test_losing_more_than_half_is_refused_unless_forced(api: Api) -> None:
    api.bulk("block", LIST)
    with api.nothing_changes():
        problem(api.client.put(B, content="192.0.2.0/24\n", headers=TEXT), 409)
    assert api.bulk("block", "192.0.2.0/24\n2001:db8::/32\n")["total"] == 2
    assert api.bulk("block", "192.0.2.0/24\n", force=False)["total"] == 1


def test_a_full_map_is_507_and_changes_nothing(api: Api) -> None:
    api.put(f"{B}/192.0.2.9")
    prefixes = "\n".join(f"10.{n >> 8}.{n & 255}.0/24" for n in range(25_000))
    with api.nothing_changes():
        document = problem(api.client.put(B, content=prefixes, headers=TEXT, params={"force": True}), 507)
        assert "leaves" in document["detail"]


def test_hits_of_kept_entries_go_on(fake: Api) -> None:
    fake.put("interfaces/wan0", {"mode": "native"})
    fake.bulk("block", "192.0.2.0/24\n198.51.100.0/24\n")
    frame = ethernet(ip("192.0.2.1", udp()))
    for _ in range(3):
        fake.kernel.receive("wan0", frame)
    fake.bulk("block", "192.0.2.0/24\n203.0.113.0/24\n")
    assert fake.get(f"{B}/192.0.2.0/24")["packets"] == 3
    assert fake.get(f"{B}/192.0.2.0/24")["bytes"] == 3 * len(frame)
    assert fake.get(f"{B}/203.0.113.0/24")["packets"] == 0
