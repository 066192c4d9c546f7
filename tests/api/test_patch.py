# SPDX-License-Identifier: Apache-2.0
"""PATCH of entries: several at once, all or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.conftest import Api, problem

B = "sets/block/entries"


def test_adds_and_removes_in_one_change(api: Api) -> None:
    api.patch(B, {"add": ["192.0.2.1", "192.0.2.2"]})
    written = api.patch(B, {"add": ["192.0.2.1", {"prefix": "2001:db8::/32", "ttl": "1h"}], "remove": ["192.0.2.2"]})
    assert {name: written[name] for name in ("added", "removed", "total", "revision", "changed")} == {
        "added": 1,
        "removed": 1,
        "total": 2,
        "revision": 2,
        "changed": True,
    }
    assert api.prefixes("block") == ["192.0.2.1/32", "2001:db8::/32"]


def test_one_bad_prefix_refuses_everything(api: Api) -> None:
    api.put(f"{B}/192.0.2.9")
    with api.nothing_changes():
        body = {"add": ["192.0.2.1", "10.0.0.1/8", {"prefix": "192.0.2.3", "ttl": -1}], "remove": ["192.0.2.9", "x"]}
        document = problem(api.client.patch(B, json=body), 422)
        assert [fault["pointer"] for fault in document["errors"]] == ["/add/1/prefix", "/add/2/ttl", "/remove/1"]
        assert "10.0.0.0/8" in document["errors"][0]["detail"]


def test_removing_what_is_absent_refuses_everything_and_names_it(api: Api) -> None:
    api.put(f"{B}/192.0.2.9")
    with api.nothing_changes():
        body = {"add": ["192.0.2.1"], "remove": ["192.0.2.9", "192.0.2.77"]}
        document = problem(api.client.patch(B, json=body), 404)
        assert "192.0.2.77" in str(document)
    assert api.patch(B, body, ignore_missing=True)["removed"] == 1
    assert api.prefixes("block") == ["192.0.2.1/32"]


def test_a_prefix_in_both_lists_is_an_error_in_any_spelling(api: Api) -> None:
    api.put(f"{B}/192.0.2.1")
    with api.nothing_changes():
        body = {"add": ["::ffff:192.0.2.1"], "remove": ["192.0.2.1/32"]}
        assert "192.0.2.1" in str(problem(api.client.patch(B, json=body), 422))


def test_the_longest_ttl_wins_among_duplicates(api: Api) -> None:
    adds = [{"prefix": "192.0.2.1", "ttl": ttl} for ttl in (60, 7200, 600)]
    assert api.patch(B, {"add": adds})["added"] == 1
    assert 7190 <= api.get(f"{B}/192.0.2.1")["ttl"] <= 7200
    api.patch(B, {"add": [{"prefix": "192.0.2.2", "ttl": 60}, "192.0.2.2", {"prefix": "192.0.2.2", "ttl": 90}]})
    assert api.get(f"{B}/192.0.2.2")["ttl"] is None


def test_the_longest_ttl_wins_against_what_is_there(api: Api) -> None:
    api.put(f"{B}/192.0.2.1", {"ttl": 7200})
    with api.nothing_changes():
        written = api.patch(B, {"add": [{"prefix": "192.0.2.1", "ttl": 60}]})
        assert (written["changed"], written["added"], written["refreshed"]) == (False, 0, 0)
    written = api.patch(B, {"add": [{"prefix": "192.0.2.1", "ttl": 9000}]})
    assert (written["changed"], written["added"], written["refreshed"]) == (True, 0, 1)
    assert api.get(f"{B}/192.0.2.1")["ttl"] > 8990
    api.patch(B, {"add": ["192.0.2.1"]})
    api.patch(B, {"add": [{"prefix": "192.0.2.1", "ttl": 60}]})
    assert api.get(f"{B}/192.0.2.1")["ttl"] is None


def test_ttl_policy_set_sets_exactly(api: Api) -> None:
    api.put(f"{B}/192.0.2.1")
    written = api.patch(B, {"add": [{"prefix": "192.0.2.1", "ttl": 60}]}, ttl_policy="set")
    assert written["refreshed"] == 1
    assert api.get(f"{B}/192.0.2.1")["ttl"] <= 60
    problem(api.client.patch(B, json={"add": []}, params={"ttl_policy": "shortest"}), 422)


def test_origins_are_claims_of_their_own(api: Api) -> None:
    api.patch(B, {"add": [{"prefix": "192.0.2.1", "origin": "a"}]})
    api.patch(B, {"add": ["192.0.2.1"]}, origin="b")
    assert [claim["origin"] for claim in api.get(f"{B}/192.0.2.1")["claims"]] in (["a", "b"], ["b", "a"])
    assert api.patch(B, {"remove": ["192.0.2.1"]}, origin="a")["removed"] == 0
    assert api.get(f"{B}/192.0.2.1")["origin"] == "b"
    problem(api.client.patch(B, json={"remove": ["192.0.2.1"]}, params={"origin": "a"}), 404)
    assert api.patch(B, {"remove": ["192.0.2.1"]})["removed"] == 1


def test_only_the_first_hundred_faults_are_listed(api: Api) -> None:
    with api.nothing_changes():
        document = problem(api.client.patch(B, json={"add": ["x"] * 250}), 422)
        assert len(document["errors"]) == 100
        assert document["errors"][99]["pointer"] == "/add/99/prefix"
        assert "250" in document["detail"]


@pytest.mark.parametrize(
    "body",
    [
        {"add": "192.0.2.1"},
        {"add": [1]},
        {"add": [None]},
        {"add": [["192.0.2.1"]]},
        {"add": [{}]},
        {"add": [{"prefix": "192.0.2.1", "until": 5}]},
        {"remove": [{"prefix": "192.0.2.1"}]},
        {"removed": ["192.0.2.1"]},
        ["192.0.2.1"],
        None,
    ],
    ids=repr,
)
def test_other_shapes_are_422(api: Api, body: Any) -> None:
    with api.nothing_changes():
        headers = {"Content-Type": "application/json"}
        problem(api.client.patch(B, content=json.dumps(body), headers=headers), 422)


def test_an_entry_that_has_run_out_already_is_refused(api: Api) -> None:
    with api.nothing_changes():
        adds = ["192.0.2.1", {"prefix": "192.0.2.2", "expires_at": "2001-01-01T00:00:00Z"}]
        document = problem(api.client.patch(B, json={"add": adds}), 422)
        assert [fault["pointer"] for fault in document["errors"]] == ["/add/1/expires_at"]


def test_nothing_to_do_is_no_change(api: Api) -> None:
    with api.nothing_changes():
        assert api.patch(B, {})["changed"] is False
        assert api.patch(B, {"add": [], "remove": []})["total"] == 0


def test_a_body_over_the_limit_is_413(api: Api) -> None:
    with api.nothing_changes():
        body = {"add": ["192.0.2.1"] * 700_000}
        assert "8,388,608" in problem(api.client.patch(B, json=body), 413)["detail"]


def test_thousands_in_one_change(api: Api) -> None:
    adds = [f"10.0.{n >> 8}.{n & 255}" for n in range(6_000)]
    assert api.patch(B, {"add": adds})["added"] == 6_000
    written = api.patch(B, {"remove": adds[:5_900]})
    assert (written["removed"], written["total"]) == (5_900, 100)
