# SPDX-License-Identifier: Apache-2.0
"""Interfaces: attach and detach; counters and talkers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import LAN, WAN, Api, ok, problem
from xdpfw.kernel.fake import fake_link
from xdpfw.model.interface import ForeignProgram
from xdpfw.model.reason import MAX_REASONS, Reason

BLOCK_ROW = MAX_REASONS + 1
FIELDS = {
    "name", "index", "mac", "mtu", "driver", "desired", "state", "mode", "program_id", "passed", "dropped", "warning",
}  # fmt: skip


def test_every_interface_is_listed(api: Api) -> None:
    page = api.get("interfaces")
    assert {view["name"] for view in page["items"]} >= {WAN, LAN, "lo"}
    assert page["total"] == len(page["items"])
    assert all(view.keys() >= FIELDS for view in page["items"])
    view = api.get(f"interfaces/{WAN}")
    assert (view["state"], view["mode"], view["desired"], view["program_id"]) == ("detached", None, None, None)
    assert (view["driver"], view["mtu"]) == ("veth", 1500)


def test_the_same_put_is_201_then_200_and_the_same_delete_204_then_404(api: Api) -> None:
    first = api.put(f"interfaces/{WAN}", {"mode": "native"})
    document = first.json()
    assert (first.status_code, document["state"], document["mode"]) == (201, "attached", "native")
    assert (document["desired"], document["warning"]) == ("native", None)
    assert document["program_id"] > 0
    again = api.put(f"interfaces/{WAN}", {"mode": "native"})
    assert (again.status_code, again.json()["changed"]) == (200, False)
    assert again.json()["revision"] == document["revision"]
    assert api.client.delete(f"interfaces/{WAN}").status_code == 204
    assert api.get(f"interfaces/{WAN}")["state"] == "detached"
    with api.nothing_changes():
        problem(api.client.delete(f"interfaces/{WAN}"), 404)


def test_no_body_means_auto(api: Api) -> None:
    view = api.put(f"interfaces/{WAN}").json()
    assert (view["desired"], view["mode"]) == ("auto", "native")


def test_generic_mode(api: Api) -> None:
    view = api.put(f"interfaces/{WAN}", {"mode": "generic"}).json()
    assert (view["desired"], view["mode"]) == ("generic", "generic")


def test_changing_the_mode_needs_force(api: Api) -> None:
    api.put(f"interfaces/{WAN}", {"mode": "native"})
    with api.nothing_changes():
        problem(api.client.put(f"interfaces/{WAN}", json={"mode": "generic"}), 409)
    assert api.put(f"interfaces/{WAN}", {"mode": "generic"}, force=True).json()["mode"] == "generic"


@pytest.mark.parametrize("name", ["absent0", "a" * 15])
def test_an_absent_interface_is_404(api: Api, name: str) -> None:
    with api.nothing_changes():
        for method in ("GET", "PUT", "DELETE"):
            assert name in problem(api.client.request(method, f"interfaces/{name}"), 404)["detail"]


@pytest.mark.parametrize("name", ["a" * 16, "a b", ".."])
def test_what_no_interface_can_be_called_is_refused(api: Api, name: str) -> None:
    with api.nothing_changes():
        path = name if name != ".." else "%2E%2E"
        assert api.client.put(f"interfaces/{path}").status_code in (404, 422)


@pytest.mark.parametrize("body", [{"mode": "fast"}, {"mode": None}, {"mod": "native"}, []], ids=repr)
def test_other_bodies_are_422(api: Api, body: Any) -> None:
    with api.nothing_changes():
        problem(api.client.put(f"interfaces/{WAN}", json=body), 422)


def test_a_foreign_program_is_never_replaced_or_removed(fake: Api) -> None:
    fake.kernel.foreign[WAN] = ForeignProgram(4711, "xdp_theirs")
    with fake.nothing_changes():
        for params in ({}, {"force": True}):
            detail = problem(fake.client.put(f"interfaces/{WAN}", params=params), 409)["detail"]
            assert "4711" in detail
            assert "xdp_theirs" in detail
            problem(fake.client.delete(f"interfaces/{WAN}", params=params), 404)
    assert fake.kernel.foreign[WAN].id == 4711


def test_auto_tells_that_it_fell_back_and_native_does_not_fall_back(fake: Api) -> None:
    fake.kernel.native_refused[WAN] = "Operation not supported"
    with fake.nothing_changes():
        assert "not supported" in problem(fake.client.put(f"interfaces/{WAN}", json={"mode": "native"}), 503)["detail"]
    view = fake.put(f"interfaces/{WAN}", {"mode": "auto"}).json()
    assert view["mode"] == "generic"
    assert "not supported" in view["warning"]
    assert any("not supported" in warning for warning in fake.get("status")["warnings"])


def test_an_interface_that_vanished_is_absent_and_attached_again_when_it_is_back(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    links = list(fake.kernel.links.values())
    fake.kernel.set_links([link for link in links if link.name != WAN])
    fake.run(fake.firewall.reconcile())
    view = fake.get(f"interfaces/{WAN}")
    assert (view["state"], view["desired"], view["index"]) == ("absent", "auto", None)
    fake.kernel.set_links([*links[:1], fake_link(WAN, 9)])
    fake.run(fake.firewall.reconcile())
    assert fake.get(f"interfaces/{WAN}")["state"] == "attached"


def test_counters_by_reason_sum_up_to_the_totals(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    fake.kernel.count(WAN, "192.0.2.1", "pass", 7, 100)
    fake.kernel.count(WAN, None, "pass", 2, 60, cause=Reason.ARP)
    fake.kernel.count(WAN, "192.0.2.2", "drop", 5, 64, cause=BLOCK_ROW)
    fake.kernel.count(WAN, "192.0.2.3", "drop", 1, 40, cause=Reason.BAD_IPV4)
    counters = fake.get(f"interfaces/{WAN}/counters")
    assert (counters["passed"]["packets"], counters["passed"]["bytes"]) == (9, 820)
    assert (counters["dropped"]["packets"], counters["dropped"]["bytes"]) == (6, 360)
    reasons = counters["reasons"]
    assert reasons["arp"]["passed"] == {"packets": 2, "bytes": 120}
    assert reasons["rule:block"]["dropped"] == {"packets": 5, "bytes": 320}
    assert reasons["bad_ipv4"]["dropped"] == {"packets": 1, "bytes": 40}
    for verdict in ("passed", "dropped"):
        for unit in ("packets", "bytes"):
            assert sum(reason[verdict][unit] for reason in reasons.values()) == counters[verdict][unit]
            assert counters[verdict].keys() == {"packets", "bytes", "pps", "bps"}
    view = fake.get(f"interfaces/{WAN}")
    assert (view["passed"], view["dropped"]) == ({"packets": 9, "bytes": 820}, {"packets": 6, "bytes": 360})


def test_counters_and_talkers_of_what_is_not_attached_are_404(api: Api) -> None:
    for path in ("counters", "talkers"):
        problem(api.client.get(f"interfaces/{WAN}/{path}"), 404)
        problem(api.client.get(f"interfaces/absent0/{path}"), 404)
    assert api.get("talkers")["items"] == []


def test_counters_have_their_shape_before_any_packet(api: Api) -> None:
    api.put(f"interfaces/{WAN}", {"mode": "native"})
    counters = api.get(f"interfaces/{WAN}/counters")
    assert counters.keys() >= {"name", "passed", "dropped", "reasons"}
    talkers = api.get(f"interfaces/{WAN}/talkers")
    assert talkers.keys() >= {"items", "total", "other", "totals"}


def seen(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    fake.kernel.count(WAN, "192.0.2.1", "pass", 10, 100)
    fake.kernel.count(WAN, "192.0.2.2", "drop", 30, 60, cause=BLOCK_ROW)
    fake.kernel.count(WAN, "192.0.2.2", "pass", 1, 60)
    fake.kernel.count(WAN, "2001:db8::1", "pass", 5, 1500)
    fake.kernel.count(WAN, None, "pass", 3, 42, cause=Reason.ARP)


def addresses(talkers: Any) -> list[str]:
    return [item["address"] for item in talkers["items"]]


def test_talkers_and_other_are_the_totals(fake: Api) -> None:
    seen(fake)
    talkers = fake.get(f"interfaces/{WAN}/talkers", limit=1000)
    assert talkers["total"] == 3
    for verdict in ("passed", "dropped"):
        for unit in ("packets", "bytes"):
            shown = sum(item[verdict][unit] for item in talkers["items"])
            assert shown + talkers["other"][verdict][unit] == talkers["totals"][verdict][unit]
    assert talkers["other"]["passed"]["packets"] == 3
    assert talkers["totals"]["passed"] | {"pps": 0, "bps": 0} == {"packets": 19, "bytes": 8686, "pps": 0, "bps": 0}
    item = next(item for item in talkers["items"] if item["address"] == "192.0.2.2")
    assert item.keys() >= {"address", "passed", "dropped", "last_seen", "since", "sets"}
    assert (item["dropped"]["packets"], item["passed"]["packets"]) == (30, 1)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["2001:db8::1", "192.0.2.2", "192.0.2.1"]),
        ({"sort": "packets"}, ["192.0.2.2", "192.0.2.1", "2001:db8::1"]),
        ({"sort": "packets", "of": "passed"}, ["192.0.2.1", "2001:db8::1", "192.0.2.2"]),
        ({"sort": "bytes", "of": "dropped", "limit": "1"}, ["192.0.2.2"]),
        ({"order": "asc"}, ["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
        ({"family": "6"}, ["2001:db8::1"]),
        ({"family": "4", "limit": "1"}, ["192.0.2.2"]),
        ({"within": "192.0.2.0/31"}, ["192.0.2.1"]),
        ({"within": "2001:db8::/32"}, ["2001:db8::1"]),
    ],
    ids=str,
)
def test_talkers_are_ranked_and_chosen(fake: Api, params: dict[str, str], expected: list[str]) -> None:
    seen(fake)
    assert addresses(fake.get(f"interfaces/{WAN}/talkers", **params)) == expected


@pytest.mark.parametrize(
    "params", [{"sort": "size"}, {"of": "all"}, {"order": "up"}, {"limit": 0}, {"family": 5}, {"within": "x"}], ids=str
)
def test_other_questions_about_talkers_are_422(fake: Api, params: dict[str, str]) -> None:
    seen(fake)
    problem(fake.client.get(f"interfaces/{WAN}/talkers", params=params), 422)


def test_talkers_know_their_sets(fake: Api) -> None:
    seen(fake)
    fake.put("sets/block/entries/192.0.2.0/24")
    fake.put("sets/allow/entries/192.0.2.2")
    sets = {item["address"]: sorted(item["sets"]) for item in fake.get(f"interfaces/{WAN}/talkers")["items"]}
    assert sets == {"192.0.2.1": ["block"], "192.0.2.2": ["allow", "block"], "2001:db8::1": []}


def test_talkers_of_all_interfaces_are_summed(fake: Api) -> None:
    seen(fake)
    fake.put(f"interfaces/{LAN}")
    fake.kernel.count(LAN, "192.0.2.1", "pass", 1, 1000)
    talkers = fake.get("talkers")
    item = next(item for item in talkers["items"] if item["address"] == "192.0.2.1")
    assert (item["passed"]["packets"], item["passed"]["bytes"]) == (11, 2000)
    assert sorted(item["interfaces"]) == [LAN, WAN]
    assert next(item for item in talkers["items"] if item["address"] == "192.0.2.2")["interfaces"] == [WAN]


def test_counting_afresh(fake: Api) -> None:
    seen(fake)
    gone = ok(fake.client.delete(f"interfaces/{WAN}/talkers"))
    assert gone.status_code == 204
    talkers = fake.get(f"interfaces/{WAN}/talkers")
    assert (talkers["items"], talkers["total"]) == ([], 0)
    assert talkers["totals"]["passed"]["packets"] == talkers["other"]["passed"]["packets"] == 0
    # the interface's own counters never go backwards
    assert fake.get(f"interfaces/{WAN}/counters")["passed"]["packets"] == 19
    fake.kernel.count(WAN, "192.0.2.9", "pass", 2, 50)
    talkers = fake.get(f"interfaces/{WAN}/talkers")
    assert addresses(talkers) == ["192.0.2.9"]
    assert talkers["totals"]["passed"]["packets"] == 2


def test_the_program_itself(api: Api) -> None:
    problem(api.client.get(f"interfaces/{WAN}/program"), 404)
    api.put(f"interfaces/{WAN}", {"mode": "native"})
    api.put("rules/web", {"action": "drop", "match": {"protocol": "tcp", "destination_ports": 80}})
    api.run(api.firewall.trim())  # until then a wider program may serve
    program = api.get(f"interfaces/{WAN}/program")
    assert program["id"] == api.get(f"interfaces/{WAN}")["program_id"]
    assert program["features"] == ["match_destination_port", "match_protocol"]
    assert program["measured"] is None
    problem(api.client.get(f"interfaces/{WAN}/program", params={"measure": 61}), 422)
    if api.real:
        assert program["instructions"] > 1000 and program["machine_code"] > 1000
        assert {"control", "vector", "tally"} <= {each["name"] for each in program["maps"]}
        assert api.get(f"interfaces/{WAN}/program", measure=1)["measured"]["seconds"] == 1
