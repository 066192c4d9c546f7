# SPDX-License-Identifier: Apache-2.0
"""What the fake kernel's tables say about a frame: from the tables alone, on what the reference parser finds."""

from __future__ import annotations

import ipaddress

from xdpfw.kernel.fake_bans import FakeBans
from xdpfw.kernel.fake_tables import Tables
from xdpfw.kernel.port import Brief, Judgement
from xdpfw.model.policy import MAX_ROWS
from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict
from xdpfw.model.rule import Mode
from xdpfw.policy.reference_parse import parse


def judge(tables: Tables, bans: FakeBans, frame: bytes, interface: str | None, now: int) -> Judgement:
    """`now`: wall clock ns."""
    parsed = parse(frame)
    rules = tables.rules[tables.generation]
    if parsed.source is None or parsed.destination is None or parsed.settled is not None:
        drop = parsed.settled not in (Reason.ARP, Reason.NDP, Reason.NON_IP)
        return Judgement(Verdict.DROP if drop else Verdict.PASS, int(parsed.settled or 0), False, 0)
    leaf = tables.find(parsed.source.packed)
    classes = (tables.class_of(leaf, now), tables.class_of(tables.find(parsed.destination.packed), now))
    row, watching = rules.first_rows(parsed, len(frame), interface, classes)
    banned = bans.slot_of(str(parsed.source), rules.places, MAX_ROWS if row is None else row)
    verdict, cause = rules.policy.default, int(Reason.DEFAULT)
    if banned is not None:
        verdict, cause = Verdict.DROP, int(Reason.BANNED)
    elif row is not None:
        verdict, cause = rules.verdict(row), MAX_REASONS + rules.slot(row)
    elif parsed.tail is not None:
        verdict, cause = Verdict.DROP, int(parsed.tail)
    monitored = rules.policy.mode is Mode.MONITOR and verdict is Verdict.DROP
    fields = {
        "source": str(parsed.source),
        "destination": str(parsed.destination),
        "protocol": parsed.protocol or 0,
        "source_port": parsed.source_port or 0,
        "destination_port": parsed.destination_port or 0,
    }
    return Judgement(
        Verdict.PASS if monitored else verdict,
        cause,
        monitored,
        leaf,
        banned_by=0 if banned is None else MAX_REASONS + banned,
        monitored_cause=0 if watching is None else MAX_REASONS + rules.slot(watching),
        tier=tables.tier_of(leaf),
        fields=fields,
    )


def brief(judged: Judgement) -> Brief:
    source = judged.fields.get("source")
    packed = Prefix.host(ipaddress.ip_address(source)).address if source else b""
    mapped = bytes(10) + b"\xff\xff" + packed if len(packed) == 4 else packed
    return Brief(judged.verdict == Verdict.DROP, judged.cause, judged.monitored, mapped)
