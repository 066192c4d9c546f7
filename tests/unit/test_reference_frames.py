# SPDX-License-Identifier: Apache-2.0
"""The reference verdict against the table of frames, and its parser against the second one."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from tests import samples
from tests.corpora import ethernet_captures
from tests.frame_table import expected, table
from tests.random_frames import frames
from tests.second_parser import Reading, read
from xdpfw.model.policy import Claim, Policy
from xdpfw.model.prefix import Prefix
from xdpfw.policy import reference
from xdpfw.policy.reference_parse import Parsed, parse
from xdpfw.policy.sets import Sets


@pytest.fixture(scope="module")
def sets() -> Sets:
    sets = Sets.initial()
    for name, prefixes in (("allow", samples.ALLOW), ("block", samples.BLOCK)):
        claims = [Claim(Prefix.parse(prefix)) for prefix in prefixes]
        sets = sets.upsert(name, claims, longest=False).sets
    return sets


@pytest.mark.parametrize("policy", samples.POLICIES, ids=samples.policy_id)
@pytest.mark.parametrize("membership", samples.SOURCES, ids=str)
@pytest.mark.parametrize("mapped", [False, True], ids=["own", "mapped"])
def test_the_table_of_frames(
    sets: Sets, policy: Policy, membership: str | None, mapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples.remember_rows(monkeypatch)
    wrong = {}
    for case in table(*samples.sources(membership, mapped=mapped)):
        want = expected(case.reason, read(case.frame).ethertype, membership, policy)
        judged = reference.judge(case.frame, sets, policy, 0)
        if (judged.verdict, judged.cause, judged.monitored) != (want.verdict, want.cause, want.monitored):
            wrong[str(case)] = (want, judged)
    assert wrong == {}


def differing(parsed: Parsed, reading: Reading) -> dict[str, tuple[object, object]]:
    """Field → (reference's, second parser's)."""
    source = None if reading.source is None else ipaddress.ip_address(reading.source)
    if isinstance(source, ipaddress.IPv6Address):
        source = source.ipv4_mapped or source
    fields = {
        "fault": (_fault(parsed), reading.fault),
        "source": (parsed.source, source),
        "ethertype": (parsed.ethertype, reading.ethertype),
        "tags": (len(parsed.vlans), reading.tags),
    }
    if not reading.fault.startswith(("bad_", "short_ethernet", "vlan_")):
        ports = None if parsed.source_port is None else (parsed.source_port, parsed.destination_port)
        fields |= {
            "protocol": (parsed.protocol, reading.protocol),
            "ports": (ports, reading.ports),
            "later": (parsed.later_fragment, reading.fragment == "later"),
            "fragment": (parsed.fragment, reading.fragment != "none"),
            "extensions": (parsed.extensions, reading.extensions),
            "ndp": (parsed.settled is not None and parsed.settled.label == "ndp", reading.ndp),
        }
    return {name: pair for name, pair in fields.items() if pair[0] != pair[1]}


def _fault(parsed: Parsed) -> str:
    """The reason that drops it whatever the policy, unless a row says otherwise."""
    reason = parsed.tail if parsed.tail is not None else parsed.settled
    return "" if reason is None or reason.label in ("arp", "ndp", "non_ip") else reason.label


@pytest.mark.parametrize("seed", samples.seeds())
def test_both_parsers_read_random_frames_alike(seed: int) -> None:
    wrong = {
        frame.hex(): fields
        for frame in frames(seed, 5_000, *samples.all_sources())
        if (fields := differing(parse(frame), read(frame)))
    }
    assert wrong == {}


@pytest.mark.corpora
def test_both_parsers_read_every_capture_alike(corpora: Path) -> None:
    wrong = {
        f"{capture.name} {number}": fields
        for capture in ethernet_captures(corpora)
        for number, frame in enumerate(capture.frames, 1)
        if (fields := differing(parse(frame), read(frame)))
    }
    assert wrong == {}
