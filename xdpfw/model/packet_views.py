# SPDX-License-Identifier: Apache-2.0
"""What the service answers about single packets and about the program that sees them: events, replays, the program."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class EventView:
    """One frame that the packet path told of. `watching`: the rule in monitor mode that would have decided before."""

    time: datetime
    interface: str
    verdict: str
    monitored: bool
    reason: str
    rule: str | None
    watching: str | None
    source: str | None
    destination: str | None
    protocol: str | None
    source_port: int | None
    destination_port: int | None
    icmp_type: int | None
    tcp_flags: str | None
    vlan: int | None
    length: int


@dataclass(frozen=True, slots=True)
class EventsStatus:
    """Whether anybody watches; by CPU, events that came too fast to be read, and offers beyond the bounds."""

    watchers: int
    lost: list[int]
    limited: list[int]


@dataclass(frozen=True, slots=True)
class Share:
    """One source in a replay; null: of those beyond the number that is kept apart, and frames without an address."""

    address: str | None
    passed: int
    dropped: int


@dataclass(frozen=True, slots=True)
class ReplayView:
    """Packets of a capture by verdict. `skipped`: not Ethernet, or longer than the kernel runs."""

    packets: int
    passed: int
    dropped: int
    monitored: int
    skipped: int
    reasons: dict[str, int]
    sources: list[Share]
    distinct_sources: int


@dataclass(frozen=True, slots=True)
class ReplayedPacket:
    """`packet`: its number in the capture, from 1 on."""

    packet: int
    verdict: str
    reason: str
    rule: str | None
    source: str | None
    length: int


@dataclass(frozen=True, slots=True)
class ProgramMapView:
    """One map that the program uses. Sizes and `memory` in bytes."""

    name: str
    id: int
    type: str
    key_size: int
    value_size: int
    entries: int
    memory: int
    pin: str


@dataclass(frozen=True, slots=True)
class Measured:
    """Runs that were counted for `seconds`; `ns_per_run` is None when there were none."""

    seconds: float
    runs: int
    ns_per_run: float | None


@dataclass(frozen=True, slots=True)
class ProgramView:
    """The program on an interface: `instructions` before and bytes of `machine_code` after the JIT, what it is compiled
    for, and its maps."""

    interface: str
    id: int
    name: str
    tag: str
    loaded_at: datetime
    instructions: int
    machine_code: int
    verified: int
    compiler: str
    features: list[str]
    measured: Measured | None
    maps: list[ProgramMapView]
