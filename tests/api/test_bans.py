# SPDX-License-Identifier: Apache-2.0
"""Limits and bans over REST. On the real kernel a test exceeds limits with the live program's own tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests import packets as p
from tests.api.conftest import WAN, Api, behind, ok, problem
from xdpfw.model.reason import MAX_REASONS, Reason

HOUR = 3600
UDP = {"protocol": "udp"}


def rule(ban: Any = HOUR, **more: Any) -> dict[str, Any]:
    return {
        "action": "limit",
        "match": UDP,
        "comment": "too eager",
        "limit": {"rate": 1, "burst": 2, "ban": ban, **more},
    }


def exceed(api: Api, source: str, id: str = "eager") -> None:
    """Let a source exceed a rule's limit, which bans by single addresses (IPv6: by /64)."""
    slot = api.firewall.state.policy.slots.of[id]
    if not api.real:
        api.kernel.bans.ban(source, slot, HOUR, 64 if ":" in source else 128)
        return
    from tests.kernel.bench import Bench

    bench = Bench(api.kernel)
    try:
        for _ in range(6):
            bench.run(p.ethernet(p.ip(source, p.udp())))
    finally:
        bench.close()


def entries(api: Api, **params: Any) -> list[dict[str, Any]]:
    return list(api.get("sets/banned/entries", **params)["items"])


@pytest.fixture
def banning(api: Api) -> Api:
    """With a rule that bans, and something attached."""
    api.put(f"interfaces/{WAN}", {"mode": "native"})
    api.put("rules/eager", rule())
    return api


def test_a_rule_that_limits_is_taken_as_it_says(api: Api) -> None:
    said = {"rate": 100, "unit": "bytes", "burst": 50, "per": "source", "prefix4": 24, "prefix6": 56, "ban": "10m"}
    shown = api.put("rules/a", {"action": "limit", "limit": said}).json()
    assert shown["limit"] == {**said, "ban": 600}
    assert api.get("rules/a")["limit"] == shown["limit"]
    assert api.put("rules/b", {"action": "limit", "limit": {"rate": 7}}).json()["limit"] == {
        "rate": 7, "unit": "packets", "burst": 7, "per": "source", "prefix4": 32, "prefix6": 64, "ban": 0,
    }  # fmt: skip


def test_rules_may_ban_by_few_lengths_only(api: Api) -> None:
    for length in range(29, 33):
        api.put(f"rules/r{length}", rule(prefix4=length))
    with api.nothing_changes():
        document = problem(api.client.put("rules/r28", json=rule(prefix4=28)), 422)
        assert "prefix4" in document["detail"] and document["errors"][0]["pointer"].endswith("/limit/prefix4")


def test_the_set_is_listed_once_a_rule_bans(api: Api) -> None:
    names = lambda: [view["name"] for view in api.get("sets")["items"]]  # noqa: E731
    api.put("rules/limits", {"action": "limit", "limit": {"rate": 1}})
    assert "banned" not in names()
    api.put("rules/eager", rule())
    assert "banned" in names()
    view = api.get("sets/banned")
    assert (view["name"], view["entries"], view["dynamic"]) == ("banned", 0, True)
    assert entries(api) == []


def test_a_ban_is_an_entry(banning: Api) -> None:
    exceed(banning, "192.0.2.7")
    exceed(banning, "2001:db8::7")
    found = {entry["prefix"]: entry for entry in entries(banning)}
    assert found.keys() == {"192.0.2.7/32", "2001:db8::/64"}
    entry = found["192.0.2.7/32"]
    assert (entry["origin"], entry["comment"]) == ("rule:eager", "too eager")
    assert HOUR - 60 < entry["ttl"] <= HOUR + 1
    assert banning.get("sets/banned/entries/192.0.2.7") | {"packets": 0, "bytes": 0} == entry | {
        "packets": 0,
        "bytes": 0,
    }
    view = banning.get("sets/banned")
    assert (view["entries"], view["entries4"], view["entries6"]) == (2, 1, 1)


def test_lists_of_bans_are_those_of_any_set(banning: Api) -> None:
    for n in range(5):
        exceed(banning, f"192.0.2.{n}")
    page = banning.get("sets/banned/entries", limit=2)
    assert ([e["prefix"] for e in page["items"]], page["total"]) == (["192.0.2.0/32", "192.0.2.1/32"], 5)
    rest = banning.get("sets/banned/entries", cursor=page["next"])
    assert [e["prefix"] for e in rest["items"]] == [f"192.0.2.{n}/32" for n in (2, 3, 4)]
    assert [e["prefix"] for e in entries(banning, within="192.0.2.4/30")] == ["192.0.2.4/32"]
    assert len(entries(banning, origin="rule:eager")) == 5 and entries(banning, origin="manual") == []
    assert banning.prefixes("banned") == [f"192.0.2.{n}/32" for n in range(5)]
    lines = ok(banning.client.get("sets/banned/entries", headers={"Accept": "application/x-ndjson"})).text.splitlines()
    assert [json.loads(line)["prefix"] for line in lines] == banning.prefixes("banned")


def test_what_a_ban_drops_is_counted(banning: Api) -> None:
    exceed(banning, "192.0.2.7")
    before = banning.get("sets/banned/entries/192.0.2.7")["packets"]
    frame = p.ethernet(p.ip("192.0.2.7", p.tcp()))
    if banning.real:
        from tests.kernel.bench import Bench

        bench = Bench(banning.kernel)
        assert not any(bench.run(frame) for _ in range(3))
        bench.close()
    else:
        for _ in range(3):
            banning.kernel.receive(WAN, frame)
        reasons = banning.get(f"interfaces/{WAN}/counters")["reasons"]
        assert reasons["banned"]["dropped"]["packets"] == 3
    after = banning.get("sets/banned/entries/192.0.2.7")
    assert after["packets"] - before == 3
    assert banning.get("sets/banned")["packets"] == after["packets"]
    assert banning.get("addresses/192.0.2.7")["matches"][0]["packets"] == after["packets"]


def test_an_address_tells_that_it_is_banned(banning: Api) -> None:
    exceed(banning, "192.0.2.7")
    told = banning.get("addresses/192.0.2.7")
    assert (told["verdict"], told["rule"]) == ("drop", "eager")
    assert "banned 192.0.2.7/32" in told["because"]
    [match] = told["matches"]
    assert (match["set"], match["prefix"], match["origin"]) == ("banned", "192.0.2.7/32", "rule:eager")
    assert match["expires_at"]
    other = banning.get("addresses/192.0.2.8")
    assert (other["verdict"], other["matches"]) == ("conditional", [])


def test_explain_tells_the_rule_that_banned(banning: Api) -> None:
    exceed(banning, "192.0.2.7")
    told = ok(banning.client.post("explain", json={"source": "192.0.2.7", "protocol": "tcp"})).json()
    assert (told["verdict"], told["reason"], told["rule"]) == ("drop", "banned", "eager")
    assert told["matches"][0]["set"] == "banned"
    within = ok(banning.client.post("explain", json={"source": "192.0.2.8", "protocol": "udp"})).json()
    assert (within["verdict"], within["rule"]) == ("pass", "eager")
    assert len(entries(banning)) == 1, "asking bans nobody"


def test_allow_and_what_else_stands_before_the_rule_beats_a_ban(banning: Api) -> None:
    exceed(banning, "192.0.2.7")
    written = banning.put("sets/allow/entries/192.0.2.0%2F24").json()
    assert written["effective"] == "pass"
    assert banning.get("addresses/192.0.2.7")["verdict"] == "pass"
    assert banning.kernel.judge(p.ethernet(p.ip("192.0.2.7", p.tcp()))).verdict == "pass"
    ok(banning.client.delete("sets/allow/entries/192.0.2.0%2F24"))
    assert banning.kernel.judge(p.ethernet(p.ip("192.0.2.7", p.tcp()))).cause == Reason.BANNED


def test_lifting_a_ban(banning: Api) -> None:
    exceed(banning, "192.0.2.7")
    exceed(banning, "192.0.2.8")
    revision = banning.revision
    with banning.nothing_changes():
        told = ok(banning.client.delete("sets/banned/entries/192.0.2.7", params={"dry_run": True})).json()
        assert told["removed"] == 1
    response = ok(banning.client.delete("sets/banned/entries/192.0.2.7"))
    assert response.status_code == 204 and response.headers["x-effective"] == "conditional"
    assert int(response.headers["x-revision"]) == revision + 1 == banning.revision
    problem(banning.client.delete("sets/banned/entries/192.0.2.7"), 404)
    assert banning.prefixes("banned") == ["192.0.2.8/32"]
    judged = banning.kernel.judge(p.ethernet(p.ip("192.0.2.7", p.tcp())))
    assert judged.verdict == "pass"
    assert [str(prefix) for prefix in banning.saved().bans] == ["192.0.2.8/32"]


def test_lifting_several_is_all_or_nothing(banning: Api) -> None:
    for n in range(3):
        exceed(banning, f"192.0.2.{n}")
    with banning.nothing_changes():
        refused = banning.client.patch("sets/banned/entries", json={"remove": ["192.0.2.0", "192.0.2.9"]})
        assert "192.0.2.9" in problem(refused, 404)["detail"]
    told = banning.patch("sets/banned/entries", {"remove": ["192.0.2.0", "192.0.2.9"]}, ignore_missing=True)
    assert (told["removed"], told["total"], told["changed"]) == (1, 2, True)
    assert banning.patch("sets/banned/entries", {"remove": ["192.0.2.1", "192.0.2.2"]})["total"] == 0


@pytest.mark.parametrize("write", [
    lambda client: client.put("sets/banned/entries/192.0.2.1"),
    lambda client: client.patch("sets/banned/entries", json={"add": ["192.0.2.1"]}),
    lambda client: client.put("sets/banned/entries", content=b"192.0.2.1\n", headers={"Content-Type": "text/plain"}),
    lambda client: client.put("sets/banned", json={"comment": "mine"}),
    lambda client: client.delete("sets/banned"),
])  # fmt: skip
def test_nobody_bans_by_hand(banning: Api, write: Callable[[Any], Any]) -> None:
    exceed(banning, "192.0.2.7")
    entries(banning)
    with banning.nothing_changes():
        assert "block" in problem(write(banning.client), 409)["detail"]


def test_rules_cannot_name_the_set(banning: Api) -> None:
    with banning.nothing_changes():
        refused = banning.client.put("rules/a", json={"action": "drop", "match": {"source": "banned"}})
        assert "in the place of the rule" in problem(refused, 422)["detail"]


def test_entity_tags_follow_bans(banning: Api) -> None:
    exceed(banning, "192.0.2.7")
    entries(banning)
    tag = ok(banning.client.get("sets/banned/entries")).headers["etag"]
    assert banning.client.get("sets/banned/entries", headers={"If-None-Match": tag}).status_code == 304
    exceed(banning, "192.0.2.8")
    banning.run(banning.firewall.keep_bans())
    stale = banning.client.patch("sets/banned/entries", json={"remove": ["192.0.2.7"]}, headers={"If-Match": tag})
    problem(stale, 412)


def test_bans_go_with_their_rule_and_rest_while_it_is_off(banning: Api) -> None:
    exceed(banning, "192.0.2.7")
    frame = p.ethernet(p.ip("192.0.2.7", p.tcp()))
    banning.patch("rules/eager", {"enabled": False})
    assert banning.kernel.judge(frame).verdict == "pass"
    assert banning.get("addresses/192.0.2.7")["verdict"] == "pass"
    banning.patch("rules/eager", {"enabled": True})
    assert banning.kernel.judge(frame).cause == Reason.BANNED
    ok(banning.client.delete("rules/eager"))
    assert entries(banning) == [] and not banning.saved().bans
    assert "banned" not in [view["name"] for view in banning.get("sets")["items"]]


def test_a_rule_that_bans_no_more_leaves_its_bans(banning: Api) -> None:
    exceed(banning, "192.0.2.7")
    banning.patch("rules/eager", {"limit": {"rate": 1}})
    banning.run(banning.firewall.trim())
    assert banning.kernel.judge(p.ethernet(p.ip("192.0.2.7", p.tcp()))).cause == Reason.BANNED
    ok(banning.client.delete("sets/banned/entries/192.0.2.7"))
    banning.run(banning.firewall.trim())
    assert banning.kernel.judge(p.ethernet(p.ip("192.0.2.7", p.tcp()))).verdict == "pass"


def test_status_tells_fill_and_refusals(banning: Api) -> None:
    exceed(banning, "192.0.2.7")
    entries(banning)
    bans = banning.get("status")["bans"]
    assert (bans["used"], bans["size"], bans["made"], bans["refused"]) == (1, banning.firewall.limits.bans, 1, 0)


def test_refusals_are_warned_about(fake: Api) -> None:
    fake.put("rules/eager", rule())
    for n in range(fake.firewall.limits.bans + 2):
        fake.kernel.bans.ban(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 2, HOUR)
    fake.run(fake.firewall.keep_bans())
    status = fake.get("status")
    assert (status["bans"]["used"], status["bans"]["refused"]) == (fake.firewall.limits.bans, 2)
    assert any("could not be banned" in warning for warning in status["warnings"])
    metrics = fake.client.get("http://xdpfw/metrics").text
    assert "xdpfw_bans_refused_total 2" in metrics
    assert f'xdpfw_set_entries{{set="banned",family="4"}} {fake.firewall.limits.bans}' in metrics


def test_a_ban_of_an_ssh_peer_is_warned_about(fake: Api) -> None:
    fake.kernel.peer_addresses.append("198.51.100.7")
    fake.put("rules/eager", rule())
    fake.kernel.bans.ban("198.51.100.7", 2, HOUR)
    fake.run(fake.firewall.keep_bans())
    assert any("xdpfw unban 198.51.100.7" in warning for warning in fake.get("status")["warnings"])


def test_bans_are_stored_and_come_back_after_a_reboot(fake: Api) -> None:
    fake.put("rules/eager", rule())
    fake.kernel.bans.ban("192.0.2.7", 2, HOUR)
    fake.kernel.bans.ban("192.0.2.8", 2, 0)
    fake.run(fake.firewall.keep_bans())
    [saved] = fake.saved().bans.values()
    assert (str(saved.prefix), saved.rule) == ("192.0.2.7/32", "eager")
    with behind(fake.host, fake.store) as again:
        [entry] = entries(again)
        assert (entry["prefix"], entry["origin"]) == ("192.0.2.7/32", "rule:eager")
        assert HOUR - 60 < entry["ttl"] <= HOUR
        judged = again.kernel.judge(p.ethernet(p.ip("192.0.2.7", p.tcp())))
        assert (judged.cause, judged.banned_by) == (Reason.BANNED, MAX_REASONS + 2)


def test_what_runs_out_is_taken_out_of_table_and_store(fake: Api) -> None:
    fake.put("rules/eager", rule())
    fake.kernel.bans.ban("192.0.2.7", 2, 0.2)
    fake.run(fake.firewall.keep_bans())
    from lab.waiting import eventually

    eventually(lambda: entries(fake) == [], "the ban runs out", 5)
    assert not len(fake.kernel.bans.read()) and not fake.saved().bans


def test_a_store_that_fails_leaves_the_ban(fake: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from xdpfw.model.errors import StoreError

    fake.put("rules/eager", rule())
    fake.kernel.bans.ban("192.0.2.7", 2, HOUR)
    entries(fake)

    def refuse(change: Any) -> None:
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(fake.store, "save", refuse)
        problem(fake.client.delete("sets/banned/entries/192.0.2.7"), 503)
    assert len(entries(fake)) == 1 and len(fake.kernel.bans.read()) == 1


def test_a_lifted_ban_is_in_the_audit_trail(banning: Api) -> None:
    exceed(banning, "192.0.2.7")
    ok(banning.client.delete("sets/banned/entries/192.0.2.7"))
    record = banning.get("audit")["items"][0]
    assert (record["outcome"], record["status"], record["revision"]) == ("accepted", 204, banning.revision)
    [difference] = record["differences"]
    assert difference["path"] == "sets/banned/entries/192.0.2.7/32"
    assert (difference["before"]["origin"], difference["after"]) == ("rule:eager", None)


def test_lifting_cannot_wait_for_confirmation(banning: Api) -> None:
    exceed(banning, "192.0.2.7")
    entries(banning)
    with banning.nothing_changes():
        problem(banning.client.delete("sets/banned/entries/192.0.2.7", params={"confirm_within": 60}), 409)
