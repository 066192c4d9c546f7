# SPDX-License-Identifier: Apache-2.0
"""What the service answers, shaped as the REST contract shows it.

Counts are integers; `pps` packets and `bps` bits per second; times are aware UTC datetimes; ttl in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from xdpfw.model.ledger_views import ConfirmationView
from xdpfw.model.packet_views import EventsStatus


@dataclass(frozen=True, slots=True)
class Count:
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Rated:
    packets: int
    bytes: int
    pps: float = 0.0
    bps: float = 0.0


@dataclass(frozen=True, slots=True)
class InterfaceView:
    """`desired` is the mode asked for (auto, native, generic) or None; `mode` what it runs in, or None."""

    name: str
    index: int | None
    mac: str | None
    mtu: int | None
    driver: str | None
    desired: str | None
    state: str
    mode: str | None
    program_id: int | None
    passed: Count | None
    dropped: Count | None
    warning: str | None


@dataclass(frozen=True, slots=True)
class ReasonView:
    passed: Count
    dropped: Count
    monitored: Count


@dataclass(frozen=True, slots=True)
class CountersView:
    """`reasons` is keyed by reason label; rows of the policy as `rule:<id>`. They sum up to the totals. `at`: when they
    were read."""

    name: str
    passed: Rated
    dropped: Rated
    monitored: Rated
    reasons: dict[str, ReasonView]
    at: datetime


@dataclass(frozen=True, slots=True)
class RateSeries:
    """One value for each step; None where nothing is known."""

    pps: list[float | None]
    bps: list[float | None]


@dataclass(frozen=True, slots=True)
class HistoryView:
    """Mean rates within each of the last steps. `times`: the ends of the steps."""

    name: str
    window: int
    step: int
    times: list[datetime]
    passed: RateSeries
    dropped: RateSeries
    monitored: RateSeries


@dataclass(frozen=True, slots=True)
class TalkerView:
    """`interfaces` is filled where several interfaces are summed."""

    address: str
    passed: Rated
    dropped: Rated
    since: datetime
    last_seen: datetime
    sets: list[str]
    interfaces: list[str] | None = None


@dataclass(frozen=True, slots=True)
class PassedDropped:
    passed: Rated
    dropped: Rated


@dataclass(frozen=True, slots=True)
class TalkersView:
    """items + the tracked talkers not shown + other = totals. `at`: when they were read."""

    items: list[TalkerView]
    next: str | None
    total: int
    other: PassedDropped
    totals: PassedDropped
    since: datetime | None
    at: datetime


@dataclass(frozen=True, slots=True)
class SetView:
    """`dynamic`: filled by the firewall itself."""

    name: str
    comment: str
    entries: int
    entries4: int
    entries6: int
    packets: int
    bytes: int
    dynamic: bool = False


@dataclass(frozen=True, slots=True)
class ClaimView:
    origin: str
    expires_at: datetime | None
    ttl: int | None
    comment: str
    added_at: datetime


@dataclass(frozen=True, slots=True)
class EntryView:
    """`origin`, `expires_at`, `comment`, `added_at` are the longest-lived claim's; several are all in `claims`."""

    prefix: str
    origin: str
    expires_at: datetime | None
    ttl: int | None
    comment: str
    packets: int
    bytes: int
    added_at: datetime
    claims: list[ClaimView] | None = None


@dataclass(frozen=True, slots=True)
class EntryPage:
    items: list[EntryView]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class MatchView:
    set: str
    prefix: str
    origin: str
    expires_at: datetime | None
    comment: str
    packets: int
    bytes: int


@dataclass(frozen=True, slots=True)
class AddressInterfaceView:
    name: str
    passed: Count
    dropped: Count
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class AddressView:
    address: str
    verdict: str
    rule: str | None
    because: str
    matches: list[MatchView]
    interfaces: list[AddressInterfaceView]


@dataclass(frozen=True, slots=True)
class ExplainView:
    """What the packet path says about one frame. `watching`: the rule in monitor mode that would have decided before.
    `matches`: entries that contain the source. `tier`: the table that led to its entry."""

    verdict: str
    reason: str
    rule: str | None
    because: str
    monitored: bool
    watching: str | None
    matches: list[MatchView]
    destination_matches: list[MatchView]
    tier: str
    packet: dict[str, int | str | None]
    revision: int


@dataclass(frozen=True, slots=True)
class PolicyView:
    """`ethertypes` ("0x88cc"): what passes under default drop beside IP and ARP."""

    default: str
    mode: str
    rows: list[str]
    ethertypes: list[str]


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule as a document, with its place (from 1 on) and what it matched first. `match` has the fields that ask
    something. `warning`: what keeps it from working."""

    id: str
    position: int
    enabled: bool
    comment: str
    match: dict[str, list[int | str]]
    action: str
    mode: str
    limit: dict[str, int | str] | None
    log: dict[str, int] | None
    packets: int
    bytes: int
    warning: str | None


@dataclass(frozen=True, slots=True)
class Written:
    """Answer of every write. `created`: the resource was not there before (201). `confirmation`: the id under which it
    waits to be confirmed."""

    revision: int
    changed: bool
    created: bool = False
    dry_run: bool = False
    confirmation: str | None = None


@dataclass(frozen=True, slots=True)
class RulesWritten:
    """Answer of a replacement of all rules, which are told apart by their ids."""

    revision: int
    changed: bool
    added: int
    removed: int
    edited: int
    kept: int
    total: int
    dry_run: bool = False
    confirmation: str | None = None


@dataclass(frozen=True, slots=True)
class EntriesWritten:
    """Answer of a write of entries. `effective`: drop, pass, conditional or mixed; `because` says why, for people."""

    revision: int
    changed: bool
    added: int
    refreshed: int
    removed: int
    kept: int
    total: int
    effective: str
    because: str
    created: bool = False
    dry_run: bool = False
    confirmation: str | None = None
    skipped: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MapView:
    used: int | None
    size: int


@dataclass(frozen=True, slots=True)
class BansView:
    """Bans that are in force and how many there may be. Since the tables were made: bans `made`; bans `refused` because
    there was no room, once for each packet that would have made one; packets that limits passed or dropped without a
    bucket for their source alone (`untracked`)."""

    used: int
    size: int
    made: int
    refused: int
    untracked: int


@dataclass(frozen=True, slots=True)
class OperationView:
    """A long write under way: `kind` for people, `done` of `total` steps (prefixes)."""

    kind: str
    set: str | None
    done: int
    total: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class PanicView:
    """Whether all is dropped but what is kept; since when; the prefixes that are kept."""

    on: bool
    since: datetime | None
    keep: list[str]


@dataclass(frozen=True, slots=True)
class DeviationView:
    """What the kernel holds and should not, or the other way round: `places` in a `table`, the first of them with
    `details`."""

    table: str
    places: int
    details: list[str]


@dataclass(frozen=True, slots=True)
class VerificationView:
    """All of the kernel's tables compared with the policy: `ok` if nothing differs."""

    ok: bool
    deviations: list[DeviationView]
    prefixes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class DriftView:
    """Somebody else changed what is in the kernel; noticed within the last hour."""

    at: datetime
    found: list[str]
    mended: bool


@dataclass(frozen=True, slots=True)
class StatusView:
    version: str
    instance: str
    revision: int
    uptime: float
    started_at: datetime
    ready: bool
    problems: list[str]
    warnings: list[str]
    policy: PolicyView
    panic: PanicView
    confirmations: list[ConfirmationView]
    interfaces: list[InterfaceView]
    sets: list[SetView]
    maps: dict[str, MapView]
    bans: BansView
    operation: OperationView | None
    drift: list[DriftView]
    events: EventsStatus
    kernel: dict[str, Any]
