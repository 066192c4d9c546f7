# SPDX-License-Identifier: Apache-2.0
"""Changes that are valid but hardly meant are 409 unless forced; and what a write says about its effect."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.conftest import WAN, Api, problem

B = "sets/block/entries"
HALVES4 = ["0.0.0.0/1", "128.0.0.0/1"]


def guarded(response: Any) -> str:
    document = problem(response, 409)
    assert document["type"].endswith(":guarded")
    detail = document["detail"]
    assert isinstance(detail, str)
    return detail


@pytest.mark.parametrize(
    ("spelling", "family"), [("0.0.0.0/0", "IPv4"), ("::/0", "IPv6"), ("::ffff:0.0.0.0/96", "IPv4"), ("0::0/0", "IPv6")]
)
def test_blocking_a_whole_family_needs_force(api: Api, spelling: str, family: str) -> None:
    with api.nothing_changes():
        assert family in guarded(api.client.put(f"{B}/{spelling}"))
        assert family in guarded(api.client.patch(B, json={"add": [spelling]}))
        headers = {"Content-Type": "text/plain"}
        assert family in guarded(api.client.put(B, content=spelling, headers=headers))
        guarded(api.client.put(f"{B}/{spelling}", params={"dry_run": True}))
    assert api.client.put(f"{B}/{spelling}", params={"force": True}).status_code == 201


def test_a_sum_that_covers_a_family_needs_force(api: Api) -> None:
    with api.nothing_changes():
        guarded(api.client.patch(B, json={"add": HALVES4}))
    api.put(f"{B}/{HALVES4[0]}")
    with api.nothing_changes():
        guarded(api.client.put(f"{B}/{HALVES4[1]}"))
    api.put(f"{B}/128.0.0.0/2")
    assert api.client.put(f"{B}/192.0.0.0/2", params={"force": True}).status_code == 201
    # what is covered already may be described anew
    assert api.put(f"{B}/192.0.0.0/2", {"comment": "again"}).status_code == 200


def test_allowing_a_whole_family_is_no_danger(api: Api) -> None:
    assert api.put("sets/allow/entries/0.0.0.0/0").status_code == 201


def test_the_ssh_peer_cannot_be_cut_off_by_accident(fake: Api) -> None:
    fake.kernel.peer_addresses = ["198.51.100.7", "2001:db8::7"]
    fake.put(f"interfaces/{WAN}")
    for prefix in ("198.51.100.7", "198.51.100.0/24", "::ffff:198.51.100.7", "2001:db8::/32"):
        with fake.nothing_changes():
            guarded(fake.client.put(f"{B}/{prefix}"))
    with fake.nothing_changes():
        guarded(fake.client.patch("policy", json={"default": "drop"}))
    fake.put("sets/allow/entries/198.51.100.7")
    assert fake.put(f"{B}/198.51.100.0/24").status_code == 201
    with fake.nothing_changes():
        guarded(fake.client.delete("sets/allow/entries/198.51.100.7"))
    assert fake.client.delete("sets/allow/entries/198.51.100.7", params={"force": True}).status_code == 204


def test_attaching_a_policy_that_locks_out_is_guarded(fake: Api) -> None:
    fake.put(f"{B}/198.51.100.0/24")
    fake.kernel.peer_addresses = ["198.51.100.7"]
    with fake.nothing_changes():
        guarded(fake.client.put(f"interfaces/{WAN}"))
    assert fake.client.put(f"interfaces/{WAN}", params={"force": True}).is_success


def test_force_overrides_no_validation(api: Api) -> None:
    with api.nothing_changes():
        problem(api.client.put(f"{B}/10.0.0.1/8", params={"force": True}), 422)
        problem(api.client.delete(f"{B}/10.0.0.0/8", params={"force": True}), 404)
        problem(api.client.patch("policy", json={"default": "reject"}, params={"force": True}), 422)


def effect(written: Any) -> str:
    assert written["because"]
    effective = written["effective"]
    assert isinstance(effective, str)
    return effective


def test_a_write_says_what_becomes_of_the_packets(api: Api) -> None:
    written = api.put(f"{B}/192.0.2.1").json()
    assert "attached" in written["because"]
    assert effect(written) == "pass"
    api.put(f"interfaces/{WAN}", {"mode": "native"})
    assert effect(api.put(f"{B}/192.0.2.2").json()) == "drop"
    assert effect(api.put("sets/allow/entries/192.0.2.128/25").json()) == "pass"
    under = api.put(f"{B}/192.0.2.129").json()
    assert (effect(under), "allow" in under["because"]) == ("pass", True)
    assert effect(api.put(f"{B}/192.0.2.0/24").json()) == "mixed"
    assert effect(api.patch(B, {"add": ["192.0.2.129", "192.0.2.3"]})) == "mixed"
    gone = api.client.delete(f"{B}/192.0.2.1")
    assert (gone.status_code, gone.headers["x-effective"]) == (204, "drop")
    api.patch("policy", {"mode": "monitor"})
    monitored = api.put(f"{B}/192.0.2.4").json()
    assert (effect(monitored), "monitor" in monitored["because"]) == ("pass", True)


def test_a_set_that_no_row_uses_has_no_effect(api: Api) -> None:
    api.put(f"interfaces/{WAN}", {"mode": "native"})
    api.put("sets/office")
    assert effect(api.put("sets/office/entries/192.0.2.1").json()) == "pass"
