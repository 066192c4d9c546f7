# SPDX-License-Identifier: Apache-2.0
"""The reference verdict: by hand for every rule of the order in which things decide."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.packets import cut, ethernet, ip, ipv6, ndp, tcp, udp
from xdpfw.model.policy import ALLOW, BLOCK, Claim, Policy
from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict
from xdpfw.model.rule import Mode
from xdpfw.policy.reference import judge, names_of
from xdpfw.policy.sets import Sets

DENY = Policy(default=Verdict.DROP)
ALLOWED, BLOCKED = MAX_REASONS, MAX_REASONS + 1


def sets_of(*, allow: tuple[str, ...] = (), block: tuple[str, ...] = (), expires: int | None = None) -> Sets:
    sets = Sets.initial()
    for name, texts in ((ALLOW, allow), (BLOCK, block)):
        sets = sets.upsert(name, [Claim(Prefix.parse(text), expires=expires) for text in texts], longest=True).sets
    return sets


@pytest.mark.parametrize("source", ["192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"])
def test_rows_in_their_order_then_the_default(source: str) -> None:
    frame = ethernet(ip(source, udp()))
    wide = ("192.0.0.0/16", "2001:db8::/32")
    cases = [
        (sets_of(), Policy(), Verdict.PASS, Reason.DEFAULT),
        (sets_of(), DENY, Verdict.DROP, Reason.DEFAULT),
        (sets_of(block=wide), Policy(), Verdict.DROP, BLOCKED),
        (sets_of(allow=wide), DENY, Verdict.PASS, ALLOWED),
        (sets_of(allow=wide, block=("192.0.2.1", "2001:db8::1")), DENY, Verdict.PASS, ALLOWED),
        (sets_of(allow=("192.0.2.1", "2001:db8::1"), block=wide), DENY, Verdict.PASS, ALLOWED),
    ]
    for sets, policy, verdict, cause in cases:
        judged = judge(frame, sets, policy, 0)
        assert (judged.verdict, judged.cause, judged.monitored) == (verdict, cause, False)


def test_a_claim_holds_until_its_expiry_and_not_at_it() -> None:
    sets = sets_of(block=("192.0.2.1",), expires=1000)
    frame = ethernet(ip("192.0.2.1", udp()))
    assert judge(frame, sets, Policy(), 999).cause == BLOCKED
    assert judge(frame, sets, Policy(), 1000).cause == Reason.DEFAULT


def test_a_row_wins_over_what_is_wrong_behind_the_ip_header() -> None:
    short = ethernet(ip("192.0.2.1", cut(tcp(), 10)))
    assert judge(short, sets_of(), Policy(), 0).cause == Reason.SHORT_TRANSPORT
    assert judge(short, sets_of(block=("192.0.2.1",)), Policy(), 0).cause == BLOCKED
    allowed = judge(short, sets_of(allow=("192.0.2.1",)), Policy(), 0)
    assert (allowed.verdict, allowed.cause) == (Verdict.PASS, ALLOWED)


def test_monitor_passes_whatever_would_be_dropped_and_says_so() -> None:
    monitor = replace(DENY, mode=Mode.MONITOR)
    for frame, cause in ((bytes(3), Reason.SHORT_ETHERNET), (ethernet(ip("192.0.2.1", udp())), Reason.DEFAULT)):
        judged = judge(frame, sets_of(), monitor, 0)
        assert (judged.verdict, judged.cause, judged.monitored) == (Verdict.PASS, cause, True)
    passed = judge(ethernet(ip("192.0.2.1", udp())), sets_of(allow=("192.0.2.1",)), monitor, 0)
    assert not passed.monitored


def test_neighbour_discovery_passes_a_blocked_source_under_default_drop() -> None:
    solicitation = ethernet(ipv6("2001:db8::1", ndp(), hop_limit=255))
    sets = sets_of(block=("::/0",))
    judged = judge(solicitation, sets, DENY, 0)
    assert (judged.verdict, judged.cause) == (Verdict.PASS, Reason.NDP)


@pytest.mark.parametrize(("ethertype", "default", "verdict"), [
    (0x88CC, Verdict.DROP, Verdict.PASS), (0x1234, Verdict.DROP, Verdict.DROP), (0x1234, Verdict.PASS, Verdict.PASS),
])  # fmt: skip
def test_non_ip_by_the_list_of_ethertypes(ethertype: int, default: Verdict, verdict: Verdict) -> None:
    frame = bytes(12) + ethertype.to_bytes(2) + bytes(46)
    judged = judge(frame, sets_of(), Policy(default=default), 0)
    assert (judged.verdict, judged.cause) == (verdict, Reason.NON_IP)


@pytest.mark.corpora
def test_peer_vectors(corpora: Path) -> None:
    lines = (corpora / "vectors" / "lpm_verdicts.tsv").read_text().splitlines()[1:]
    assert lines
    for _, blocked, source, verdict, match in (line.split("\t") for line in lines):
        sets = sets_of(block=tuple(blocked.split(",")))
        for text in ("192.0.2.1", "0.0.0.0", "255.255.255.255") if source == "any" else (source,):
            address = ipaddress.ip_address(text)
            assert (Verdict.DROP if BLOCK in names_of(address, sets, 0) else Verdict.PASS) == verdict
            longest = sets.matches(address)
            assert (str(longest[0][1].prefix) if longest else "-") == match
