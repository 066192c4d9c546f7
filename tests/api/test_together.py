# SPDX-License-Identifier: Apache-2.0
"""Several clients at once, and time that passes: nothing is lost and nothing outlives its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.conftest import WAN, Api, ok, problem

B = "sets/block/entries"
TEXT = {"Content-Type": "text/plain"}


def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline


def test_writers_at_once_lose_nothing(api: Api) -> None:
    def write(number: int) -> int:
        with api.unix() as client:
            ok(client.put(f"{B}/192.0.2.{number}"))
            return ok(client.patch(B, json={"add": [f"198.51.100.{number}"]})).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(write, range(24))) == {200}
    expected = [f"192.0.2.{n}/32" for n in range(24)] + [f"198.51.100.{n}/32" for n in range(24)]
    assert api.prefixes("block") == expected
    assert api.revision == 48


def test_of_writers_with_the_same_etag_one_wins(api: Api) -> None:
    etag = ok(api.client.get(B)).headers["etag"]

    def write(number: int) -> int:
        with api.unix() as client:
            body = {"add": [f"192.0.2.{number}"]}
            return client.patch(B, json=body, headers={"If-Match": etag}).status_code

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(write, range(16)))
    assert sorted(answers) == [200] + [412] * 15
    assert len(api.prefixes("block")) == 1


def test_what_others_write_while_a_list_arrives_stays(api: Api) -> None:
    api.bulk("block", "10.0.0.0/8\n192.0.2.0/24\n")

    def body() -> Iterator[bytes]:
        yield b"192.0.2.0/24\n"
        with api.unix() as other:
            ok(other.put(f"{B}/203.0.113.7", json={"ttl": 60}))
        yield b"198.51.100.0/24\n"

    ok(api.client.put(B, content=body(), headers=TEXT))
    assert api.prefixes("block") == ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.7/32"]


@pytest.mark.parametrize("way", ["put", "patch"])
def test_what_others_write_meanwhile_stays_also_if_it_was_so(api: Api, way: str) -> None:
    """Whoever blocked it was told that it is blocked."""
    api.bulk("block", "10.0.0.0/8\n203.0.113.7\n2001:db8::/32\n")

    def body() -> Iterator[bytes]:
        yield b"192.0.2.0/24\n"
        with api.unix() as other:
            if way == "put":
                again = [ok(other.put(f"{B}/{prefix}", json={})) for prefix in ("203.0.113.7", "2001:db8::/32")]
            else:
                again = [ok(other.patch(B, json={"add": ["203.0.113.7", "2001:db8::/32"]}))]
            assert not any(answer.json()["changed"] for answer in again)
        yield b"198.51.100.0/24\n"

    ok(api.client.put(B, content=body(), headers=TEXT))
    assert api.prefixes("block") == ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.7/32", "2001:db8::/32"]


def test_others_are_served_while_a_list_arrives_and_loads(api: Api) -> None:
    waited: list[float] = []

    def body() -> Iterator[bytes]:
        for number in range(40):
            yield b"".join(b"10.%d.%d.0/24\n" % (number, n) for n in range(256))
            began = time.monotonic()
            with api.unix() as other:
                ok(other.put(f"sets/allow/entries/192.0.2.{number}"))
            waited.append(time.monotonic() - began)

    written = ok(api.client.put(B, content=body(), headers=TEXT)).json()
    assert written["total"] == 40 * 256
    assert len(api.prefixes("allow")) == 40
    assert max(waited) < 5


def test_an_entry_is_gone_when_its_time_has_come(api: Api) -> None:
    api.put(f"interfaces/{WAN}", {"mode": "native"})
    api.put(f"{B}/192.0.2.1", {"ttl": 1})
    api.put(f"{B}/192.0.2.2", {"ttl": 3600})
    api.put("sets/allow/entries/192.0.2.2", {"ttl": 1})
    assert api.get("addresses/192.0.2.1")["verdict"] == "drop"
    assert api.get("addresses/192.0.2.2")["verdict"] == "pass"
    revision, etag = api.revision, ok(api.client.get("sets/block")).headers["etag"]
    policy = ok(api.client.get("policy")).headers["etag"]

    def expired() -> bool:
        api.run(api.firewall.expire())
        verdicts = [api.get(f"addresses/192.0.2.{n}")["verdict"] for n in (1, 2)]
        return verdicts == ["pass", "drop"]

    eventually(expired)
    problem(api.client.get(f"{B}/192.0.2.1"), 404)
    assert api.prefixes("allow") == []
    # time is no change of the policy; what it took away shows in the set's own tag
    assert api.revision == revision
    assert ok(api.client.get("sets/block")).headers["etag"] != etag
    assert ok(api.client.get("policy")).headers["etag"] == policy


def test_the_longer_claim_outlives_the_shorter(api: Api) -> None:
    api.put(f"{B}/192.0.2.0/24", {"ttl": 1, "origin": "short"})
    api.put(f"{B}/192.0.2.0/24", {"ttl": 3600, "origin": "long"})

    def shorter_is_gone() -> bool:
        api.run(api.firewall.expire())
        return bool(api.get(f"{B}/192.0.2.0/24")["claims"] is None)

    eventually(shorter_is_gone)
    assert api.get(f"{B}/192.0.2.0/24")["origin"] == "long"
