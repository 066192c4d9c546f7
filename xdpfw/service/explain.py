# SPDX-License-Identifier: Apache-2.0
"""Use cases that ask the packet path itself, without touching a counter: one frame explained, a capture replayed."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from xdpfw.frames.build import Description, build
from xdpfw.frames.capture import ETHERNET, CaptureReader, Record
from xdpfw.kernel.port import Brief, Judgement
from xdpfw.model.packet_views import ReplayedPacket, ReplayView, Share
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Address
from xdpfw.model.reason import MAX_REASONS, Reason
from xdpfw.model.rule_form import PROTOCOL_NAMES
from xdpfw.model.views import ExplainView, MatchView
from xdpfw.service.present import rule_names
from xdpfw.service.program import ProgramUseCases
from xdpfw.service.sight import SightUseCases

PIECE = 2_000
"""Packets that are judged at once: some milliseconds."""
MOST_SOURCES = 1_000_000
"""Sources that a replay keeps apart; the packets of any further ones are summed up."""
SHOWN_SOURCES = 20


@dataclass(slots=True)
class Totals:
    """What a replay has come to so far."""

    verdicts: Counter[str] = field(default_factory=Counter)
    causes: Counter[int] = field(default_factory=Counter)
    sources: dict[bytes, list[int]] = field(default_factory=dict)
    packets: int = 0
    skipped: int = 0
    monitored: int = 0

    def add(self, brief: Brief) -> None:
        self.packets += 1
        if brief.cause < 0:
            self.skipped += 1
            return
        self.verdicts["drop" if brief.drop else "pass"] += 1
        self.monitored += brief.monitored
        self.causes[brief.cause] += 1
        key = brief.source if brief.source in self.sources or len(self.sources) < MOST_SOURCES else b""
        self.sources.setdefault(key, [0, 0])[brief.drop] += 1


class ExplainUseCases(SightUseCases, ProgramUseCases):
    async def explain(self, said: Description) -> ExplainView:
        """What becomes of a frame of that description now, and why."""
        return await self.explain_frame(build(said), said.interface)

    async def explain_frame(self, frame: bytes, interface: str | None) -> ExplainView:
        state = self.state
        judged = await asyncio.to_thread(self.kernel.judge, frame, interface)
        await self.keep_bans()
        matches: dict[str, list[MatchView]] = {"source": [], "destination": []}
        for side in matches:
            if address := judged.fields.get(side):
                matches[side] = await asyncio.to_thread(
                    self._matches, ipaddress.ip_address(address), source=side == "source"
                )
        names = rule_names(state.policy)
        reason, rule = told(judged.cause, names)
        rule = rule or names.get(judged.banned_by)
        _, watching = told(judged.monitored_cause, names) if judged.monitored_cause else ("", None)
        return ExplainView(
            verdict=str(judged.verdict),
            reason=reason,
            rule=rule,
            because=_because(judged, reason, rule, state.policy),
            monitored=judged.monitored,
            watching=watching,
            matches=matches["source"],
            destination_matches=matches["destination"],
            tier=judged.tier,
            packet=_packet(judged),
            revision=state.revision,
        )

    async def replay(self, body: AsyncIterator[bytes], interface: str | None) -> ReplayView:
        """Judge every packet of a capture; totals by verdict, rule and source."""
        totals = Totals()
        async for briefs, _ in self._judged(body, interface):
            for brief in briefs:
                totals.add(brief)
        return _replayed(totals, self.state.policy)

    async def replay_packets(
        self, body: AsyncIterator[bytes], interface: str | None
    ) -> AsyncIterator[list[ReplayedPacket]]:
        """The same, packet by packet."""
        number = 0
        async for briefs, records in self._judged(body, interface):
            names, shown = rule_names(self.state.policy), []
            for brief, record in zip(briefs, records, strict=True):
                number += 1
                reason, rule = told(brief.cause, names)
                verdict = "skipped" if brief.cause < 0 else "drop" if brief.drop else "pass"
                source = _address(brief.source) if brief.source else None
                shown.append(ReplayedPacket(number, verdict, reason, rule, source, record.length))
            yield shown

    async def _judged(
        self, body: AsyncIterator[bytes], interface: str | None
    ) -> AsyncIterator[tuple[list[Brief], list[Record]]]:
        reader, waiting = CaptureReader(), []
        async for piece in body:
            for record in reader.feed(piece):
                waiting.append(record)
                if len(waiting) == PIECE:
                    yield await self._judge_piece(waiting, interface), waiting
                    waiting = []
        reader.finish()
        if waiting:
            yield await self._judge_piece(waiting, interface), waiting

    async def _judge_piece(self, records: Sequence[Record], interface: str | None) -> list[Brief]:
        def work() -> list[Brief]:
            asked = [record for record in records if record.link == ETHERNET]
            answers = iter(self.kernel.judge_all([whole(record) for record in asked], interface))
            return [next(answers) if record.link == ETHERNET else NOT_ETHERNET for record in records]

        return await asyncio.to_thread(work)


EXCUSES = {
    Reason.ESTABLISHED: "no rule matches and it answers what was sent from here",
    Reason.RELATED: "no rule matches and it is an error about what was sent from here",
    Reason.GROUP_MANAGEMENT: "no rule matches and it manages multicast groups of the link",
}
NOT_ETHERNET = Brief(False, -1, False, b"")


def whole(record: Record) -> bytes:
    """A packet of which only the beginning was captured, filled up: its headers speak of its true length."""
    return record.data.ljust(record.length, b"\0") if len(record.data) < record.length else record.data


def told(cause: int, names: Mapping[int, str]) -> tuple[str, str | None]:
    """A cause as its reason and, if a rule decided, the rule's id."""
    if cause < 0:
        return "skipped", None
    if cause < MAX_REASONS:
        return Reason(cause).label, None
    return Reason.RULE.label, names.get(cause)


def _because(judged: Judgement, reason: str, rule: str | None, policy: Policy) -> str:
    if judged.banned_by:
        why = f"rule {rule} banned the source"
    elif rule:
        why = f"rule {rule} matches"
        if (limited := policy.rule(rule)) and limited.limit:
            why += ", and passes what keeps within its limit"
    elif judged.cause == Reason.DEFAULT:
        why = f"no rule matches and the default is {policy.default}"
    else:
        why = EXCUSES.get(Reason(judged.cause), f"of its form: {reason}")
    return f"{why}; the policy is in monitor mode, so it passes" if judged.monitored else why


def _packet(judged: Judgement) -> dict[str, int | str | None]:
    names = ("source", "destination", "protocol", "source_port", "destination_port", "icmp_type", "fragment", "vlan")
    shown = {name: judged.fields.get(name) for name in names}
    protocol = shown["protocol"]
    shown["protocol"] = PROTOCOL_NAMES.get(protocol, protocol) if isinstance(protocol, int) else None
    return shown


def _address(packed: bytes) -> str:
    address: Address = ipaddress.IPv6Address(packed)
    return str(address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else str(address)


def _replayed(totals: Totals, policy: Policy) -> ReplayView:
    names = rule_names(policy)
    causes = [(*told(cause, names), count) for cause, count in totals.causes.most_common()]
    ranked = sorted(totals.sources.items(), key=lambda item: -sum(item[1]))[:SHOWN_SOURCES]
    return ReplayView(
        packets=totals.packets,
        passed=totals.verdicts["pass"],
        dropped=totals.verdicts["drop"],
        monitored=totals.monitored,
        skipped=totals.skipped,
        reasons={f"rule:{rule}" if rule else reason: count for reason, rule, count in causes},
        sources=[Share(_address(source) if source else None, *counts) for source, counts in ranked],
        distinct_sources=len(totals.sources),
    )
