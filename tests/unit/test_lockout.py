# SPDX-License-Identifier: Apache-2.0
"""The lock-out guard: whose packets would be dropped after a change, and were not before."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hand_clock import HandClock
from tests.unit import strategies
from xdpfw.kernel.fake import FakeKernel
from xdpfw.model.errors import Guarded
from xdpfw.model.interface import Neighbour, Route
from xdpfw.model.policy import Claim, Policy
from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.requests import WriteOptions
from xdpfw.model.rule import Mode
from xdpfw.model.rule_form import parse_rules
from xdpfw.policy.probes import FEW, Role, Situation, Target, Touched, lost
from xdpfw.policy.reference import judge
from xdpfw.policy.sets import Sets
from xdpfw.service.guards import FRESH, Guards

SECOND = 10**9
CLOCK = HandClock()
DENY = replace(Policy(), default=Verdict.DROP)
PEER, LOCAL = "192.0.2.7", "198.51.100.1"


def sets_of(*, ttl: int | None = None, **entries: str) -> Sets:
    sets = Sets.initial()
    for name, texts in entries.items():
        expires = None if ttl is None else CLOCK.wall() + ttl * SECOND
        sets = sets.upsert(name, [Claim(Prefix.parse(t), expires=expires) for t in texts.split()], longest=False).sets
    return sets


def rules(*documents: dict[str, Any], policy: Policy = Policy()) -> Policy:  # noqa: B008 - never changed
    numbered = [{"id": f"r{number}", "action": "drop"} | document for number, document in enumerate(documents)]
    return replace(policy, rules=(*parse_rules(numbered), *policy.rules)).following(policy)


def guards(*peers: str, management: str = "", clock: HandClock = CLOCK, protect_ssh: bool = True) -> Guards:
    kernel = FakeKernel()
    kernel.peer_addresses = list(peers)
    prefixes = [Prefix.parse(management)] if management else []
    return Guards(kernel, clock, prefixes, protect_ssh=protect_ssh)


def at(sets: Sets | None = None, policy: Policy | None = None, *filtered: str) -> Situation:
    return Situation(sets or Sets.initial(), policy or Policy(), frozenset(filtered or ("wan0",)))


NOTHING = at()


def check(guard: Guards, after: Situation, before: Situation = NOTHING, **opts: Any) -> None:
    guard.check(before, after, WriteOptions(**opts), "this change")


def refused(guard: Guards, after: Situation, before: Situation = NOTHING, **opts: Any) -> str:
    with pytest.raises(Guarded) as caught:
        check(guard, after, before, **opts)
    return caught.value.detail


def test_the_address_is_named_and_no_other() -> None:
    detail = refused(guards(PEER, "198.51.100.1"), at(sets_of(block="192.0.2.0/24")))
    assert PEER in detail and "198.51.100.1" not in detail
    assert "ssh" in detail and "rule block" in detail


@pytest.mark.parametrize("peer", [PEER, f"::ffff:{PEER}"])
def test_whoever_asks_is_protected_in_any_spelling(peer: str) -> None:
    assert PEER in refused(guards(), at(sets_of(block="192.0.2.0/24")), peer=peer)


def test_the_ssh_session_of_the_caller_is_protected_on_its_own_port() -> None:
    session = (PEER, LOCAL, 2222)
    assert PEER in refused(guards(), at(sets_of(block="192.0.2.0/24")), ssh=session)
    other = rules({"match": {"protocol": "tcp", "destination_ports": "22"}})
    check(guards(), at(policy=other), ssh=session)
    mine = rules({"match": {"protocol": "tcp", "destination_ports": "2000-3000", "destination": LOCAL}})
    assert "r0" in refused(guards(), at(policy=mine), ssh=session)


@pytest.mark.parametrize(
    ("sets", "policy"),
    [
        (sets_of(block="192.0.2.0/24"), Policy(mode=Mode.MONITOR)),
        (sets_of(block="192.0.2.0/24", allow=PEER), Policy()),
        (sets_of(allow=PEER), DENY),
        (sets_of(block="192.0.2.8"), Policy()),
        (sets_of(), rules({"match": {"protocol": "udp"}})),
        (sets_of(), rules({"match": {"protocol": "tcp", "destination_ports": "80"}})),
        (sets_of(), rules({"match": {"source": f"!{PEER}"}})),
        (sets_of(), rules({"match": {"source": PEER}, "mode": "monitor"})),
        (sets_of(), rules({"match": {"source": PEER}, "enabled": False})),
        (sets_of(), rules({"match": {"interfaces": "lan0"}})),
        (sets_of(), rules({"match": {"destination": "203.0.113.1"}})),
        (sets_of(), rules({"match": {"protocol": "tcp", "tcp_flags": "syn/syn", "destination_ports": "22"},
                           "action": "pass"}, policy=DENY)),
        (sets_of(), rules({"action": "limit", "limit": {"rate": 1}, "match": {"source": PEER}})),
    ],
)  # fmt: skip
def test_what_does_not_drop_is_not_refused(sets: Sets, policy: Policy) -> None:
    guard = guards()
    guard._kernel.others = [Neighbour(PEER, "ssh", Route("wan0", LOCAL))]  # type: ignore[attr-defined]
    check(guard, at(sets, policy, "wan0", "lan0"))


@pytest.mark.parametrize(
    "rule",
    [
        {"match": {"source": "192.0.2.0/24"}},
        {"match": {"protocol": "tcp", "destination_ports": "22", "tcp_flags": "syn,ack/syn"}},
        {"match": {"protocol": "tcp", "tcp_flags": "ack"}},
        {"match": {"interfaces": "wan0"}},
        {"match": {"destination": LOCAL}},
        {"match": {"source": "!10.0.0.0/8"}},
        {"match": {"fragment": "none"}},
        {"match": {"length": "60-100"}},
        {"match": {"vlan": "none"}},
        {},
    ],
)
def test_any_rule_that_drops_the_peer_is_found(rule: dict[str, Any]) -> None:
    guard = guards()
    guard._kernel.others = [Neighbour(PEER, "ssh", Route("wan0", LOCAL))]  # type: ignore[attr-defined]
    assert "r0" in refused(guard, at(policy=rules(rule), sets=sets_of(allow="203.0.113.1")))
    behind = rules({"match": {"source": PEER}, "action": "pass"}, rule)
    check(guard, at(policy=behind))


def test_a_set_that_a_rule_looks_for_as_destination_counts_too() -> None:
    guard = guards()
    guard._kernel.others = [Neighbour(PEER, "ssh", Route("wan0", LOCAL))]  # type: ignore[attr-defined]
    policy = rules({"match": {"destination": "block"}})
    before, after = at(policy=policy), at(sets_of(block=LOCAL), policy)
    touched = Touched({4: sets_keys(LOCAL), 6: sets_keys("2001:db8::1")})
    with pytest.raises(Guarded, match=PEER):
        guard.check(before, after, WriteOptions(), "this", touched)


def sets_keys(text: str) -> Any:
    from xdpfw.policy import keys as k

    prefix = Prefix.parse(text)
    return k.pack([prefix])[prefix.family]


def test_the_default_and_an_unallow_are_looked_at_too() -> None:
    guard = guards("2001:db8::7")
    assert "the default" in refused(guard, at(policy=DENY))
    refused(guard, at(policy=DENY), before=at(sets_of(allow="2001:db8::/32"), DENY))


def test_what_was_dropped_before_may_stay_dropped_but_not_on_another_interface() -> None:
    same = at(sets_of(block="192.0.2.0/24"))
    check(guards(PEER), same, before=same)
    both = replace(same, filtered=frozenset({"wan0", "lan0"}))
    assert PEER in refused(guards(PEER), both, before=same)


def test_packets_are_looked_at_where_they_arrive() -> None:
    guard = guards()
    guard._kernel.others = [Neighbour(PEER, "ssh", Route("mgmt0", LOCAL))]  # type: ignore[attr-defined]
    blocked = sets_of(block="192.0.2.0/24")
    check(guard, at(blocked))
    assert PEER in refused(guard, at(blocked, None, "wan0", "mgmt0"))
    only_wan = rules({"match": {"interfaces": "wan0", "source": "192.0.0.0/8"}})
    check(guard, at(None, only_wan, "wan0", "mgmt0"))


def test_gateways_and_name_servers_are_protected_from_rules_and_not_from_the_default() -> None:
    guard = guards()
    guard._kernel.others = [  # type: ignore[attr-defined]
        Neighbour("203.0.113.254", "gateway", Route("wan0", LOCAL)),
        Neighbour("2001:db8::53", "resolver", Route("wan0", "2001:db8::1")),
    ]
    check(guard, at(policy=DENY))
    assert "a default gateway" in refused(guard, at(sets_of(block="203.0.113.0/24")))
    assert "a name server" in refused(guard, at(sets_of(block="2001:db8::/32")))
    assert "2001:db8::53" in refused(guard, at(policy=rules({"match": {"protocol": "udp", "source_ports": "53"}})))
    assert "203.0.113.254" in refused(guard, at(policy=rules({"match": {"protocol": "icmp"}})))
    check(guard, at(policy=rules({"match": {"protocol": "udp", "destination_ports": "53"}})))


def test_loopback_needs_no_protection_and_ssh_peers_only_if_wanted() -> None:
    after = at(sets_of(block="0.0.0.0/0"))
    check(guards("127.0.0.1"), after, peer="127.0.0.1")
    check(guards(PEER, protect_ssh=False), after)


def test_peers_are_read_again_after_a_while_and_at_once_when_more_than_entries_change() -> None:
    clock = HandClock()
    guard = guards(clock=clock)
    after, touched = at(sets_of(block="192.0.2.0/24")), Touched({4: sets_keys("192.0.2.0/24")})
    guard.check(NOTHING, after, WriteOptions(), "this", touched)
    guard._kernel.peer_addresses = [PEER]  # type: ignore[attr-defined]
    guard.check(NOTHING, after, WriteOptions(), "this", touched)
    clock.now += 2 * FRESH
    with pytest.raises(Guarded):
        guard.check(NOTHING, after, WriteOptions(), "this", touched)
    guard._kernel.peer_addresses = ["192.0.2.8"]  # type: ignore[attr-defined]
    assert "192.0.2.8" in refused(guard, after)


# what runs out


def test_an_allow_that_runs_out_is_looked_at_beyond_its_end() -> None:
    guard = guards(PEER)
    for_ever, for_now = at(sets_of(allow=PEER), DENY), at(sets_of(allow=PEER, ttl=600), DENY)
    detail = refused(guard, for_now, before=for_ever)
    assert "runs out" in detail and "2027-01-15" in detail
    assert "runs out" in refused(guard, for_now, before=at(sets_of(allow=PEER, ttl=600)))
    check(guard, for_now, before=at(policy=DENY))  # better than nothing
    check(guard, at(sets_of(allow="192.0.2.0/24", ttl=900), DENY), before=for_now)
    longer = sets_of(allow=PEER, ttl=600).upsert("allow", [Claim(Prefix.parse("192.0.2.0/24"))], longest=False).sets
    check(guard, at(longer, DENY), before=for_ever)
    check(guard, at(sets_of(allow=PEER, ttl=600)), before=at(sets_of(allow=PEER)))


# prefixes


def test_a_management_prefix_is_protected_as_a_whole() -> None:
    assert "192.0.2.0/24" in refused(guards(management="192.0.2.0/24"), at(sets_of(block="192.0.2.200")))
    check(
        guards(management="192.0.2.0/24"), at(sets_of(block="192.0.3.0/24 192.0.0.0/23 192.0.2.0", allow="192.0.2.0"))
    )


@given(st.data())
def test_every_address_of_a_management_prefix_is_judged_as_the_reference_does(data: st.DataObject) -> None:
    """Pieces against all 256 addresses, one by one."""
    where = Prefix.parse("10.0.0.0/24")
    inside = st.integers(0, 255).flatmap(
        lambda n: st.integers(22, 32).map(lambda length: strategies.prefix_of_int(4, 0x0A000000 + n, length))
    )
    sets = Sets.initial()
    for name in ("allow", "block"):
        claims = [Claim(prefix) for prefix in data.draw(st.lists(inside, max_size=4))]
        sets = sets.upsert(name, claims, longest=False).sets
    literal = data.draw(st.lists(inside, max_size=2))
    documents = [
        {"match": {"source": [str(p) for p in literal]}, "action": data.draw(st.sampled_from(("pass", "drop")))}
    ]
    policy = rules(*documents[: len(literal)], policy=data.draw(st.sampled_from((Policy(), DENY))))
    situation = at(sets, policy)
    target = Target(where, Role.MANAGEMENT)
    addresses = [ipaddress.IPv4Address(0x0A000000 + n) for n in range(256)]
    dropped = {address for address in addresses if drops(address, situation)}
    found = list(lost([target], replace(NOTHING, filtered=frozenset()), situation, 0))
    assert bool(found) == bool(dropped)
    assert all(each.address in dropped for each in found)


def drops(address: ipaddress.IPv4Address, situation: Situation) -> bool:
    from tests.packets import ethernet, ipv4, tcp

    frame = ethernet(ipv4(str(address), tcp(50_000, 22, flags=2), destination=LOCAL))
    return judge(frame, situation.sets, situation.policy, 0, "wan0").verdict is Verdict.DROP


@given(st.lists(strategies.prefixes(), max_size=2 * FEW), strategies.prefixes())
def test_what_is_touched_is_found_by_look_ups(prefixes: list[Prefix], where: Prefix) -> None:
    from xdpfw.policy import keys as k

    met = {p for p in prefixes if p.contains(where) or where.contains(p)}
    assert set(Touched(k.pack(prefixes)).about(where)) == met
