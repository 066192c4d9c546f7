# SPDX-License-Identifier: Apache-2.0
"""events on the command line: lines, fields, JSON, captures in files that begin anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.capture import Files
from tests.canned import Canned, Told
from tests.unit.cli.given import Call
from xdpfw.frames.pcapng import CaptureWriter

SSE = {"Content-Type": "text/event-stream"}


def event(**more: Any) -> dict[str, Any]:
    return {
        "time": "2026-01-02T03:04:05.678901Z", "interface": "eth0", "verdict": "drop", "monitored": False,
        "reason": "rule", "rule": "block", "watching": None, "source": "2001:db8::1", "destination": "2001:db8::2",
        "protocol": "tcp", "source_port": 40000, "destination_port": 80, "icmp_type": None, "tcp_flags": "syn",
        "vlan": 7, "length": 74, **more,
    }  # fmt: skip


def told(*events: dict[str, Any]) -> Told:
    text = ": hello\n\n" + "".join(f"data: {json.dumps(each)}\n\n" for each in events)
    return Told(text=text.encode(), headers=SSE)


def test_a_line_for_people(call: Call, daemon: Canned) -> None:
    daemon.tells["GET", "/events"] = told(
        event(), event(source="192.0.2.1", rule=None, reason="default", verdict="pass")
    )
    code, out, _ = call("events", "--verdict", "drop", "--port", "80", "--repeat")
    assert code == 0
    assert out.splitlines()[0] == (
        "03:04:05.678  eth0  drop  rule block  [2001:db8::1]:40000 → [2001:db8::2]:80  tcp  [syn]  74 B  vlan 7"
    )
    assert "pass  default  192.0.2.1:40000" in out.splitlines()[1]
    assert daemon.asked[-1].query == {"verdict": "drop", "port": "80", "repeat": "true"}


def test_fields_and_json(call: Call, daemon: Canned) -> None:
    daemon.tells["GET", "/events"] = told(event(), event(rule=None))
    assert call("events", "--fields", "source,rule,vlan")[1].splitlines() == [
        "2001:db8::1\tblock\t7",
        "2001:db8::1\t-\t7",
    ]
    assert json.loads(call("events", "--json")[1])["total"] == 2
    lines = call("events", "--json", "--follow", "--fields", "rule")[1].splitlines()
    assert [json.loads(text) for text in lines] == [{"rule": "block"}, {"rule": None}]


def test_nothing_came_for_one_of_two_reasons(call: Call, daemon: Canned) -> None:
    daemon.tells["GET", "/events"] = told()
    assert "is an interface attached" in call("events", "--repeat")[2]
    assert "nothing that fits" in call("events", "--port", "53")[2]


def test_a_limit_ends_it(call: Call, daemon: Canned) -> None:
    daemon.tells["GET", "/events"] = told(*[event()] * 9)
    assert len(call("events", "--limit", "2")[1].splitlines()) == 2


def test_a_capture_ends_with_the_last_packet_that_was_wanted(call: Call, daemon: Canned, tmp_path: Path) -> None:
    writer = CaptureWriter("test", 64)
    packet = writer.packet("eth0", 1, bytes(60), 60, drop=False, queue=0, comment="default")
    more = writer.packet("eth0", 2, bytes(60), 60, drop=False, queue=0, comment="default")
    daemon.tells["GET", "/events"] = Told(text=writer.begin() + packet + 8 * more)
    code, _, err = call("events", "--write", str(tmp_path / "a.pcapng"), "--limit", "2")
    assert code == 0
    assert "2 packets" in err
    assert (tmp_path / "a.pcapng").read_bytes() == writer.begin() + packet + more


@pytest.mark.parametrize("argv", [
    ["--fields", "colour"], ["--rotate-count", "3"], ["--write", "x", "--json"], ["--for", "x"], ["--rotate-size", "x"],
])  # fmt: skip
def test_usage(call: Call, daemon: Canned, argv: list[str]) -> None:
    assert call("events", *argv)[0] == 2


def test_files_begin_anew_at_a_size_each_a_capture_of_its_own(tmp_path: Path) -> None:
    writer = CaptureWriter("test", 64)
    stream = writer.begin()
    for number in range(40):
        stream += writer.packet("eth0", number, bytes(60), 60, drop=True, queue=0, comment="rule block")
    with Files(str(tmp_path / "a.pcapng"), 1000, 2) as files:
        for at in range(0, len(stream), 7):
            files.write(stream[at : at + 7])
    assert files.packets == 40
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert 40 - files.gone == left.count(b"rule block") > 0
    kept = sorted(tmp_path.iterdir(), key=lambda path: int(path.suffixes[0][1:]))
    assert [str(path) for path in kept] == files.names and len(kept) == 2
    assert all(path.read_bytes().startswith(writer.begin()) for path in kept)
    assert all(path.stat().st_size < 1300 for path in kept)
