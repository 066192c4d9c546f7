# SPDX-License-Identifier: Apache-2.0
"""Events for any number of watchers: what the packet path wrote, told in full and handed on to whom it concerns.

A watcher that does not keep up loses its oldest events, which are counted, and holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xdpfw.clock import Clock, to_datetime
from xdpfw.kernel.port import EventBatch, Wish
from xdpfw.model.errors import Unavailable
from xdpfw.model.packet_views import EventView
from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import MAX_REASONS, Reason
from xdpfw.model.rule_form import PROTOCOL_NAMES, TCP_FLAGS
from xdpfw.policy.reference_parse import Parsed, parse

MOST_WATCHERS = 64
QUEUE = 4096
"""Events that wait for one watcher."""
KEPT = 1000
"""Latest events that are kept for whoever comes later."""
LONGEST = 9014


@dataclass(frozen=True, slots=True)
class Event:
    """What people are told, and the beginning of the frame itself. `time`: wall clock ns."""

    view: EventView
    time: int
    queue: int
    frame: bytes
    parsed: Parsed


@dataclass(frozen=True, slots=True)
class EventFilter:
    """All that are given must hold. `within`: of source or destination; `port`: either one."""

    interface: str | None = None
    verdict: str | None = None
    within: Prefix | None = None
    rule: str | None = None
    protocol: int | None = None
    port: int | None = None

    def takes(self, event: Event) -> bool:
        view, parsed = event.view, event.parsed
        return (
            self.interface in (None, view.interface)
            and self.verdict in (None, view.verdict)
            and self.rule in (None, view.rule, view.watching)
            and self.protocol in (None, parsed.protocol)
            and self.port in (None, parsed.source_port, parsed.destination_port)
            and (self.within is None or self._is_within(parsed))
        )

    def _is_within(self, parsed: Parsed) -> bool:
        assert self.within is not None
        ends = (parsed.source, parsed.destination)
        return any(address is not None and self.within.contains(Prefix.host(address)) for address in ends)


@dataclass(slots=True, eq=False)
class Watcher:
    """One who watches. `sample`: also frames whose rule does not log; `repeat`: a source more than once a second."""

    wanted: EventFilter
    sample: bool
    repeat: bool
    snap: int
    waiting: deque[Event] = field(default_factory=lambda: deque(maxlen=QUEUE))
    news: asyncio.Event = field(default_factory=asyncio.Event)
    skipped: int = 0

    def offer(self, event: Event) -> None:
        if self.wanted.takes(event):
            self.skipped += len(self.waiting) == QUEUE
            self.waiting.append(event)
            self.news.set()


class Events:
    """Belongs to the event loop, but for `decode`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.watchers: list[Watcher] = []
        self.recent: deque[Event] = deque(maxlen=KEPT)
        self.lost: list[int] = []
        self.limited: list[int] = []
        self.closed = False

    def join(self, watcher: Watcher) -> None:
        """Raises Unavailable."""
        if self.closed:
            raise Unavailable("the daemon is stopping")
        if len(self.watchers) >= MOST_WATCHERS:
            raise Unavailable(f"{MOST_WATCHERS} watch events already, the most there may be")
        self.watchers.append(watcher)

    def leave(self, watcher: Watcher) -> None:
        self.watchers.remove(watcher)

    def wish(self, budget: int) -> Wish:
        """What all watchers together want of the packet path."""
        return Wish(
            sample=any(watcher.sample for watcher in self.watchers),
            budget=budget,
            repeat=any(watcher.repeat for watcher in self.watchers),
            snap=max((watcher.snap for watcher in self.watchers), default=Wish().snap),
        )

    def publish(self, batch: EventBatch, events: Iterable[Event]) -> None:
        self.lost, self.limited = batch.lost, batch.limited
        for event in events:
            self.recent.append(event)
            for watcher in self.watchers:
                watcher.offer(event)

    def close(self) -> None:
        self.closed = True
        for watcher in self.watchers:
            watcher.news.set()

    def decode(self, batch: EventBatch, interfaces: Mapping[int, str], rules: Mapping[int, str]) -> list[Event]:
        """`rules`: ids by cause."""
        offset = self._clock.wall() - self._clock.monotonic()
        return [_event(row, offset, interfaces, rules) for row in batch.rows]


def _event(row: Any, offset: int, interfaces: Mapping[int, str], rules: Mapping[int, str]) -> Event:
    length, captured = int(row["frame_length"]), int(row["captured"])
    frame = row["frame"][:captured].tobytes()
    parsed = parse(frame.ljust(min(length, LONGEST), b"\0"))
    cause, watched = int(row["cause"]), int(row["monitored_cause"])
    time = int(row["time"]) + offset
    view = EventView(
        time=to_datetime(time),
        interface=interfaces.get(int(row["interface"]), "?"),
        verdict="drop" if row["drop"] else "pass",
        monitored=bool(row["monitored"]),
        reason=(Reason(cause) if cause < MAX_REASONS else Reason.RULE).label,
        rule=rules.get(cause),
        watching=rules.get(watched) if watched else None,
        source=str(parsed.source) if parsed.source else None,
        destination=str(parsed.destination) if parsed.destination else None,
        protocol=_protocol(parsed),
        source_port=parsed.source_port,
        destination_port=parsed.destination_port,
        icmp_type=parsed.icmp_type,
        tcp_flags=_flags(parsed.tcp_flags),
        vlan=parsed.vlans[0] if parsed.vlans else None,
        length=length,
    )
    return Event(view, time, int(row["queue"]), frame, parsed)


def _protocol(parsed: Parsed) -> str | None:
    if parsed.protocol is None:
        return None if parsed.ethertype is None else f"{parsed.ethertype:#06x}"
    return str(PROTOCOL_NAMES.get(parsed.protocol, parsed.protocol))


def _flags(bits: int | None) -> str | None:
    return None if bits is None else ",".join(name for name, bit in TCP_FLAGS.items() if bits & bit)
