# SPDX-License-Identifier: Apache-2.0
"""The audit trail: every accepted and every refused write, with who, from where, what, before and after."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

from api.auth import Role
from api.failures import BURST
from tests.api.conftest import WAN, Api, ok, problem

B = "sets/block/entries"


def trail(api: Api, **params: Any) -> list[Any]:
    items = api.get("audit", **params)["items"]
    assert isinstance(items, list)
    return items


def test_an_accepted_write_tells_who_what_and_the_revision(api: Api) -> None:
    written = api.put(f"{B}/192.0.2.0/24", {"comment": "scans", "ttl": 60}).json()
    [record] = trail(api)
    author = record["author"]
    assert (author["actor"], author["source"], author["pid"]) == (f"uid:{os.geteuid()}", "unix", os.getpid())
    assert (author["method"], author["path"]) == ("PUT", f"/{B}/192.0.2.0/24")
    assert (record["outcome"], record["status"], record["revision"]) == ("accepted", 201, written["revision"])
    [difference] = record["differences"]
    expected = {"origin": "manual", "comment": "scans", "expires_at": written["expires_at"]}
    assert difference == {"path": f"{B}/192.0.2.0/24", "before": None, "after": expected}
    api.put(f"{B}/192.0.2.0/24", {"comment": "worse"})
    changed = trail(api)[0]["differences"][0]
    assert (changed["before"], changed["after"]) == (expected, expected | {"comment": "worse", "expires_at": None})
    ok(api.client.delete(f"{B}/192.0.2.0/24"))
    gone = trail(api)[0]
    assert (gone["status"], gone["differences"][0]["after"]) == (204, None)


WRITES = [
    ("PATCH", "policy", {"mode": "monitor"}, "policy", {"mode": "enforce"}, {"mode": "monitor"}),
    ("PUT", "sets/x", {"comment": "new"}, "sets/x", None, {"comment": "new"}),
    ("PUT", "rules/r", {"action": "drop", "match": {"source": "192.0.2.1"}}, "rules/r", None,
     {"position": 3, "action": "drop", "match": {"source": ["192.0.2.1/32"]}}),
    ("PATCH", "rules/block", {"position": 1}, "rules", {"order": ["allow", "block"]}, {"order": ["block", "allow"]}),
    ("PATCH", "rules/block", {"enabled": False}, "rules/block", {"enabled": True}, {"enabled": False}),
    ("PUT", f"interfaces/{WAN}", {"mode": "generic"}, f"interfaces/{WAN}", None, {"mode": "generic"}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "changed", "before", "after"), WRITES)
def test_every_kind_of_write_tells_before_and_after(
    api: Api, method: str, path: str, body: Any, changed: str, before: Any, after: Any
) -> None:
    ok(api.client.request(method, path, json=body, params={"force": True}))
    [record] = trail(api)
    assert record["differences"] == [{"path": changed, "before": before, "after": after}]
    if method == "PUT":
        ok(api.client.delete(path))
        assert trail(api)[0]["differences"][0]["after"] is None


def test_a_bulk_replace_is_one_record_of_bounded_size(api: Api) -> None:
    api.bulk("block", "\n".join(f"10.0.{n >> 8}.{n & 255}" for n in range(3000)))
    [record] = trail(api)
    assert 0 < len(record["differences"]) <= 10
    assert len(record["differences"]) + record["more"] == 3000


REFUSED = [
    ("PUT", f"{B}/10.0.0.1/8", None, 422, "host bits"),
    ("DELETE", f"{B}/10.0.0.1", None, 404, "10.0.0.1"),
    ("PUT", f"{B}/0.0.0.0/0", None, 409, "IPv4"),
    ("PUT", "sets/NO", None, 422, "name"),
    ("DELETE", "sets/block", None, 409, "always exists"),
    ("PATCH", "policy", {"dflt": "drop"}, 422, "dflt"),
    ("POST", "nowhere", None, 404, "no such resource"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "why"), REFUSED)
def test_a_refused_write_is_there_with_the_reason(
    api: Api, method: str, path: str, body: Any, status: int, why: str
) -> None:
    problem(api.client.request(method, path, json=body), status)
    [record] = trail(api)
    assert (record["outcome"], record["status"], record["revision"]) == ("refused", status, 0)
    assert why in record["detail"] and record["author"]["path"] == f"/{path}"
    assert record["differences"] == []


def test_no_write_is_left_out(fake: Api) -> None:
    """Whatever the document tells of: refused for the role, and for a parameter that is not there."""
    secret = ok(fake.client.post("tokens", json={"name": "n", "role": "read"})).json()["secret"]
    before, expected = trail(fake), []
    with fake.tcp(secret) as reader:
        for path, operations in fake.get("openapi.json")["paths"].items():
            about = re.sub(r"\{\w+\}", "x", path).removeprefix("/api/v1/")
            for method in sorted(operations.keys() - {"get"}):
                if about in ("explain", "replay"):
                    continue
                problem(reader.request(method, about), 403)
                problem(fake.client.request(method, f"{about}?nothing=1"), 422)
                expected += [(method.upper(), f"/{about}", status) for status in (403, 422)]
    found = trail(fake, limit=1000)[: -len(before)]
    assert len(expected) > 30
    assert [(each["author"]["method"], each["author"]["path"], each["status"]) for each in found[::-1]] == expected


def test_what_changes_nothing_is_told_apart_and_what_is_no_write_is_not_there(api: Api) -> None:
    api.put(f"{B}/192.0.2.1", dry_run=True)
    api.get("policy")
    assert trail(api) == []
    api.put(f"{B}/192.0.2.1")
    api.put(f"{B}/192.0.2.1")
    assert [record["outcome"] for record in trail(api)] == ["unchanged", "accepted"]


def test_tokens_are_told_by_name_and_their_secrets_nowhere(api: Api) -> None:
    record, secret = api.tokens.draft("deploy", Role.WRITE)
    api.tokens.add(record)
    with api.tcp(secret) as client:
        ok(client.put(f"{B}/192.0.2.1", json={"comment": f"mine is {secret}"}))
        problem(client.put(f"{B}/{secret}"), 422)
        problem(client.post("tokens", json={"name": "x", "role": "admin"}), 403)
    with api.tcp("xdpfw_00000000_" + "x" * 43) as client:
        problem(client.delete(f"{B}/192.0.2.1"), 401)
    made = ok(api.client.post("tokens", json={"name": "new", "role": "read"})).json()
    ok(api.client.delete(f"tokens/{made['id']}"))
    items = trail(api)
    assert [item["status"] for item in items] == [204, 201, 401, 403, 422, 201]
    who = {"name": "new", "role": "read", "expires_at": None, "sources": []}
    assert items[1]["differences"] == [{"path": f"tokens/{made['id']}", "before": None, "after": who}]
    by_token = items[-1]["author"]
    assert (by_token["actor"], by_token["label"], by_token["source"]) == (f"token:{record.id}", "deploy", "127.0.0.1")
    assert items[2]["author"]["actor"] == "anonymous"
    text = api.client.get("audit").text
    assert secret.split("_", 2)[2][:20] not in text and made["secret"].split("_", 2)[2][:20] not in text


def test_who_goes_on_without_a_token_does_not_fill_the_trail(fake: Api) -> None:
    with fake.tcp("xdpfw_00000000_" + "x" * 43) as client:
        answers = [client.delete(f"{B}/192.0.2.1").status_code for _ in range(BURST + 10)]
    assert 429 in answers
    assert [record["status"] for record in trail(fake)] == [401] * answers.count(401)


def test_pages_and_filters(api: Api) -> None:
    for number in range(5):
        api.put(f"{B}/192.0.2.{number}")
    api.put("sets/blocked")
    problem(api.client.put(f"{B}/nonsense"), 422)
    first = api.get("audit", limit=3)
    rest = api.get("audit", limit=100, cursor=first["next"])
    ids = [item["id"] for item in first["items"] + rest["items"]]
    assert ids == sorted(ids, reverse=True) and len(ids) == 7 == first["total"]
    assert rest["next"] is None
    assert len(trail(api, resource="sets/block")) == 6
    assert len(trail(api, resource="/sets/block/entries/192.0.2.1")) == 1
    assert len(trail(api, outcome="refused")) == 1
    assert len(trail(api, actor=f"uid:{os.geteuid()}")) == 7
    assert trail(api, actor="uid:4242") == trail(api, resource="sets/bloc") == []
    ok(api.client.put("config", json={"policy": {"mode": "monitor"}, "sets": {"blocked": {"comment": "c"}}}))
    assert [record["author"]["path"] for record in trail(api, resource="policy")] == ["/config"]
    assert [record["author"]["path"] for record in trail(api, resource="sets/blocked")] == ["/config", "/sets/blocked"]
    for cursor in ("x", "-1", "9" * 30):
        problem(api.client.get("audit", params={"cursor": cursor}), 422)


def test_the_trail_is_for_administrators(api: Api) -> None:
    record, secret = api.tokens.draft("reader", Role.WRITE)
    api.tokens.add(record)
    with api.tcp(secret) as client:
        problem(client.get("audit"), 403)
