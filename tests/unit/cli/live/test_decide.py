# SPDX-License-Identifier: Apache-2.0
"""Which rule decides about a talker: by hand, and against the reference verdict of the policy."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.live.decide import Decision, Rules
from cli.live.reading import Flow, Talker, Traffic
from tests.unit.cli.live.values import rule, talker

ALLOW, BLOCK = rule("allow", "pass", source=["allow"]), rule("block", "drop", source=["block"])
A = "192.0.2.7"


def decided(rules: list[dict[str, Any]], one: Talker, default: str = "pass", interface: str | None = None) -> str:
    decision = Rules.of(rules, default).decide(one, interface)
    return f"{decision.verdict} {decision.label}".strip()


@pytest.mark.parametrize(
    ("sets", "default", "expected"),
    [
        (("block",), "pass", "drop block"), (("block", "allow"), "pass", "pass allow"), ((), "pass", "pass"),
        ((), "drop", "drop default"), (("partners",), "drop", "drop default"), (("allow",), "drop", "pass allow"),
    ],
)  # fmt: skip
def test_the_first_rule_whose_set_holds_the_address_decides(sets: tuple[str, ...], default: str, expected: str) -> None:
    assert decided([ALLOW, BLOCK], talker(A, sets=sets), default) == expected


def test_the_order_of_the_rules_matters() -> None:
    assert decided([BLOCK, ALLOW], talker(A, sets=("block", "allow"))) == "drop block"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (["192.0.2.0/24"], "drop mine"), (["192.0.3.0/24"], "pass"), (["2001:db8::/32", "192.0.2.7/32"], "drop mine"),
        (["!192.0.2.0/24"], "pass"), (["!198.51.100.0/24"], "drop mine"), (["192.0.2.0/24", "!192.0.2.0/25"], "pass"),
        (["!block"], "drop mine"), (["0.0.0.0/0"], "drop mine"), (["::/0"], "pass"), (["fd00::/8"], "pass"),
    ],
)  # fmt: skip
def test_prefixes_and_exclusions(source: list[str], expected: str) -> None:
    assert decided([rule("mine", "drop", source=source)], talker(A)) == expected


def test_a_rule_without_a_source_is_about_everyone() -> None:
    assert decided([rule("all", "drop")], talker("2001:db8::7")) == "drop all"


def test_what_is_switched_off_or_only_watches_does_not_decide() -> None:
    off, watching = rule("off", "drop", enabled=False), rule("watching", "drop", mode="monitor")
    assert decided([off, watching], talker(A, 1, 1)) == "pass"


def test_a_rule_that_asks_for_more_is_named_only_where_packets_are_dropped() -> None:
    web = rule("web", "drop", destination_ports=[80])
    assert decided([web], talker(A, 10)) == "pass"
    assert decided([web], talker(A, 10, 5)) == "drop web?"
    assert decided([web], talker(A, 10, 5), "drop") == "drop default"
    assert decided([ALLOW, web], talker(A, 10, 5, sets=("allow",))) == "pass allow"  # it never comes to web
    assert decided([rule("ok", "pass", protocol=["tcp"]), web, BLOCK], talker(A, 10, 5)) == "drop web?"
    assert decided([web, BLOCK], talker(A, 10, 5, sets=("block",))) == "drop block"


def test_limits_are_decisions_of_their_own() -> None:
    assert decided([rule("slow", "limit", source=["192.0.2.0/24"])], talker(A, 1)) == "limit slow"
    assert decided([rule("slow", "limit", protocol=["udp"])], talker(A, 1, 1)) == "limit slow?"


def test_a_ban_stands_where_its_rule_does_and_is_about_everything_from_there() -> None:
    slow = rule("slow", "limit", protocol=["udp"]) | {"limit": {"rate": 10, "ban": 60}}
    web = rule("web", "drop", destination_ports=[80])
    one = talker(A, 1, 1, sets=("banned",))
    assert decided([ALLOW, web, slow], one) == "drop banned"
    assert decided([slow | {"limit": {"rate": 10, "ban": 0}}], one) == "limit slow?"
    assert decided([slow], talker(A, 1, 1)) == "limit slow?"
    assert decided([ALLOW, slow], talker(A, 1, 1, sets=("allow", "banned"))) == "pass allow"


def test_interfaces_of_a_rule() -> None:
    wan = rule("wan", "drop", interfaces=["eth0"])
    assert decided([wan], talker(A, 1, 1), interface="eth0") == "drop wan"
    assert decided([wan], talker(A, 1, 1), interface="eth1") == "pass"
    assert decided([wan], talker(A, 1, 1, interfaces=("eth0",))) == "drop wan"
    assert decided([wan], talker(A, 1, 1, interfaces=("eth0", "eth1"))) == "drop wan?"
    assert decided([wan], talker(A, 1, 1, interfaces=("eth1",))) == "pass"


def test_what_was_worked_out_once_is_remembered_per_sets_and_drops() -> None:
    rules = Rules.of([ALLOW, BLOCK, rule("web", "drop", destination_ports=[80])], "pass")
    assert rules.decide(talker(A, 1)) == Decision("", "pass")
    assert rules.decide(talker(A, 1, 1)) == Decision("web?", "drop")
    assert rules.decide(talker(A, 1, sets=("block",))) == Decision("block", "drop")
    for number in range(20_000):
        rules.decide(talker(str(ipaddress.ip_address(number)), 1))
    assert rules.decide(talker(A, 1)) == Decision("", "pass")


def test_thousands_of_rules_are_not_tried_one_after_the_other() -> None:
    ports = [rule(f"p{n}", "drop", destination_ports=[n + 1]) for n in range(2000)]
    hosts = [rule(f"h{n}", "drop", source=[f"10.{n >> 8}.{n & 255}.0/24"]) for n in range(2000)]
    rules = Rules.of([*ports, ALLOW, *hosts], "pass")
    talkers = [talker(f"10.{n >> 8}.{n & 255}.9", 1, 1) for n in range(2000)]
    began = time.process_time()
    assert [rules.decide(each).label for each in talkers] == [f"h{n}" for n in range(2000)]
    # One after the other it would be eight million.
    assert time.process_time() - began < 2


NAMES = ["allow", "block", "other"]
sources = st.lists(
    st.sampled_from(
        [*NAMES, "10.0.0.0/8", "10.1.0.0/16", "192.0.2.0/24", "::/0", "2001:db8::/32", "0.0.0.0/0"]
    ).flatmap(lambda text: st.sampled_from([text, f"!{text}"])),
    max_size=3,
    unique=True,
)
many = st.lists(st.tuples(sources, st.sampled_from(["pass", "drop"]), st.booleans()), max_size=6)


@given(
    many,
    st.sampled_from(["10.0.0.1", "10.1.2.3", "192.0.2.7", "203.0.113.1", "2001:db8::1", "fd00::1"]),
    st.sets(st.sampled_from(NAMES)),
    st.sampled_from(["pass", "drop"]),
)
def test_rules_about_sources_are_read_as_the_policy_means_them(
    listed: list[tuple[list[str], str, bool]], address: str, sets: set[str], default: str
) -> None:
    """Against a reading of the contract that shares no code: any of the wanted, none of the excluded."""
    rules = [
        rule(f"r{at}", action, enabled=enabled, **({"source": source} if source else {}))
        for at, (source, action, enabled) in enumerate(listed)
    ]

    def holds(text: str) -> bool:
        if text in NAMES:
            return text in sets
        return ipaddress.ip_address(address) in ipaddress.ip_network(text)

    expected = ("default" if default == "drop" else "", default)
    for at, (source, action, enabled) in enumerate(listed):
        wanted = [text for text in source if text[0] != "!"]
        if (
            enabled
            and (not wanted or any(map(holds, wanted)))
            and not any(holds(text[1:]) for text in source if text[0] == "!")
        ):
            expected = (f"r{at}", action)
            break
    one = Talker(address, Traffic(Flow(1, 1), Flow(1, 1)), sets=tuple(sorted(sets)))
    decision = Rules.of(rules, default).decide(one)
    assert (decision.label, decision.verdict) == expected
