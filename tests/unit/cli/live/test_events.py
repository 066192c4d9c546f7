# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest

from cli.client import Client, Target
from cli.errors import NOT_FOUND, UNREACHABLE, Failure
from cli.live import events
from cli.live.events import EventLog, Tail, line_of
from lab.waiting import eventually
from tests.canned import Asked, Canned, Told, problem
from tests.unit.cli.live.values import text

EVENT: dict[str, Any] = {
    "time": "2026-01-02T03:04:05.678Z", "interface": "eth0", "verdict": "drop", "reason": "row", "rule": "block",
    "source": "192.0.2.1", "destination": "2001:db8::1", "protocol": "udp", "source_port": 53,
    "destination_port": 5353, "length": 60,
}  # fmt: skip


def test_a_line_tells_all_of_a_packet() -> None:
    for width in (80, 160):
        words = text(line_of(EVENT, width)).split()
        assert words[1:] == [
            "drop", "eth0", "192.0.2.1:53", "→", "[2001:db8::1]:5353", "udp", "60", "B", "rule:block",
        ]  # fmt: skip
    assert len(text(line_of(EVENT, 80)).rstrip()) <= 80
    assert words[0].endswith(".678")


def test_what_is_missing_is_left_out_and_nothing_steers_the_terminal() -> None:
    line = text(line_of({"source": "192.0.2.1", "reason": "\x1b[2J", "time": "when"}, 80))
    assert "192.0.2.1 → ?" in line
    assert "None" not in line
    assert "\x1b" not in line


def test_what_passes_only_because_it_is_monitored_is_marked() -> None:
    line = line_of(EVENT | {"verdict": "pass", "monitored": True}, 80)
    assert ("pass* ", "warning") in line
    assert ("pass  ", "passed") in line_of(EVENT | {"verdict": "pass", "monitored": False}, 80)


def shown(log: EventLog, height: int) -> list[int]:
    return [int(text(line).split(" B")[0].split()[-1]) for line in log.lines(80, height)]


def test_the_log_follows_unless_somebody_scrolled_back() -> None:
    log = EventLog()
    assert log.lines(80, 5) == []
    for number in range(10):
        log.add(EVENT | {"length": number})
    assert shown(log, 4) == [6, 7, 8, 9]
    log.scroll(-3)
    assert shown(log, 4) == [3, 4, 5, 6]
    log.add(EVENT | {"length": 10})
    assert shown(log, 4) == [3, 4, 5, 6]  # it does not move under the reader
    log.scroll(-100)
    assert shown(log, 4) == [0, 1, 2, 3]
    log.scroll(100)
    assert shown(log, 4) == [7, 8, 9, 10]
    for number in range(events.KEPT + 5):
        log.add(EVENT | {"length": number})
    log.scroll(-(1 << 20))
    assert shown(log, 1) == [5]


def stream(*lengths: int) -> Told:
    return Told(text="".join(f"data: {json.dumps(EVENT | {'length': n})}\n\n" for n in lengths).encode())


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr(events, "AGAIN", 0.01)
    return []


def tail(daemon: Canned, told: list[Any]) -> Tail:
    return Tail(Client(Target(path=str(daemon.path)), 5), {"interface": "eth0"}, told.append)


def test_a_stream_that_breaks_off_is_taken_up_again(daemon: Canned, told: list[Any]) -> None:
    answers = [stream(1, 2), Told(text=b'data: {"length": 3}\n\ndata: {"le', cut=True), problem(503, "busy"), stream(4)]

    def teller(asked: Asked) -> Told:
        return answers.pop(0) if answers else problem(404, "nothing")

    daemon.tells["GET", "/events"] = teller
    following = tail(daemon, told)
    eventually(lambda: told and isinstance(told[-1], Failure) and told[-1].code == NOT_FOUND, "the end")
    following.stop()
    assert [each["length"] for each in told if isinstance(each, dict)] == [1, 2, 3, 4]
    assert UNREACHABLE in [each.code for each in told if isinstance(each, Failure)]
    assert daemon.asked[0].query == {"interface": "eth0"}
    assert daemon.asked[0].headers["Accept"] == "text/event-stream"


def test_without_events_it_says_so_once_and_ends(daemon: Canned, told: list[Any]) -> None:
    tail(daemon, told)
    eventually(lambda: told, "it was told")
    [failure] = told
    assert "no events" in failure.message
