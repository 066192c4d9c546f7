# SPDX-License-Identifier: Apache-2.0
"""What the daemon answers, as values: who talks (`Reading`), and how the firewall is set (`Situation`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Flow:
    """Packets and bytes counted so far; `pps` packets and `bps` bits per second over the last two seconds."""

    packets: int = 0
    bytes: int = 0
    pps: float = 0.0
    bps: float = 0.0

    def __add__(self, other: Flow) -> Flow:
        return Flow(self.packets + other.packets, self.bytes + other.bytes, self.pps + other.pps, self.bps + other.bps)

    @classmethod
    def of(cls, document: Document) -> Flow:
        return cls(document["packets"], document["bytes"], document["pps"], document["bps"])


@dataclass(frozen=True, slots=True)
class Traffic:
    passed: Flow = Flow()
    dropped: Flow = Flow()

    @property
    def total(self) -> Flow:
        return self.passed + self.dropped

    def share(self, *, cumulative: bool) -> float | None:
        """The part of the packets that is dropped, 0…1; None without packets."""
        if cumulative:
            dropped, every = float(self.dropped.packets), float(self.total.packets)
        else:
            dropped, every = self.dropped.pps, self.total.pps
        return dropped / every if every else None

    @classmethod
    def of(cls, document: Document) -> Traffic:
        return cls(Flow.of(document["passed"]), Flow.of(document["dropped"]))


@dataclass(frozen=True, slots=True)
class Talker:
    """`since`, `last_seen`: seconds since 1970 by the daemon's clock. `interfaces` only where several are summed."""

    address: str
    traffic: Traffic
    since: float = 0.0
    last_seen: float = 0.0
    sets: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()

    def silent(self) -> Talker:
        """The same without rates: what is known of one that the daemon has stopped telling of."""
        passed, dropped = self.traffic.passed, self.traffic.dropped
        quiet = Traffic(Flow(passed.packets, passed.bytes), Flow(dropped.packets, dropped.bytes))
        return Talker(self.address, quiet, self.since, self.last_seen, self.sets, self.interfaces)

    @classmethod
    def of(cls, document: Document) -> Talker:
        return cls(
            document["address"],
            Traffic.of(document),
            _seconds(document["since"]),
            _seconds(document["last_seen"]),
            tuple(document["sets"]),
            tuple(document["interfaces"] or ()),
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """`tracked`: how many talkers the daemon tracks (inside the filter); `other`: the traffic of those it does not;
    `at`: when the daemon read it, seconds since 1970 by its clock."""

    talkers: tuple[Talker, ...] = ()
    tracked: int = 0
    other: Traffic = Traffic()
    totals: Traffic = Traffic()
    at: float = 0.0

    @classmethod
    def of(cls, document: Document) -> Reading:
        return cls(
            tuple(Talker.of(item) for item in document["items"]),
            document["total"],
            Traffic.of(document["other"]),
            Traffic.of(document["totals"]),
            _seconds(document["at"]),
        )


@dataclass(frozen=True, slots=True)
class Link:
    """An interface. `mode` None: not attached."""

    name: str
    mode: str | None
    warning: str | None

    @classmethod
    def of(cls, document: Document) -> Link:
        attached = document["state"] == "attached"
        return cls(document["name"], document["mode"] if attached else None, document["warning"])


@dataclass(frozen=True, slots=True)
class Situation:
    """`notes`: what people should know first. `events`: how many were lost because they came too fast, and how many
    were beyond the bounds; None where the daemon has no events."""

    links: tuple[Link, ...] = ()
    revision: int = 0
    default: str = "pass"
    mode: str = "enforce"
    notes: tuple[str, ...] = ()
    events: tuple[int, int] | None = None

    @property
    def attached(self) -> tuple[str, ...]:
        return tuple(link.name for link in self.links if link.mode)

    @classmethod
    def of(cls, status: Document) -> Situation:
        policy = status["policy"]
        notes = [*status["problems"], *status["warnings"]]
        if operation := status["operation"]:
            share = f" {100 * operation['done'] // operation['total']} %" if operation["total"] else ""
            notes.append(f"running: {operation['kind']}{share}")
        links = tuple(Link.of(item) for item in status["interfaces"])
        counted = status.get("events")
        events = (sum(counted["lost"]), sum(counted["limited"])) if counted else None
        return cls(links, status["revision"], policy["default"], policy["mode"], tuple(notes), events)


@dataclass(frozen=True, slots=True)
class Past:
    """Seconds that are over, the latest last: when each ended (by the daemon's clock), and its rates; None where
    nothing is known."""

    ends: tuple[float, ...] = ()
    rates: tuple[Traffic | None, ...] = ()

    @classmethod
    def of(cls, histories: Sequence[Document]) -> Past:
        """Of one interface, or of several together."""
        if not histories:
            return cls()
        ends = [_seconds(text) for text in histories[0]["times"]]
        return cls(tuple(ends), tuple(_together(histories, at) for at in range(len(ends))))


def _together(histories: Sequence[Document], at: int) -> Traffic | None:
    known = [each for each in histories if each["passed"]["pps"][at] is not None]
    if not known:
        return None
    flows = (
        Flow(pps=sum(each[kind]["pps"][at] for each in known), bps=sum(each[kind]["bps"][at] for each in known))
        for kind in ("passed", "dropped")
    )
    return Traffic(*flows)


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
