# SPDX-License-Identifier: Apache-2.0
"""Sets; and what all writes have in common: dry runs and entity tags."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import LAN, WAN, Api, ok, problem


def test_allow_and_block_are_there_from_the_start(api: Api) -> None:
    page = api.get("sets")
    assert [view["name"] for view in page["items"]] == ["allow", "block"]
    assert (page["next"], page["total"]) == (None, 2)
    assert page["items"][0] == {
        "name": "allow",
        "comment": "",
        "entries": 0,
        "entries4": 0,
        "entries6": 0,
        "packets": 0,
        "bytes": 0,
        "dynamic": False,
    }


def test_the_same_put_is_201_then_200_and_the_same_delete_204_then_404(api: Api) -> None:
    first = api.put("sets/office", {"comment": "ours"})
    assert (first.status_code, first.json()["changed"], first.json()["comment"]) == (201, True, "ours")
    again = api.put("sets/office", {"comment": "ours"})
    assert (again.status_code, again.json()["changed"], again.json()["revision"]) == (200, False, 1)
    described = api.put("sets/office", {"comment": "theirs"})
    assert (described.status_code, described.json()["changed"], described.json()["revision"]) == (200, True, 2)
    assert api.client.delete("sets/office").status_code == 204
    with api.nothing_changes():
        problem(api.client.delete("sets/office"), 404)
        problem(api.client.get("sets/office"), 404)


def test_a_new_comment_leaves_the_entries(api: Api) -> None:
    api.put("sets/block/entries/192.0.2.1")
    api.put("sets/block", {"comment": "bad hosts"})
    assert api.get("sets/block")["comment"] == "bad hosts"
    assert api.prefixes("block") == ["192.0.2.1/32"]


@pytest.mark.parametrize("name", ["allow", "block"])
def test_deleting_a_set_that_always_exists_is_409(api: Api, name: str) -> None:
    with api.nothing_changes():
        problem(api.client.delete(f"sets/{name}", params={"force": True}), 409)


@pytest.mark.parametrize("name", ["Block", "1st", "-x", "a b", "ü", "a" * 64, "a.b", "a%2Fb", "a%00"])
def test_names_that_cannot_be_are_422(api: Api, name: str) -> None:
    with api.nothing_changes():
        response = api.client.put(f"sets/{name}")
        assert response.status_code in (404, 422) if "%2F" in name else response.status_code == 422, response.text
        problem(response, response.status_code)


@pytest.mark.parametrize("name", ["a", "a" * 63, "a_b-1"])
def test_names_that_can_be(api: Api, name: str) -> None:
    assert api.put(f"sets/{name}").status_code == 201
    assert api.client.delete(f"sets/{name}").status_code == 204


def test_a_deleted_set_takes_its_entries_along(api: Api) -> None:
    api.put("sets/office")
    api.put("sets/office/entries/192.0.2.0/24")
    assert api.client.delete("sets/office").status_code == 204
    api.put("sets/office")
    assert api.prefixes("office") == []


def test_lists_of_sets_are_paged(api: Api) -> None:
    for name in ("a1", "z1", "m1"):
        api.put(f"sets/{name}")
    first = api.get("sets", limit=2)
    second = api.get("sets", limit=2, cursor=first["next"])
    third = api.get("sets", limit=2, cursor=second["next"])
    names = [view["name"] for page in (first, second, third) for view in page["items"]]
    assert names == ["a1", "allow", "block", "m1", "z1"]
    assert (first["total"], third["next"]) == (5, None)


WRITES: list[tuple[str, str, Any, str]] = [
    ("PUT", "sets/office", {"comment": "new"}, "sets/office"),
    ("DELETE", "sets/office", None, "sets/office"),
    ("PUT", "sets/office/entries/192.0.2.1", {"ttl": 5}, "sets/office/entries/192.0.2.1"),
    ("DELETE", "sets/office/entries/192.0.2.1", None, "sets/office/entries/192.0.2.1"),
    ("PATCH", "sets/office/entries", {"add": ["192.0.2.2"]}, "sets/office/entries"),
    ("PUT", "sets/office/entries", ["192.0.2.1", "192.0.2.3"], "sets/office/entries"),
    ("PATCH", "policy", {"mode": "monitor"}, "policy"),
    ("PUT", f"interfaces/{WAN}", {"mode": "generic"}, f"interfaces/{WAN}"),
    ("DELETE", f"interfaces/{LAN}", None, f"interfaces/{LAN}"),
    ("DELETE", f"interfaces/{LAN}/talkers", None, f"interfaces/{LAN}"),
]
IDS = [f"{method} {path}" for method, path, _, _ in WRITES]


@pytest.fixture
def prepared(api: Api) -> Api:
    api.put("sets/office")
    api.put("sets/office/entries/192.0.2.1")
    api.put(f"interfaces/{LAN}", {"mode": "native"})
    return api


@pytest.mark.parametrize(("method", "path", "body", "resource"), WRITES, ids=IDS)
def test_a_dry_run_answers_and_changes_nothing(prepared: Api, method: str, path: str, body: Any, resource: str) -> None:
    with prepared.nothing_changes():
        response = ok(prepared.client.request(method, path, json=body, params={"dry_run": True}))
        assert response.status_code == 200
        document = response.json()
        assert (document["changed"], document["dry_run"]) == (True, True)
        assert document["revision"] == int(response.headers["x-revision"]) == prepared.revision
    assert prepared.client.request(method, path, json=body).is_success


@pytest.mark.parametrize(("method", "path", "body", "resource"), WRITES, ids=IDS)
def test_if_match_guards_every_write(prepared: Api, method: str, path: str, body: Any, resource: str) -> None:
    with prepared.nothing_changes():
        problem(prepared.client.request(method, path, json=body, headers={"If-Match": '"old"'}), 412)
    etag = ok(prepared.client.get(resource)).headers["etag"]
    assert prepared.client.request(method, path, json=body, headers={"If-Match": f'"old", {etag}'}).is_success


def test_if_match_on_what_is_not_there_is_412(api: Api) -> None:
    with api.nothing_changes():
        for path in ("sets/office", "sets/block/entries/192.0.2.1"):
            problem(api.client.put(path, headers={"If-Match": "*"}), 412)


def test_an_etag_moves_with_its_resource_alone(prepared: Api) -> None:
    api = prepared

    def tags() -> dict[str, str]:
        names = ("sets/block", "sets/block/entries", "sets/office/entries", "policy", f"interfaces/{WAN}")
        return {name: ok(api.client.get(name)).headers["etag"] for name in names}

    before = tags()
    api.put("sets/block/entries/198.51.100.1")
    after = tags()
    assert {name for name in before if before[name] != after[name]} == {"sets/block", "sets/block/entries"}
    api.patch("policy", {"mode": "monitor"})
    assert {name for name in before if after[name] != tags()[name]} == {"policy"}


def test_the_second_of_two_writers_is_told(api: Api) -> None:
    etag = ok(api.client.get("sets/block/entries")).headers["etag"]
    assert api.client.patch("sets/block/entries", json={"add": ["192.0.2.1"]}, headers={"If-Match": etag}).is_success
    with api.nothing_changes():
        late = api.client.patch("sets/block/entries", json={"remove": ["192.0.2.1"]}, headers={"If-Match": etag})
        problem(late, 412)


def test_an_unchanged_resource_is_304(api: Api) -> None:
    api.put("sets/block/entries/192.0.2.1")
    for path in ("sets", "sets/block", "sets/block/entries", "sets/block/entries/192.0.2.1", "policy", "interfaces"):
        etag = ok(api.client.get(path)).headers["etag"]
        for header in (etag, f'"x", W/{etag}', "*"):
            response = api.client.get(path, headers={"If-None-Match": header})
            assert (response.status_code, response.content, response.headers["etag"]) == (304, b"", etag)
        assert api.client.get(path, headers={"If-None-Match": '"x"'}).status_code == 200
    api.put("sets/block/entries/192.0.2.2")
    assert api.client.get("sets/block/entries", headers={"If-None-Match": etag}).status_code == 200


def test_gets_change_nothing(prepared: Api) -> None:
    paths = prepared.get("openapi.json")["paths"]
    fill = {"set": "office", "prefix": "192.0.2.1", "name": LAN, "ip": "192.0.2.1", "id": "block"}
    with prepared.nothing_changes():
        for path, operations in paths.items():
            endless = "text/event-stream" in str(operations.get("get"))
            if "get" in operations and not endless:
                for method in ("GET", "HEAD"):
                    url = f"http://xdpfw{path.format(**fill)}"
                    response = prepared.client.request(method, url)
                    assert response.is_success, f"{method} {url}: {response.text}"
                    assert (method == "HEAD") == (response.content == b"")
