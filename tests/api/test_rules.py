# SPDX-License-Identifier: Apache-2.0
"""The ordered rules over REST."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests import packets as p
from tests.api.conftest import WAN, Api, ok, problem
from xdpfw.kernel.fake import fake_link
from xdpfw.model.errors import KernelError
from xdpfw.model.feature import Feature
from xdpfw.model.policy import MAX_ROWS

WEB = {"action": "drop", "match": {"protocol": ["tcp"], "destination_ports": [80, "8000-8100"]}}


def ids(api: Api) -> list[str]:
    return [rule["id"] for rule in api.get("rules")["items"]]


def test_allow_and_block_are_there_from_the_start(api: Api) -> None:
    rules = api.get("rules")
    assert [(r["id"], r["position"], r["action"], r["match"]) for r in rules["items"]] == [
        ("allow", 1, "pass", {"source": ["allow"]}),
        ("block", 2, "drop", {"source": ["block"]}),
    ]
    assert rules["total"] == 2


def test_a_rule_is_made_read_changed_and_deleted(api: Api) -> None:
    made = api.put("rules/web", WEB)
    assert made.status_code == 201
    assert made.json()["match"] == WEB["match"] and made.json()["position"] == 3
    again = api.put("rules/web", WEB)
    assert (again.status_code, again.json()["changed"]) == (200, False)
    changed = api.patch("rules/web", {"match": {"protocol": None, "source": "!allow"}, "comment": "busy"})
    assert changed["match"] == {"source": ["!allow"], "destination_ports": [80, "8000-8100"]}
    assert (changed["comment"], changed["action"], changed["changed"]) == ("busy", "drop", True)
    assert api.get("rules/web")["comment"] == "busy"
    assert api.client.delete("rules/web").status_code == 204
    problem(api.client.delete("rules/web"), 404)
    problem(api.client.get("rules/web"), 404)


def test_rules_move(api: Api) -> None:
    for id in "abc":
        api.put(f"rules/{id}", {"action": "drop", "match": {"vlan": 5}, "position": 1})
    assert ids(api) == ["c", "b", "a", "allow", "block"]
    api.patch("rules/a", {"before": "c"})
    api.patch("rules/allow", {"position": 1})
    api.patch("rules/c", {"after": "block"})
    assert ids(api) == ["allow", "a", "b", "block", "c"]


def test_what_was_read_may_be_sent_back(api: Api) -> None:
    api.put("rules/web", WEB)
    with api.nothing_changes():
        assert api.put("rules", api.get("rules")).json()["changed"] is False
        assert api.put("rules", api.get("rules")["items"]).json()["changed"] is False


def test_replacing_all_is_one_change(api: Api) -> None:
    rules = api.get("rules")["items"]
    written = api.put(
        "rules", [*rules, {"id": "one", **WEB}, {"id": "two", "action": "pass", "match": {"vlan": 3}}]
    ).json()
    assert (written["revision"], written["changed"]) == (1, True)
    assert [written[name] for name in ("added", "removed", "edited", "kept", "total")] == [2, 0, 0, 2, 4]
    assert ids(api) == ["allow", "block", "one", "two"]
    assert api.saved().policy.rule("one") is not None


def test_losing_the_block_list_is_refused_unless_forced(api: Api) -> None:
    with api.nothing_changes():
        assert "block" in problem(api.client.put("rules", json=[{"id": "one", **WEB}]), 409)["detail"]
        problem(api.client.delete("rules/block"), 409)
    api.put("rules", [{"id": "one", **WEB}], force=True)
    assert ids(api) == ["one"]


def test_dry_runs_tell_and_change_nothing(api: Api) -> None:
    with api.nothing_changes():
        told = api.put("rules/web", WEB, dry_run=True).json()
        assert (told["changed"], told["dry_run"], told["position"]) == (True, True, 3)


@pytest.mark.parametrize(("body", "pointer"), [
    ({}, "/action"),
    ({**WEB, "colour": "red"}, "/colour"),
    ({**WEB, "match": {"ports": 80}}, "/match/ports"),
    ({**WEB, "match": {"destination_ports": "8100-8000"}}, "/match/destination_ports"),
    ({**WEB, "match": {"source": "nowhere"}}, "/match/source"),
    ({**WEB, "match": {"destination": ["allow", "!nowhere"]}}, "/match/destination"),
    ({**WEB, "id": "other"}, "/id"),
    ({**WEB, "position": 0}, "/position"),
    ({**WEB, "position": 1, "before": "allow"}, "/position"),
    ({**WEB, "before": "web"}, "/before"),
    ({**WEB, "after": "nothing"}, "/after"),
    ([], ""),
])  # fmt: skip
def test_bad_rules_are_422_and_say_where(api: Api, body: Any, pointer: str) -> None:
    with api.nothing_changes():
        document = problem(api.client.put("rules/web", json=body), 422)
        assert pointer in [error["pointer"] for error in document["errors"]]


def test_bad_lists_are_refused(api: Api) -> None:
    rules = api.get("rules")["items"]
    with api.nothing_changes():
        twice = problem(api.client.put("rules", json=[*rules, rules[0]]), 422)
        assert twice["errors"][0]["pointer"] == "/2/id"
        many = [*rules, *({"id": f"r{n}", "action": "drop", "match": {"vlan": 1}} for n in range(MAX_ROWS))]
        assert "too many rules" in problem(api.client.put("rules", json=many), 422)["detail"]
        problem(api.client.put("rules", content=b"[{", headers={"Content-Type": "application/json"}), 400)
        problem(api.client.put("rules/Web", json=WEB), 422)


def test_a_set_that_a_rule_uses_stays(api: Api) -> None:
    api.put("sets/guests", {})
    api.put("rules/guests", {"action": "pass", "match": {"destination": "!guests"}})
    with api.nothing_changes():
        assert "guests" in problem(api.client.delete("sets/guests"), 409)["detail"]


def test_each_rule_has_an_entity_tag_of_its_own(api: Api) -> None:
    api.put("rules/a", WEB)
    tag = ok(api.client.get("rules/a")).headers["etag"]
    api.put("rules/b", WEB)
    assert api.client.get("rules/a", headers={"If-None-Match": tag}).status_code == 304
    api.patch("rules/a", {"comment": "changed"})
    with api.nothing_changes():
        problem(api.client.patch("rules/a", json={"comment": "lost"}, headers={"If-Match": tag}), 412)


def test_an_absent_interface_is_warned_about(api: Api) -> None:
    assert "eth9" in api.put("rules/a", {**WEB, "match": {"interfaces": ["eth9", WAN]}}).json()["warning"]


def test_a_nic_that_strips_tags_is_warned_about(fake: Api) -> None:
    fake.kernel.set_links([replace(fake_link(WAN, 2), strips_tags=True), fake_link("lan0", 3)])
    fake.put(f"interfaces/{WAN}", {"mode": "native"})
    tagged = {"action": "drop", "match": {"vlan": [7]}}
    assert "rxvlan off" in fake.put("rules/a", tagged).json()["warning"]
    assert fake.put("rules/b", {"action": "drop", "match": {"vlan": 7, "interfaces": "lan0"}}).json()["warning"] is None
    assert fake.get("rules/block")["warning"] is None


def test_pages_keep_the_order(api: Api) -> None:
    for id in "zyx":
        api.put(f"rules/{id}", WEB)
    page = api.get("rules", limit=2)
    assert ([r["id"] for r in page["items"]], page["total"]) == (["allow", "block"], 5)
    assert [r["id"] for r in api.get("rules", limit=5, cursor=page["next"])["items"]] == ["z", "y", "x"]
    problem(api.client.get("rules", params={"cursor": "x"}), 422)


def test_rules_decide_and_count(api: Api) -> None:
    api.put(f"interfaces/{WAN}", {"mode": "native"})
    api.put("rules/web", WEB)
    api.put("rules/watch", {"action": "drop", "mode": "monitor", "match": {"protocol": "udp"}, "position": 1})
    judge = api.kernel.judge
    assert judge(p.ethernet(p.ip("192.0.2.1", p.tcp(1000, 8080)))).verdict == "drop"
    assert judge(p.ethernet(p.ip("192.0.2.1", p.tcp(1000, 443)))).verdict == "pass"
    watched = judge(p.ethernet(p.ip("192.0.2.1", p.udp(1000, 53))))
    assert watched.verdict == "pass" and watched.monitored_cause


def test_counters_survive_edits_of_other_rules(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}", {"mode": "native"})
    fake.put("rules/a", WEB)
    fake.put("rules/b", {"action": "drop", "match": {"protocol": "udp"}})
    frame = p.ethernet(p.ip("192.0.2.1", p.udp()))
    for _ in range(3):
        fake.kernel.receive(WAN, frame)
    fake.client.delete("rules/a")
    fake.put("rules/c", WEB)
    assert (fake.get("rules/b")["packets"], fake.get("rules/b")["bytes"]) == (3, 3 * len(frame))
    fake.client.delete("rules/b")
    totals = fake.get(f"interfaces/{WAN}/counters")
    assert totals["dropped"]["packets"] == 3
    assert totals["reasons"]["rule"]["dropped"]["packets"] == 3
    fake.put("rules/d", WEB)
    assert fake.get("rules/d")["packets"] == 0


def test_what_the_kernel_cannot_compile_changes_nothing(fake: Api) -> None:

    fake.kernel.fail_next(Feature, KernelError("the compiler is missing"))
    with fake.nothing_changes():
        problem(fake.client.put("rules/web", json=WEB), 503)
