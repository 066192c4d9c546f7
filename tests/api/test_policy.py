# SPDX-License-Identifier: Apache-2.0
"""The policy's default and mode; what becomes of one address."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.conftest import WAN, Api, problem


def test_the_policy_at_the_start(api: Api) -> None:
    policy = api.get("policy")
    assert (policy["default"], policy["mode"], policy["rows"]) == ("pass", "enforce", ["allow", "block"])


def test_what_is_left_out_stays(api: Api) -> None:
    written = api.patch("policy", {"mode": "monitor"})
    assert (written["default"], written["mode"], written["revision"], written["changed"]) == (
        "pass",
        "monitor",
        1,
        True,
    )
    written = api.patch("policy", {"default": "drop"})
    assert (written["default"], written["mode"], written["revision"]) == ("drop", "monitor", 2)
    with api.nothing_changes():
        assert api.patch("policy", {"default": "drop", "mode": "monitor"})["changed"] is False
        assert api.patch("policy", {})["changed"] is False


def test_ethertypes_under_default_drop(api: Api) -> None:
    assert api.patch("policy", {"ethertypes": ["0x88cc", 35041]})["ethertypes"] == ["0x88cc", "0x88e1"]


@pytest.mark.parametrize(
    "body",
    [
        {"default": "reject"},
        {"default": "DROP"},
        {"mode": "off"},
        {"rows": []},
        {"ethertypes": ["0x0800", "x"]},
        {"ethertypes": [1500]},
        {"ethertypes": [True]},
        {"ethertypes": ["0x88cc"] * 9},
        [],
        None,
    ],
    ids=repr,
)
def test_other_policies_are_422(api: Api, body: Any) -> None:
    with api.nothing_changes():
        headers = {"Content-Type": "application/json"}
        problem(api.client.patch("policy", content=json.dumps(body), headers=headers), 422)


def asked(api: Api, address: str) -> Any:
    return api.get(f"addresses/{quote(address, safe='')}")


def test_an_address_in_no_set(api: Api) -> None:
    api.put(f"interfaces/{WAN}", {"mode": "native"})
    answer = asked(api, "192.0.2.1")
    assert (answer["address"], answer["verdict"], answer["rule"], answer["matches"]) == ("192.0.2.1", "pass", None, [])
    api.patch("policy", {"default": "drop"}, force=True)
    assert asked(api, "192.0.2.1")["verdict"] == "drop"


def test_blocked_by_what_until_when(api: Api) -> None:
    api.put(f"interfaces/{WAN}", {"mode": "native"})
    api.put("sets/block/entries/192.0.2.0/24", {"ttl": 3600, "comment": "scans", "origin": "feed"})
    api.put("sets/block/entries/192.0.0.0/16")
    answer = asked(api, "192.0.2.1")
    assert (answer["verdict"], answer["rule"]) == ("drop", "block")
    assert "192.0.2.0/24" in answer["because"]
    assert [(match["set"], match["prefix"]) for match in answer["matches"]] == [
        ("block", "192.0.2.0/24"),
        ("block", "192.0.0.0/16"),
    ]
    first = answer["matches"][0]
    assert first.keys() >= {"set", "prefix", "origin", "expires_at", "comment", "packets", "bytes"}
    assert (first["origin"], first["comment"], answer["matches"][1]["expires_at"]) == ("feed", "scans", None)
    assert asked(api, "192.0.3.1")["matches"][0]["prefix"] == "192.0.0.0/16"


def test_allow_beats_block_even_when_less_specific(api: Api) -> None:
    api.put(f"interfaces/{WAN}", {"mode": "native"})
    api.put("sets/block/entries/192.0.2.1")
    api.put("sets/allow/entries/192.0.2.0/24")
    answer = asked(api, "192.0.2.1")
    assert (answer["verdict"], answer["rule"]) == ("pass", "allow")
    assert {match["set"] for match in answer["matches"]} == {"allow", "block"}


def test_mapped_addresses_mean_the_ipv4_address(api: Api) -> None:
    api.put("sets/block/entries/::ffff:192.0.2.0/120")
    assert asked(api, "::ffff:192.0.2.1") == asked(api, "192.0.2.1")
    assert asked(api, "::ffff:c000:201")["address"] == "192.0.2.1"
    assert asked(api, "2001:DB8::0:1")["address"] == "2001:db8::1"


@pytest.mark.parametrize("text", ["192.0.2.0/24", "192.0.2.1/32", "fe80::1%eth0", "example.org", "1.2.3", "::1/128"])
def test_what_is_not_an_address_is_422(api: Api, text: str) -> None:
    problem(api.client.get(f"addresses/{quote(text, safe='')}"), 422)


def test_where_it_was_seen(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    fake.kernel.count(WAN, "192.0.2.1", "pass", 4, 100)
    fake.kernel.count(WAN, "192.0.2.1", "drop", 2, 100, cause=33)
    seen = asked(fake, "192.0.2.1")["interfaces"]
    assert [{**view, "last_seen": None} for view in seen] == [
        {
            "name": WAN,
            "passed": {"packets": 4, "bytes": 400},
            "dropped": {"packets": 2, "bytes": 200},
            "last_seen": None,
        }
    ]


def test_monitor_mode_passes(api: Api) -> None:
    api.put(f"interfaces/{WAN}", {"mode": "native"})
    api.put("sets/block/entries/192.0.2.1")
    api.patch("policy", {"mode": "monitor"})
    answer = asked(api, "192.0.2.1")
    assert (answer["verdict"], answer["rule"]) == ("pass", "block")
    assert "monitor" in answer["because"]
