# SPDX-License-Identifier: Apache-2.0
"""What people watch: streams and history, with the daemon's own readings going on."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import pairwise
from typing import Any

import httpx
import pytest

from lab.waiting import eventually
from tests.api.conftest import LAN, WAN, Api, problem
from xdpfw.model.reason import MAX_REASONS

BLOCK_ROW = MAX_REASONS + 1


@pytest.fixture
def upkeep(api: Api) -> Iterator[Api]:
    with keeping(api):
        yield api


@contextmanager
def keeping(api: Api) -> Iterator[None]:
    """The daemon's readings go on meanwhile."""
    running = asyncio.run_coroutine_threadsafe(api.firewall.run_upkeep(), api.host.loop)
    try:
        yield
    finally:
        running.cancel()
        eventually(running.done, "the upkeep has ended")


@contextmanager
def stream(client: httpx.Client, path: str, **params: Any) -> Iterator[Iterator[Any]]:
    """Events of a stream as documents."""
    with client.stream("GET", path, params=params) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        yield (json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: "))


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_events_have_the_shape_of_the_plain_answer(upkeep: Api) -> None:
    upkeep.put(f"interfaces/{WAN}")
    for path in (f"interfaces/{WAN}/counters", f"interfaces/{WAN}/talkers", "talkers", "counters", "status"):
        with stream(upkeep.client, f"{path}/stream", interval="0.5") as events:
            plain = upkeep.get(path)
            assert next(events).keys() == plain.keys()
            assert next(events).keys() == plain.keys()


def test_events_follow_what_is_counted(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    with keeping(fake), stream(fake.client, f"interfaces/{WAN}/counters/stream", interval="0.5") as events:
        first = next(events)
        assert first["passed"]["packets"] == 0
        for later in events:
            if later["passed"]["pps"] > 0:
                break
            fake.kernel.count(WAN, "192.0.2.1", "pass", 100, 60)
        assert later["passed"]["packets"] % 100 == 0
        assert moment(later["at"]) > moment(first["at"])


def test_streams_take_the_parameters_of_the_plain_call(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    for number in range(1, 30):
        fake.kernel.count(WAN, f"192.0.2.{number}", "drop", number, 60, cause=BLOCK_ROW)
    query = {"sort": "packets", "of": "dropped", "order": "asc", "limit": 3, "within": "192.0.2.16/28"}
    with stream(fake.client, f"interfaces/{WAN}/talkers/stream", **query) as events:
        shown = [item["address"] for item in next(events)["items"]]
    assert shown == [item["address"] for item in fake.get(f"interfaces/{WAN}/talkers", **query)["items"]]
    assert shown == ["192.0.2.16", "192.0.2.17", "192.0.2.18"]


def test_fifty_viewers_cost_one_reading(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    reads = 0
    read = fake.kernel.read_talkers

    def counted(name: str) -> Any:
        nonlocal reads
        reads += 1
        return read(name)

    fake.kernel.read_talkers = counted
    with ExitStack() as stack:
        viewers = [
            stack.enter_context(stream(stack.enter_context(fake.unix()), f"interfaces/{WAN}/talkers/stream"))
            for _ in range(50)
        ]
        first = [next(events) for events in viewers]
        fake.run(fake.firewall.take_readings())
        assert (len(first), fake.firewall.hub.viewers) == (50, 50)
        assert reads == 2
    eventually(lambda: fake.firewall.hub.viewers == 0, "viewers who went are counted no more")


def test_one_stream_has_it_all(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    fake.kernel.count(WAN, "192.0.2.1", "pass")
    fake.kernel.count(WAN, "2001:db8::1", "pass")
    parameters = {"interface": WAN, "family": "6"}
    with keeping(fake), fake.client.stream("GET", "live/stream", params=parameters) as response:
        told: dict[str, list[Any]] = {}
        name = ""
        for line in response.iter_lines():
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                told.setdefault(name, []).append(json.loads(value))
            if len(told.get("talkers", [])) > 2 and len(told.get("counters", [])) > 2:
                break
    assert told.keys() == {"status", "counters", "reasons", "talkers"}
    assert told["status"][0].keys() == fake.get("status").keys()
    assert [item["address"] for item in told["talkers"][0]["items"]] == ["2001:db8::1"]
    assert told["counters"][0]["items"][0]["reasons"] == {}
    assert told["reasons"][0]["items"][0]["reasons"]["default"]["passed"]["packets"] == 2
    assert len(told["status"]) < 3
    eventually(lambda: fake.firewall.hub.viewers == 0, "viewers who went are counted no more")


def test_one_stream_of_what_is_not_attached_is_404(fake: Api) -> None:
    problem(fake.client.get("live/stream", params={"interface": WAN}), 404)
    problem(fake.client.get("live/stream", params={"interface": "a b"}), 422)
    eventually(lambda: fake.firewall.hub.viewers == 0, "nobody watches")


@pytest.mark.parametrize("value", ["0", "0.1", "61", "2h", "x", "nan", "-1", ""])
def test_other_intervals_are_422(fake: Api, value: str) -> None:
    fake.put(f"interfaces/{WAN}")
    document = problem(fake.client.get(f"interfaces/{WAN}/counters/stream", params={"interval": value}), 422)
    assert document["errors"][0]["pointer"] == "?interval"


def test_what_is_not_attached_is_404_and_not_a_stream(api: Api) -> None:
    for name in (WAN, "absent0"):
        for path in ("counters/stream", "talkers/stream", "history"):
            problem(api.client.get(f"interfaces/{name}/{path}"), 404)


def test_a_stream_ends_when_its_interface_is_detached(upkeep: Api) -> None:
    upkeep.put(f"interfaces/{WAN}")
    with stream(upkeep.client, f"interfaces/{WAN}/counters/stream", interval="0.5") as events:
        next(events)
        with upkeep.unix() as other:
            other.delete(f"interfaces/{WAN}")
        for _ in events:
            pass


def test_streams_need_a_token_on_tcp(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    with fake.tcp() as nobody:
        problem(nobody.get(f"interfaces/{WAN}/counters/stream"), 401)


def test_a_stream_ends_with_the_token_that_opened_it(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    token = fake.client.post("tokens", json={"name": "viewer", "role": "read"}).json()
    path = f"interfaces/{WAN}/counters/stream"
    with keeping(fake), fake.tcp(token["secret"]) as viewer, stream(viewer, path, interval="0.5") as events:
        next(events)
        fake.client.delete(f"tokens/{token['id']}")
        for _ in events:
            pass


def test_head_of_a_stream_ends(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    response = fake.client.head(f"interfaces/{WAN}/counters/stream")
    assert (response.status_code, response.content) == (200, b"")


def test_a_viewer_who_does_not_read_holds_up_nobody(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    for number in range(200):
        fake.kernel.count(WAN, f"192.0.2.{number}", "pass")
    path = f"/api/v1/interfaces/{WAN}/talkers/stream?limit=1000&interval=0.5"
    with socket.socket(socket.AF_UNIX) as idle, keeping(fake):
        idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        idle.connect(str(fake.host.socket))
        idle.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        eventually(lambda: fake.firewall.hub.viewers == 1, "it watches")
        with stream(fake.client, f"interfaces/{WAN}/talkers/stream", interval="0.5") as events:
            assert len({next(events)["at"] for _ in range(4)}) == 4
    eventually(lambda: fake.firewall.hub.viewers == 0, "viewers who went are counted no more")


def test_the_daemons_end_ends_streams(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    ended = threading.Event()
    with stream(fake.client, f"interfaces/{WAN}/counters/stream", interval="60") as events:
        next(events)

        def read_on() -> None:
            for _ in events:
                pass
            ended.set()

        reader = threading.Thread(target=read_on)
        reader.start()
        fake.run(fake.firewall.close())
        assert ended.wait(10)
        reader.join()


def test_history_has_a_value_for_every_step(upkeep: Api) -> None:
    upkeep.put(f"interfaces/{WAN}")
    for params, count in (({}, 900), ({"window": "1m"}, 60), ({"window": "15m", "step": "15s"}, 60)):
        history = upkeep.get(f"interfaces/{WAN}/history", **params)
        assert len(history["times"]) == count
        for word in ("passed", "dropped", "monitored"):
            assert {len(history[word][unit]) for unit in ("pps", "bps")} == {count}
        steps = {(moment(b) - moment(a)).total_seconds() for a, b in pairwise(history["times"])}
        assert steps == {history["step"]}
    assert [item["name"] for item in upkeep.get("history")["items"]] == [WAN]


def test_history_tells_what_was_counted(fake: Api) -> None:
    fake.put(f"interfaces/{WAN}")
    fake.put(f"interfaces/{LAN}")
    with keeping(fake):
        eventually(lambda: 0 in fake.get(f"interfaces/{WAN}/history")["passed"]["pps"], "the history has begun")
        fake.kernel.count(WAN, "192.0.2.1", "drop", 1000, 100, cause=BLOCK_ROW)

        def dropped() -> float:
            return sum(filter(None, fake.get(f"interfaces/{WAN}/history", window="1m")["dropped"]["pps"]))

        eventually(lambda: dropped() == pytest.approx(1000, abs=1), "all of them are in the history")
        bits = fake.get(f"interfaces/{WAN}/history", window="1m")["dropped"]["bps"]
        assert sum(filter(None, bits)) == pytest.approx(800_000, abs=100)
        assert not any(filter(None, fake.get(f"interfaces/{LAN}/history")["dropped"]["pps"]))


@pytest.mark.parametrize(
    ("params", "pointer"),
    [
        ({"window": "16m"}, "?window"),
        ({"window": "0"}, "?window"),
        ({"step": "0.5"}, "?step"),
        ({"window": "10s", "step": "11s"}, "?step"),
        ({"back": "1m"}, "?back"),
    ],
    ids=str,
)
def test_other_questions_about_the_history_are_422(fake: Api, params: dict[str, str], pointer: str) -> None:
    fake.put(f"interfaces/{WAN}")
    assert problem(fake.client.get("history", params=params), 422)["errors"][0]["pointer"] == pointer
