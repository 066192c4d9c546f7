# SPDX-License-Identifier: Apache-2.0
"""The desired state as one document: what is read out and put in again changes nothing; all or nothing; bad input."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from api.auth import Role
from tests.api.conftest import LAN, WAN, Api, ok, problem
from xdpfw.kernel.fake import fake_link
from xdpfw.model.errors import KernelError, MapFull
from xdpfw.policy.ops import Flip, InsertPrefixes

FORCE = {"force": True}
JSON, YAML = "application/json", "application/yaml"
RULES = [
    {"id": "allow", "match": {"source": ["allow"]}, "action": "pass"},
    {"id": "web", "match": {"protocol": ["tcp"], "destination_ports": [80, "8000-8100"]}, "action": "drop",
     "comment": "no: web, today"},
    {"id": "office", "match": {"source": ["office", "!10.0.0.1/32"]}, "action": "pass", "mode": "monitor"},
    {"id": "block", "match": {"source": ["block"]}, "action": "drop", "enabled": False},
]  # fmt: skip
STATE = {
    "policy": {"default": "drop", "mode": "monitor", "ethertypes": ["0x88cc", "0x8035"]},
    "rules": RULES,
    "sets": {
        "allow": {"comment": "", "entries": ["192.0.2.0/24", "2001:db8::/32"]},
        "block": {"comment": ""},
        "office": {
            "comment": "their: offices #1",
            "entries": [
                "10.0.0.0/8",
                {"prefix": "10.1.0.0/16", "origin": "feed:x", "expires_at": "2030-01-02T03:04:05.000007Z"},
                {"prefix": "10.1.0.0/16", "origin": "z", "comment": "ümlaut: - [x]"},
            ],
        },
    },
    "interfaces": {WAN: {"mode": "generic"}},
}


def put(api: Api, document: Any, *, kind: str = JSON, status: int = 200, **params: Any) -> Any:
    body = json.dumps(document) if kind == JSON else yaml.safe_dump(document, sort_keys=False)
    answer = api.client.put("config", content=body, headers={"Content-Type": kind}, params=FORCE | params)
    return ok(answer).json() if status == 200 else problem(answer, status)


def get(api: Api, kind: str = JSON, **params: Any) -> Any:
    answer = ok(api.client.get("config", headers={"Accept": kind}, params=params))
    assert answer.headers["content-type"].partition(";")[0] == kind
    return answer.json() if kind == JSON else yaml.safe_load(answer.text)


def paths(view: Any) -> list[str]:
    return [each["path"] for each in view["differences"]]


@pytest.mark.parametrize("kind", [JSON, YAML])
def test_what_is_put_in_is_read_out_and_changes_nothing_then(api: Api, kind: str) -> None:
    view = put(api, STATE, kind=kind)
    assert view["changed"] and view["revision"] == 1 == api.revision
    whole = get(api, kind, entries="*")
    assert whole["rules"] == RULES and whole["policy"] == STATE["policy"]
    assert whole["interfaces"] == STATE["interfaces"]
    assert whole["sets"] == STATE["sets"] | {"block": {"comment": "", "entries": []}}
    assert get(api, kind)["sets"]["office"] == {"comment": "their: offices #1"}
    assert get(api, kind, entries="office")["sets"] == get(api, kind)["sets"] | {"office": whole["sets"]["office"]}
    with api.nothing_changes():
        for document in (whole, get(api, kind), STATE, {}):
            again = put(api, document, kind=kind)
            assert (again["changed"], again["differences"], again["more"]) == (False, [], 0)


def test_text_that_yaml_would_take_for_something_else(api: Api) -> None:
    text = """
sets:
  office:
    comment: no
    entries:
      - 1:2:3:4:5:6:7:8
      - {prefix: 192.0.2.1, expires_at: 2030-01-02T03:04:05Z, comment: 010}
      - prefix: "::1"
policy: {ethertypes: [0x88cc]}
"""
    ok(api.client.put("config", content=text, headers={"Content-Type": YAML}, params=FORCE))
    office = get(api, YAML, entries="office")["sets"]["office"]
    assert office["comment"] == "no"
    assert office["entries"][1:] == ["::1/128", "1:2:3:4:5:6:7:8/128"]
    assert office["entries"][0]["comment"] == "010"


def test_a_document_owns_what_it_names(api: Api) -> None:
    put(api, STATE)
    api.put("sets/block/entries/203.0.113.0/24")
    api.put("sets/mine")
    api.put("sets/mine/entries/203.0.113.1")
    document = {"sets": {"office": {"entries": ["172.16.0.0/12"]}, "block": {"comment": "filled by others"}}}
    view = put(api, document)
    assert api.prefixes("block") == ["203.0.113.0/24"] and api.prefixes("mine") == ["203.0.113.1/32"]
    assert api.prefixes("office") == ["172.16.0.0/12"]
    assert [rule["id"] for rule in api.get("rules")["items"]] == [rule["id"] for rule in RULES]
    assert api.get(f"interfaces/{WAN}")["state"] == "attached"
    assert set(paths(view)) == {"sets/block", *(f"sets/office/entries/{p}" for p in (
        "10.0.0.0/8", "10.1.0.0/16", "172.16.0.0/12"))}  # fmt: skip
    gone = put(api, {"sets": {"mine": None}, "interfaces": {WAN: None}})
    assert {"sets/mine", f"interfaces/{WAN}"} <= set(paths(gone))
    assert api.client.get("sets/mine").status_code == 404
    assert api.get(f"interfaces/{WAN}")["state"] == "detached"
    assert put(api, {"sets": {"mine": None}, "interfaces": {LAN: None}})["changed"] is False


def test_rules_are_owned_as_a_whole(api: Api) -> None:
    put(api, STATE)
    view = put(api, {"rules": [RULES[3] | {"enabled": True}, RULES[0], {"id": "new", "action": "drop"}]})
    by_path = {each["path"]: (each["before"], each["after"]) for each in view["differences"]}
    assert by_path["rules/block"] == ({"enabled": False}, {"enabled": True})
    assert by_path["rules/new"] == (None, {"position": 3, "match": {}, "action": "drop"})
    assert by_path["rules/web"][1] is None and by_path["rules/web"][0]["action"] == "drop"
    assert by_path["rules"] == ({"order": ["allow", "block"]}, {"order": ["block", "allow"]})
    assert by_path.keys() == {"rules/block", "rules/new", "rules/web", "rules/office", "rules"}


def test_a_dry_run_tells_and_changes_nothing(api: Api) -> None:
    with api.nothing_changes():
        view = put(api, STATE, dry_run=True)
        assert (view["changed"], view["dry_run"], view["revision"]) == (True, True, 0)
        assert {"policy", "rules/web", "sets/office", f"interfaces/{WAN}"} <= set(paths(view))
    done = put(api, STATE)
    assert done["differences"] == view["differences"]


def test_all_of_it_or_nothing(api: Api) -> None:
    """An interface that cannot be attached takes the rest back."""
    put(api, STATE)
    other = {"policy": {"default": "pass"}, "sets": {"office": {"entries": []}, "new": {}}, "rules": RULES[:1]}
    with api.nothing_changes():
        if api.real:
            problem_ = put(api, other | {"interfaces": {"lo": "native", LAN: "generic"}}, status=503)
            assert "lo" in problem_["detail"]
        else:
            api.kernel.native_refused[LAN] = "the driver cannot"
            put(api, other | {"interfaces": {WAN: "native", LAN: "native"}}, status=503)
    assert api.get(f"interfaces/{WAN}")["mode"] == "generic" and api.get(f"interfaces/{LAN}")["state"] == "detached"


@pytest.mark.parametrize("error", [KernelError("no"), MapFull("full")])
@pytest.mark.parametrize("op", [InsertPrefixes, Flip])
def test_what_the_kernel_refuses_takes_everything_back(fake: Api, op: type, error: Exception) -> None:
    put(fake, STATE)
    other = {"policy": {"default": "pass"}, "rules": RULES[:1], "interfaces": {LAN: "auto", WAN: "native"}}
    other["sets"] = {"office": {"entries": ["172.16.0.0/12"]}, "new": {"entries": ["192.0.2.1"]}}
    fake.kernel.fail_next(op, error)
    before = everything(fake)
    put(fake, other, status=error.status)  # type: ignore[attr-defined]
    assert everything(fake) == before
    put(fake, other)


def everything(api: Api) -> Any:
    saved = api.saved()
    modes = {name: each.mode for name, each in api.firewall.interfaces.attached.items()}
    return get(api, entries="*"), saved.revision, saved.policy, saved.interfaces, modes


BAD: list[tuple[Any, str]] = [
    ([], ""),
    ("text", ""),
    ({"polcy": {}}, "/polcy"),
    ({"policy": {"default": "reject"}}, "/policy/default"),
    ({"policy": {"ethertypes": ["0x88cc", 5]}}, "/policy/ethertypes/1"),
    ({"policy": {"mode": ["enforce"]}}, "/policy/mode"),
    ({"rules": {"a": 1}}, "/rules"),
    ({"rules": [{"id": "a", "action": "drop"}, {"id": "a", "action": "pass"}]}, "/rules/1/id"),
    ({"rules": [{"id": "a", "action": "drop", "match": {"sorce": "x"}}]}, "/rules/0/match/sorce"),
    ({"rules": [{"id": "a", "action": "drop", "match": {"source": "nobody"}}]}, "/rules/0/match/source"),
    ({"sets": {"office": None}, "rules": [{"id": "a", "action": "drop", "match": {"source": "office"}}]},
     "/rules/0/match/source"),
    ({"sets": {"NO": {}}}, "/sets/NO"),
    ({"sets": {"a/b": {}}}, "/sets/a~1b"),
    ({"sets": {"block": None}}, "/sets/block"),
    ({"sets": {"banned": {"entries": []}}}, "/sets/banned"),
    ({"sets": {"x": {"comment": "two\nlines"}}}, "/sets/x/comment"),
    ({"sets": {"x": {"entries": ["10.0.0.0/8", "10.0.0.1/8"]}}}, "/sets/x/entries/1"),
    ({"sets": {"x": {"entries": [{"prefix": "10.0.0.0/8", "tll": 5}]}}}, "/sets/x/entries/0"),
    ({"sets": {"x": {"entries": "10.0.0.0/8"}}}, "/sets/x/entries"),
    ({"sets": []}, "/sets"),
    ({"interfaces": {"a b": "auto"}}, "/interfaces/a b"),
    ({"interfaces": {"eth0": "fast"}}, "/interfaces/eth0/mode"),
    ({"interfaces": {"eth0": {"mod": "auto"}}}, "/interfaces/eth0/mod"),
]  # fmt: skip


@pytest.mark.parametrize(("document", "pointer"), BAD, ids=lambda value: str(value)[:40])
def test_faults_are_told_with_their_places(api: Api, document: Any, pointer: str) -> None:
    with api.nothing_changes():
        for kind in (JSON, YAML):
            found = put(api, document, kind=kind, status=422)
            assert pointer in [each["pointer"] for each in found["errors"]]


@pytest.mark.parametrize(
    ("kind", "body", "status", "why"),
    [
        (JSON, "{", 400, "JSON"),
        (JSON, '{"sets": {}, "sets": {}}', 400, "twice"),
        (YAML, "a: [", 400, "line 2"),
        (YAML, "sets: {}\nsets: {}\n", 400, "twice"),
        (YAML, "a: &x [1]\nb: *x\n", 400, "aliases"),
        (YAML, "a: !!python/object/apply:os.system ['true']\n", 400, "tags"),
        (YAML, "a: 1\n---\nb: 2\n", 400, "one document"),
        (YAML, "[" * 100 + "]" * 100, 413, "nested"),
        (YAML, "{" * 5000, 400, "nesting"),
        (YAML, "? [a]\n: b\n", 400, "a key must be"),
        (YAML, "1: {}\n", 422, "put it in quotes"),
        (YAML, b"\xff\xfe\xff", 400, "YAML"),
        (YAML, "a: \x00", 400, "YAML"),
        (YAML, "", 422, "an object"),
        ("text/plain", "a: 1", 415, "Content-Type"),
        (YAML, b"a: b\n" + b"#" * (8 << 20), 413, "8,388,608"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bodies_that_are_no_documents(api: Api, kind: str, body: Any, status: int, why: str) -> None:
    with api.nothing_changes():
        answer = api.client.put("config", content=body, headers={"Content-Type": kind})
        assert why in str(problem(answer, status))


def test_too_many_entries(api: Api) -> None:
    prefixes = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(100_001)]
    with api.nothing_changes():
        assert "100,000" in put(api, {"sets": {"x": {"entries": prefixes}}}, status=422)["detail"]


def test_guards(api: Api) -> None:
    api.bulk("block", "\n".join(f"10.0.0.{n}" for n in range(100)))

    def guarded(document: Any) -> str:
        answer = api.client.put("config", json=document)
        found = problem(answer, 409)
        assert found["type"].endswith(":guarded")
        return str(found["detail"])

    with api.nothing_changes():
        assert "rule block" in guarded({"rules": RULES[:1]})
        nowhere = {"rules": [{"id": "a", "action": "drop", "match": {"source": "nowhere"}}]}
        problem(api.client.put("config", json=nowhere), 422)  # forcing would not help
        assert "over half" in guarded({"sets": {"block": {"entries": ["10.0.0.1"]}}})
        assert "empty" in guarded({"sets": {"block": {"entries": []}}})
        assert "IPv6" in guarded({"sets": {"block": {"entries": [*(f"10.0.0.{n}" for n in range(99)), "::/0"]}}})
    ok(api.client.put("config", json={"sets": {"block": {"entries": [f"10.0.0.{n}" for n in range(60)]}}}))


def test_the_lock_out_guard_sees_the_document_as_a_whole(fake: Api) -> None:
    fake.kernel.peer_addresses = ["198.51.100.7"]
    deny = {"policy": {"default": "drop"}, "interfaces": {WAN: "auto"}}
    with fake.nothing_changes():
        assert "198.51.100.7" in problem(fake.client.put("config", json=deny), 409)["detail"]
    let_in = deny | {"sets": {"allow": {"entries": ["198.51.100.0/24"]}}}
    ok(fake.client.put("config", json=let_in))


def test_entity_tags(api: Api) -> None:
    tag = api.client.get("config").headers["etag"]
    assert api.client.get("config", headers={"If-None-Match": tag}).status_code == 304
    api.put("sets/block/entries/192.0.2.1")
    assert api.client.get("config").headers["etag"] == tag
    api.patch("policy", {"mode": "monitor"})
    stale = api.client.put("config", json=STATE, params=FORCE, headers={"If-Match": tag})
    problem(stale, 412)
    fresh = api.client.get("config").headers["etag"]
    ok(api.client.put("config", json=STATE, params=FORCE, headers={"If-Match": fresh}))


def test_forms(api: Api) -> None:
    assert api.client.get("config", headers={"Accept": "text/yaml;q=0.9, text/html"}).text.startswith("policy:")
    assert api.client.get("config", headers={"Accept": "text/html"}).status_code == 406
    assert api.client.get("config").headers["content-type"] == JSON
    problem(api.client.get("config", params={"entries": "nobody"}), 404)


def test_interfaces_need_an_administrator(api: Api) -> None:
    record, secret = api.tokens.draft("deploy", Role.WRITE)
    api.tokens.add(record)
    with api.tcp(secret) as client:
        problem(client.put("config", json={"interfaces": {WAN: "auto"}}), 403)
        ok(client.put("config", json={"policy": {"mode": "monitor"}}))


def test_an_interface_may_come_later(fake: Api) -> None:
    view = put(fake, {"interfaces": {"later0": "native"}})
    assert paths(view) == ["interfaces/later0"] and "later0" in view["warnings"][0]
    assert put(fake, {"interfaces": {"later0": "native"}})["changed"] is False
    fake.kernel.set_links([fake_link(WAN), fake_link("later0", 9)])
    fake.run(fake.firewall.reconcile())
    assert fake.get("interfaces/later0")["state"] == "attached"


@pytest.mark.parametrize("keep", [True, False])
def test_confirm_or_roll_back(api: Api, keep: bool) -> None:
    api.put("sets/old", {"comment": "c"})
    api.bulk("old", "192.0.2.0/24\n2001:db8::/32")
    before = everything(api)[0]
    view = put(api, STATE | {"sets": STATE["sets"] | {"old": None}}, confirm_within=60)  # type: ignore[operator]
    after = everything(api)[0]
    assert before != after
    api.put("sets/block/entries/203.0.113.9")
    problem(api.client.put("sets/office/entries/203.0.113.9"), 409)
    if keep:
        ok(api.client.post(f"confirmations/{view['confirmation']}"))
    else:
        ok(api.client.delete(f"confirmations/{view['confirmation']}"))
    left = everything(api)[0]
    assert left["sets"].pop("block")["entries"] == ["203.0.113.9/32"]
    wanted = dict(after if keep else before)
    wanted["sets"].pop("block")
    assert left == wanted


def test_going_back_to_a_revision(api: Api) -> None:
    put(api, STATE)
    before = everything(api)[0]
    api.put("sets/block/entries/203.0.113.9")
    put(api, {"rules": RULES[:1], "sets": {"office": {"entries": []}, "new": {}}, "policy": {"default": "pass"}})
    revisions = api.get("revisions")
    assert [each["revision"] for each in revisions["items"]] == [3, 1, 0]
    assert revisions["items"][0]["author"]["path"] == "/config" and revisions["items"][-1]["made_at"] is None
    with api.nothing_changes():
        told = ok(api.client.post("rollback", json={"revision": 1}, params={"dry_run": True, **FORCE})).json()
    done = ok(api.client.post("rollback", json={"revision": 2}, params=FORCE)).json()
    assert done["revision"] == api.revision == 4
    assert done["differences"] == told["differences"]
    assert {"rules/web", "sets/new", "policy", "sets/office/entries/10.0.0.0/8"} <= set(paths(done))
    after = everything(api)[0]
    assert after["sets"].pop("block")["entries"] == ["203.0.113.9/32"]
    before["sets"].pop("block")
    assert after == before
    again = ok(api.client.post("rollback", json={"revision": 4})).json()
    assert (again["changed"], again["differences"]) == (False, [])


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [({"revision": 1}, 422, "/revision"), ({"revision": -1}, 422, "/revision"), ({"revision": "0"}, 422, "/revision"),
     ({}, 422, "/revision"), ({"revision": 0, "x": 1}, 422, "/x"), ({"revision": True}, 422, "/revision")],
)  # fmt: skip
def test_revisions_that_are_none(api: Api, body: Any, status: int, pointer: str) -> None:
    with api.nothing_changes():
        found = problem(api.client.post("rollback", json=body), status)
    assert [each["pointer"] for each in found["errors"]] == [pointer]
