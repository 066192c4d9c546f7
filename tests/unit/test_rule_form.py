# SPDX-License-Identifier: Apache-2.0
"""Rules as documents: what is taken, what is refused, and that what is shown is read as the same rule."""

from __future__ import annotations

from typing import Any

import pytest

from tests import random_rules
from xdpfw.model.errors import InvalidInput
from xdpfw.model.policy import DEFAULT_RULES
from xdpfw.model.rule import Flags, Range
from xdpfw.model.rule_form import PROTOCOLS, parse_rule, parse_rules
from xdpfw.model.rule_show import show_rule


def match_of(**match: Any) -> Any:
    return parse_rule({"id": "r", "action": "drop", "match": match}).match


def test_what_is_shown_is_read_as_the_same_rule() -> None:
    rules = (*DEFAULT_RULES, *random_rules.rules(5, 300, ("allow", "block")))
    assert parse_rules([show_rule(rule) for rule in rules]) == rules


def test_one_value_stands_for_a_list_of_one() -> None:
    assert match_of(protocol="tcp", destination_ports=22) == match_of(protocol=[6], destination_ports=["22"])


def test_ranges_include_both_ends() -> None:
    assert match_of(destination_ports="8000-8100").destination_ports == (Range(8000, 8100),)


def test_names_mean_the_assigned_numbers() -> None:
    # https://www.iana.org/assignments/protocol-numbers
    assert [PROTOCOLS[name] for name in ("icmp", "tcp", "udp", "gre", "esp", "ah", "icmpv6", "sctp")] == [
        1, 6, 17, 47, 50, 51, 58, 132,
    ]  # fmt: skip
    kinds = match_of(icmp_types=["echo-request", "packet-too-big"]).icmp_types
    assert [(kind.icmp, kind.icmpv6) for kind in kinds] == [(8, 128), (None, 2)]


@pytest.mark.parametrize(("text", "flags"), [
    ("syn,ack/syn", Flags(0x12, 0x02)), ("rst", Flags(0x04, 0x04)), ("all/none", Flags(0xFF, 0)),
])  # fmt: skip
def test_flags_are_a_mask_and_a_value(text: str, flags: Flags) -> None:
    assert match_of(tcp_flags=text).tcp_flags == (flags,)


def test_an_exclamation_mark_excludes() -> None:
    source = match_of(source=["block", "!10.0.0.0/8", "!allow", "::ffff:192.0.2.1"]).source
    assert (source.sets, source.not_sets) == (("block",), ("allow",))
    assert [str(prefix) for prefix in (*source.prefixes, *source.not_prefixes)] == ["192.0.2.1/32", "10.0.0.0/8"]


@pytest.mark.parametrize(("document", "pointer"), [
    ({}, "/action"),
    ({"action": "reject"}, "/action"),
    ({"action": "limit"}, "/limit"),
    ({"action": "drop", "limit": {"rate": 1}}, "/limit"),
    ({"action": "limit", "limit": {"rate": 0}}, "/limit/rate"),
    ({"action": "limit", "limit": {"rate": 1, "bann": 5}}, "/limit/bann"),
    ({"action": "limit", "limit": {"rate": 1, "prefix4": 33}}, "/limit/prefix4"),
    ({"action": "limit", "limit": {"rate": 1, "per": "rule", "ban": 60}}, "/limit/ban"),
    ({"action": "limit", "limit": {"rate": 1, "ban": "1 week"}}, "/limit/ban"),
    ({"action": "limit", "limit": {"rate": 1, "prefix4": 0, "ban": 60}}, "/limit/prefix4"),
    ({"action": "limit", "limit": {"rate": 1, "prefix6": 0, "ban": 60}}, "/limit/prefix6"),
    ({"action": "drop", "mach": {}}, "/mach"),
    ({"action": "drop", "id": "Upper"}, "/id"),
    ({"action": "drop", "enabled": 1}, "/enabled"),
    ({"action": "drop", "comment": "a\nb"}, "/comment"),
    ({"action": "drop", "log": {"rate": -1}}, "/log/rate"),
    ({"action": "drop", "match": {"ports": 1}}, "/match/ports"),
    ({"action": "drop", "match": {"source": "10.0.0.1/8"}}, "/match/source"),
    ({"action": "drop", "match": {"source": ["block", "1.2.3"]}}, "/match/source/1"),
    ({"action": "drop", "match": {"source": []}}, "/match/source"),
    ({"action": "drop", "match": {"destination_ports": "8100-8000"}}, "/match/destination_ports"),
    ({"action": "drop", "match": {"destination_ports": 65536}}, "/match/destination_ports"),
    ({"action": "drop", "match": {"destination_ports": True}}, "/match/destination_ports"),
    ({"action": "drop", "match": {"protocol": "icmp", "destination_ports": 1}}, "/match/destination_ports"),
    ({"action": "drop", "match": {"protocol": "tpc"}}, "/match/protocol"),
    ({"action": "drop", "match": {"protocol": 256}}, "/match/protocol"),
    ({"action": "drop", "match": {"tcp_flags": "syn/ack"}}, "/match/tcp_flags"),
    ({"action": "drop", "match": {"tcp_flags": "sin"}}, "/match/tcp_flags"),
    ({"action": "drop", "match": {"vlan": 4096}}, "/match/vlan"),
    ({"action": "drop", "match": {"fragment": "middle"}}, "/match/fragment"),
    ({"action": "drop", "match": {"interfaces": "a/b"}}, "/match/interfaces"),
    ({"action": "drop", "match": {"icmp_types": "ping"}}, "/match/icmp_types"),
    ({"action": "drop", "match": []}, "/match"),
    ([], ""),
])  # fmt: skip
def test_a_fault_is_named_with_its_place(document: Any, pointer: str) -> None:
    if isinstance(document, dict):
        document = {"id": "r", "match": {}} | document
    with pytest.raises(InvalidInput) as caught:
        parse_rule(document)
    assert pointer in [fault.pointer for fault in caught.value.faults]


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_rules([{"id": "a", "action": "x"}, {"id": "b", "action": "drop", "match": {"vlan": -1, "length": "x"}}])
    assert [fault.pointer for fault in caught.value.faults] == ["/0/action", "/1/match/vlan", "/1/match/length"]


def test_an_id_may_stand_only_once() -> None:
    with pytest.raises(InvalidInput, match="before it"):
        parse_rules([{"id": "a", "action": "drop"}, {"id": "a", "action": "pass"}])
