# SPDX-License-Identifier: Apache-2.0
"""Talkers and readings for tests, as values and as the daemon would answer them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from cli.live.reading import Flow, Talker, Traffic
from cli.live.text import Line

NOW = 1_800_000_000.0


def flow(pps: float, size: int = 100, seconds: int = 10) -> Flow:
    """What packets of one size at a steady rate make."""
    packets = round(pps * seconds)
    return Flow(packets, packets * size, pps, pps * size * 8)


def talker(address: str, passed: float = 0, dropped: float = 0, *, sets: tuple[str, ...] = (), **more: Any) -> Talker:
    return Talker(address, Traffic(flow(passed), flow(dropped)), NOW - 10, NOW, sets, **more)


def text(line: Line) -> str:
    return "".join(piece for piece, _ in line)


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def rule(id: str, action: str, *, mode: str = "enforce", enabled: bool = True, **match: list[Any]) -> dict[str, Any]:
    """As `GET /rules` has it."""
    return {"id": id, "action": action, "mode": mode, "enabled": enabled, "match": match}


def told_flow(one: Flow) -> dict[str, Any]:
    return {"packets": one.packets, "bytes": one.bytes, "pps": one.pps, "bps": one.bps}


def told(one: Talker) -> dict[str, Any]:
    """As `GET …/talkers` has it."""
    return {
        "address": one.address, "passed": told_flow(one.traffic.passed), "dropped": told_flow(one.traffic.dropped),
        "since": iso(one.since), "last_seen": iso(one.last_seen), "sets": list(one.sets),
        "interfaces": list(one.interfaces) or None,
    }  # fmt: skip
