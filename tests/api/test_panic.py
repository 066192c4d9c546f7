# SPDX-License-Identifier: Apache-2.0
"""Panic: everything is dropped but what must stay reachable, and the policy comes back exactly."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import WAN, Api, ok, problem
from tests.packets import ethernet, ip, tcp, udp
from xdpfw.model.prefix import Prefix
from xdpfw.service import Firewall

KEEP = {"keep": ["192.0.2.0/24", "2001:db8::/32"]}
RULES = [
    {"id": "web", "match": {"protocol": "tcp", "destination_ports": 80}, "action": "pass"},
    {"id": "allow", "match": {"source": "allow"}, "action": "pass"},
    {"id": "block", "match": {"source": "block"}, "action": "drop"},
]


def passes(api: Api, source: str, segment: Any = None) -> bool:
    frame = ethernet(ip(source, segment or udp()))
    return bool(api.kernel.judge(frame, WAN).verdict == "pass")


def test_only_what_is_kept_passes_and_everything_comes_back(api: Api) -> None:
    api.client.put("rules", json=RULES)
    api.patch("policy", {"mode": "monitor", "ethertypes": ["0x88cc"]})
    api.put("sets/allow/entries/198.51.100.0/24")
    before, rules = api.firewall.state.policy, api.get("rules")
    assert api.get("panic") == {"on": False, "since": None, "keep": []}
    started = ok(api.client.put("panic", json=KEEP)).json()
    assert (started["on"], started["changed"], started["keep"]) == (True, True, KEEP["keep"])
    assert passes(api, "192.0.2.7") and passes(api, "2001:db8::7")
    assert (
        not passes(api, "198.51.100.7") and not passes(api, "203.0.113.1", tcp(1000, 80)) and not passes(api, "fe80::1")
    )
    status = api.get("status")
    assert status["panic"] == {"on": True, "since": started["since"], "keep": KEEP["keep"]}
    assert "PANIC" in status["warnings"][0]
    assert "xdpfw_panic 1\n" in api.client.get("http://xdpfw/metrics").text
    assert [rule["id"] for rule in api.get("rules")["items"]] == ["panic-keep", "panic-drop", "web", "allow", "block"]
    gone = api.client.delete("panic")
    assert gone.status_code == 204
    assert api.firewall.state.policy == before == api.saved().policy
    assert api.get("rules") == rules
    problem(api.client.delete("panic"), 404)


def test_a_second_panic_keeps_others_and_ends_as_the_first(api: Api) -> None:
    before = api.firewall.state.policy
    first = ok(api.client.put("panic", json=KEEP)).json()
    assert ok(api.client.put("panic", json=KEEP)).json()["changed"] is False
    second = ok(api.client.put("panic", json={"keep": ["203.0.113.1"]})).json()
    assert (second["keep"], second["since"]) == (["203.0.113.1/32"], first["since"])
    assert not passes(api, "192.0.2.7") and passes(api, "203.0.113.1")
    ok(api.client.delete("panic"))
    assert api.firewall.state.policy == before


def test_the_policy_waits_and_entries_go_on(api: Api) -> None:
    ok(api.client.put("panic", json=KEEP))
    document = ok(api.client.get("config")).json()
    with api.nothing_changes():
        for method, path, body in (
            ("PATCH", "policy", {"mode": "monitor"}),
            ("PUT", "rules/web", {"action": "drop"}),
            ("DELETE", "rules/panic-drop", None),
            ("PUT", "config", {"rules": []}),
            ("POST", "rollback", {"revision": 0}),
        ):
            refused = api.client.request(method, path, json=body, params={"force": True})
            assert "panic" in problem(refused, 409)["detail"]
        assert ok(api.client.put("config", json=document)).json()["changed"] is False
    api.put("sets/block/entries/203.0.113.1")
    ok(api.client.delete("panic"))
    assert not passes(api, "203.0.113.1")


def test_it_outlives_a_restart(api: Api) -> None:
    before = api.firewall.state.policy
    since = ok(api.client.put("panic", json=KEEP)).json()["since"]
    again = Firewall(api.kernel, api.store, limits=api.firewall.limits)
    if api.real:
        return  # one daemon alone may hold the pinned maps; the fake stands for both
    api.run(again.load())
    assert again.panic().on and again.panic().since.isoformat().replace("+00:00", "Z") == since
    assert again.state.policy.calm() == before


def test_nobody_kept_needs_force(fake: Api) -> None:
    with fake.nothing_changes():
        assert problem(fake.client.put("panic"), 409)["type"].endswith(":guarded")
    ok(fake.client.put("panic", params={"force": True}))
    assert not passes(fake, "192.0.2.7")


def test_ssh_peers_management_and_whoever_asks_are_kept(fake: Api) -> None:
    fake.kernel.peer_addresses = ["192.0.2.7"]
    fake.firewall.guards.management = (Prefix.parse("198.51.100.0/24"),)
    session = {"X-SSH-Connection": "2001:db8::9 50022 2001:db8::1 22"}
    answer = ok(fake.client.put("panic", headers=session)).json()
    assert set(answer["keep"]) == {"192.0.2.7/32", "198.51.100.0/24", "2001:db8::9/128"}


def test_ending_it_locks_nobody_out(fake: Api) -> None:
    fake.kernel.peer_addresses = ["192.0.2.7"]
    fake.patch("policy", {"default": "drop"}, force=True)
    ok(fake.client.put("panic"))
    assert "192.0.2.7" in problem(fake.client.delete("panic"), 409)["detail"]
    ok(fake.client.delete("panic", params={"force": True}))


@pytest.mark.parametrize("keep", [True, False])
def test_confirm_or_roll_back(api: Api, keep: bool) -> None:
    before = api.firewall.state.policy
    id = ok(api.client.put("panic", json=KEEP, params={"confirm_within": 60})).json()["confirmation"]
    problem(api.client.delete("panic"), 409)
    ok(api.client.request("POST" if keep else "DELETE", f"confirmations/{id}"))
    assert (api.firewall.state.policy == before) is not keep
    assert api.get("panic")["on"] is keep


def test_dry_runs(api: Api) -> None:
    with api.nothing_changes():
        told = ok(api.client.put("panic", json=KEEP, params={"dry_run": True})).json()
        assert (told["on"], told["changed"], told["dry_run"]) == (True, True, True)
    ok(api.client.put("panic", json=KEEP))
    with api.nothing_changes():
        assert ok(api.client.delete("panic", params={"dry_run": True})).json()["changed"] is True


@pytest.mark.parametrize("name", ["panic-keep", "panic-drop"])
def test_its_rules_are_nobody_elses(api: Api, name: str) -> None:
    with api.nothing_changes():
        problem(api.client.put(f"rules/{name}", json={"action": "pass"}), 422)
        problem(api.client.put("config", json={"rules": [{"id": name, "action": "pass"}]}, params={"force": True}), 422)
        problem(api.client.put("panic", json={"keep": ["10.0.0.1/8"]}), 422)


def test_there_is_room_for_it_however_many_rules_there_are(fake: Api) -> None:
    from xdpfw.model.policy import MAX_ROWS, PANIC_ROWS

    many = [{"id": f"r{n}", "action": "drop", "match": {"vlan": 1}} for n in range(MAX_ROWS - PANIC_ROWS)]
    ok(fake.client.put("rules", json=many, params={"force": True}))
    problem(fake.client.put("rules", json=[*many, {"id": "x", "action": "drop"}], params={"force": True}), 422)
    ok(fake.client.put("panic", json=KEEP))
    ok(fake.client.delete("panic"))
    assert len(fake.firewall.state.policy.rules) == len(many)
