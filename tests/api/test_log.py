# SPDX-License-Identifier: Apache-2.0
"""What the log tells of security events: who blocked whom, who was refused, what was attached."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from lab.waiting import eventually
from tests.api.conftest import WAN, Api, ok, problem
from xdpfw.log import JsonLines
from xdpfw.model.errors import StoreError

B = "sets/block/entries"


@pytest.fixture
def events(fake: Api, caplog: pytest.LogCaptureFixture) -> Any:
    """The lines of JSON that hold an event, as soon as there are so many."""
    caplog.set_level(logging.INFO)
    lines = JsonLines(marked=False)

    def told() -> list[dict[str, Any]]:
        found = [json.loads(lines.format(record)) for record in list(caplog.records)]
        return [line for line in found if "event" in line]

    def read(count: int) -> list[dict[str, Any]]:
        eventually(lambda: len(told()) >= count, f"{count} events are told")  # a refusal is answered first
        return told()

    return read


@pytest.mark.parametrize(
    ("method", "path", "body", "names"),
    [
        ("PUT", f"{B}/192.0.2.1", {"ttl": 60, "comment": "scans"}, ["block", "unblock"]),
        ("PUT", "sets/allow/entries/192.0.2.1", {}, ["allow", "unallow"]),
        ("PUT", f"interfaces/{WAN}", {}, ["attach", "detach"]),
        ("PUT", "sets/x", {}, ["change", "change"]),
    ],
)
def test_what_was_done_and_undone(
    fake: Api, events: Any, method: str, path: str, body: dict[str, Any], names: list[str]
) -> None:
    ok(fake.client.request(method, path, json=body))
    ok(fake.client.delete(path))
    done, undone = events(2)
    assert [done["event"], undone["event"]] == names
    assert (done["outcome"], done["status"], done["source"]) == ("accepted", 201, "unix")
    assert done["request"] == f"{method} /{path}"
    assert done["differences"][0]["path"].startswith(path)
    assert done["differences"][0]["before"] is None and undone["differences"][0]["after"] is None
    assert undone["revision"] == done["revision"] + 1 == fake.revision


def test_a_list_is_one_line(fake: Api, events: Any) -> None:
    fake.bulk("block", "\n".join(f"10.0.{number}.0/24" for number in range(200)))
    [line] = events(1)
    assert line["event"] == "block"
    assert len(line["differences"]) + line["more"] == 200
    assert len(json.dumps(line)) < 4096


def test_who_was_refused_is_warned_about(fake: Api, events: Any) -> None:
    problem(fake.client.put(f"{B}/0.0.0.0/0"), 409)
    secret = fake.client.post("tokens", json={"name": "looks", "role": "read"}).json()["secret"]
    with fake.tcp(secret) as tcp:
        problem(tcp.put(f"{B}/192.0.2.1"), 403)
    with fake.tcp("wrong-one") as tcp:
        problem(tcp.get("status"), 401)
    guarded, made, role, wrong = events(4)
    assert [line["event"] for line in (guarded, role, wrong)] == ["refused"] * 3
    assert [line["level"] for line in (guarded, role, wrong)] == ["warning"] * 3
    assert [line["status"] for line in (guarded, role, wrong)] == [409, 403, 401]
    assert "every IPv4 address" in guarded["detail"]
    assert (role["label"], role["source"]) == ("looks", "127.0.0.1")
    assert made["event"] == "change"
    everything = json.dumps(events(4))
    assert secret.split("_", 2)[2] not in everything
    assert "wrong-one" not in everything


def test_what_changes_nothing_is_told_as_that(fake: Api, events: Any) -> None:
    fake.put(f"{B}/192.0.2.1")
    fake.put(f"{B}/192.0.2.1")
    assert [line["event"] for line in events(2)] == ["block", "unchanged"]


def test_a_change_that_was_taken_back_at_once_is_not_told(
    fake: Api, events: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(fake.store, "save", full)
    problem(fake.client.put(f"{B}/192.0.2.1"), 503)
    assert [line["event"] for line in events(1)] == ["refused"]
