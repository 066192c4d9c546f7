# SPDX-License-Identifier: Apache-2.0
"""Confirm or roll back, as clients meet it."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.api.conftest import WAN, Api, ok, problem

B = "sets/block/entries"


def waiting(api: Api) -> list[Any]:
    document = api.get("confirmations")
    assert document["total"] == len(document["items"]) and document["next"] is None
    items = document["items"]
    assert isinstance(items, list)
    return items


WRITES = [
    ("PUT", f"{B}/192.0.2.0/24", {"ttl": 600}, [f"{B}/192.0.2.0/24?origin=manual"]),
    ("PATCH", B, {"add": ["192.0.2.1"]}, [f"{B}/192.0.2.1/32?origin=manual"]),
    ("PUT", B, ["192.0.2.1", "2001:db8::/32"], [B]),
    ("PUT", "sets/x", {"comment": "c"}, ["sets/x", "sets/x/entries"]),
    ("PATCH", "policy", {"default": "drop"}, ["policy"]),
    ("PUT", "rules/r", {"action": "drop", "match": {"source": "192.0.2.1"}}, ["rules"]),
    ("PATCH", "rules/block", {"enabled": False}, ["rules"]),
    ("PUT", "rules", [{"id": "r", "action": "pass"}], ["rules"]),
    ("PUT", f"interfaces/{WAN}", {"mode": "generic"}, [f"interfaces/{WAN}"]),
    ("DELETE", "rules/block", None, ["rules"]),
]


@pytest.mark.parametrize(("method", "path", "body", "writes"), WRITES, ids=lambda value: str(value)[:20])
@pytest.mark.parametrize("keep", [True, False])
def test_every_write_can_be_kept_or_taken_back(
    api: Api, method: str, path: str, body: Any, writes: list[str], keep: bool
) -> None:
    before = everything(api)
    answer = ok(api.client.request(method, path, json=body, params={"force": True, "confirm_within": 60}))
    id = answer.headers["x-confirmation"]
    if answer.content:
        assert answer.json()["confirmation"] == id
    after = everything(api)
    assert after != before
    [item] = waiting(api)
    assert (item["id"], item["writes"], item["revision"]) == (id, writes, int(answer.headers["x-revision"]))
    assert 0 < item["left"] <= 60 and item["author"]["path"] == f"/{path}" and item["differences"]
    again = api.client.request(method, path, json=body, params={"force": True})
    assert id in problem(again, 409)["detail"]
    detail = problem(api.client.put(f"{B}/198.51.100.9", params={"confirm_within": 5}), 409)["detail"]
    assert "one change at a time" in detail
    if keep:
        assert ok(api.client.post(f"confirmations/{id}")).json()["changed"] is True
        assert everything(api) == after
    else:
        gone = api.client.delete(f"confirmations/{id}")
        assert (gone.status_code, int(gone.headers["x-revision"])) == (204, int(answer.headers["x-revision"]) + 1)
        assert everything(api) == before
    assert waiting(api) == []
    for method in ("POST", "DELETE"):
        problem(api.client.request(method, f"confirmations/{id}"), 404)


def everything(api: Api) -> Any:
    saved = api.saved()
    entries = {view["name"]: api.prefixes(view["name"]) for view in api.get("sets")["items"]}
    assert saved.policy == api.firewall.state.policy
    attached = {name: each.mode for name, each in api.firewall.interfaces.attached.items()}
    return saved.policy, saved.interfaces, entries, attached


def test_silence(api: Api) -> None:
    before = everything(api)
    api.put(f"{B}/192.0.2.0/24", confirm_within=1)
    deadline = time.monotonic() + 30
    while api.firewall.pending and time.monotonic() < deadline:
        api.run(api.firewall.take_back_overdue())
    assert everything(api) == before and waiting(api) == []
    [record, *_] = api.get("audit")["items"]
    assert record["author"]["actor"] == "xdpfw" and record["outcome"] == "accepted"
    assert record["differences"][0]["after"] is None


def test_others_go_on(api: Api) -> None:
    id = ok(api.client.put(f"{B}/192.0.2.1", params={"confirm_within": 60})).headers["x-confirmation"]
    api.put(f"{B}/192.0.2.2")
    api.put("sets/other")
    problem(api.client.delete(f"{B}/192.0.2.1"), 409)
    problem(api.client.put(B, content="", headers={"Content-Type": "text/plain"}, params={"force": True}), 409)
    ok(api.client.delete(f"confirmations/{id}"))
    assert api.prefixes("block") == ["192.0.2.2/32"]
    api.get("sets/other")


def test_a_dry_run_waits_for_nobody(api: Api) -> None:
    with api.nothing_changes():
        answer = api.put(f"{B}/192.0.2.1", confirm_within=60, dry_run=True)
        assert "x-confirmation" not in answer.headers and answer.json()["confirmation"] is None
        assert waiting(api) == []


def test_dry_runs_and_stale_tags_of_a_confirmation(api: Api) -> None:
    stale = api.client.get("confirmations").headers["etag"]
    id = ok(api.client.put(f"{B}/192.0.2.1", params={"confirm_within": 60})).headers["x-confirmation"]
    for method in ("POST", "DELETE"):
        ok(api.client.request(method, f"confirmations/{id}", params={"dry_run": True}))
        problem(api.client.request(method, f"confirmations/{id}", headers={"If-Match": stale}), 412)
    [item] = waiting(api)
    tag = api.client.get("confirmations").headers["etag"]
    ok(api.client.post(f"confirmations/{item['id']}", headers={"If-Match": tag}))


@pytest.mark.parametrize("value", ["0", "-1", "86401", "x", "1.5", ""])
def test_windows_that_cannot_be(api: Api, value: str) -> None:
    with api.nothing_changes():
        document = problem(api.client.put(f"{B}/192.0.2.1", params={"confirm_within": value}), 422)
    assert document["errors"][0]["pointer"] == "?confirm_within"


def test_what_cannot_be_taken_back_takes_no_window(api: Api) -> None:
    window = {"confirm_within": 60}
    problem(api.client.post("tokens", json={"name": "x", "role": "read"}, params=window), 422)
    problem(api.client.delete(f"interfaces/{WAN}/talkers", params=window), 422)
    id = ok(api.client.put(f"{B}/192.0.2.1", params=window)).headers["x-confirmation"]
    problem(api.client.post(f"confirmations/{id}", params=window), 422)
