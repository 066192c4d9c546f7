# SPDX-License-Identifier: Apache-2.0
"""Bans: made and ended in the packet path, by its clock; read, lifted and put back from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lab.waiting import eventually
from tests import packets as p
from tests.kernel.bench import Bench
from tests.kernel.conftest import SMALL, Host
from tests.kernel.limited import Limited, frame, limit
from xdpfw.kernel.ban_maps import hash_addresses
from xdpfw.kernel.port import Bans
from xdpfw.model.feature import Feature
from xdpfw.model.limits import Limits
from xdpfw.model.policy import DEFAULT_RULES
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict
from xdpfw.model.rule import Mode, Rule
from xdpfw.model.rule_form import parse_rules

pytestmark = pytest.mark.kernel

SECOND = 10**9
HOUR = 3600
TICK = SECOND // 50
"""More than a tick of the slowest clock."""
EXCEEDS = 10
UDP = {"protocol": "udp"}


def banning(seconds: int = HOUR, id: str = "limited", rate: int = 1, burst: int = 3, **more: Any) -> Rule:
    """It looks at UDP only."""
    return limit(rate, burst, id, match=UDP, ban=seconds, **more)


def tcp(source: str = "192.0.2.1") -> bytes:
    return p.ethernet(p.ip(source, p.tcp()))


@pytest.fixture
def make(host: Host) -> Iterator[Callable[..., Limited]]:
    made: list[Limited] = []

    def make(limits: Limits = SMALL) -> Limited:
        made.append(Limited(host.kernel(limits), limits))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def limited(make: Callable[..., Limited]) -> Limited:
    return make()


def ban(limited: Limited, source: str = "192.0.2.1") -> None:
    """Let a source exceed its limit; the packets after that are dropped because it is banned."""
    assert limited.send([frame(source)], EXCEEDS).dropped
    assert not limited.bench.run(tcp(source))


def dropped_as_banned(limited: Limited) -> int:
    return int(limited.bench.tally()[Reason.BANNED][2])


@pytest.mark.parametrize("source", ["192.0.2.1", "2001:db8::1"])
def test_a_source_over_its_limit_is_banned_at_once(limited: Limited, source: str) -> None:
    limited.use(banning())
    assert limited.bench.run(tcp(source))
    counted = limited.send([frame(source)], EXCEEDS)
    assert counted.passed >= 3
    over = int(limited.bench.tally()[limited.cause()][2])
    assert over == 1, "only the packet that exceeds the limit counts there"
    assert dropped_as_banned(limited) == counted.dropped - 1
    assert not limited.bench.run(tcp(source)), "a ban is on all that comes from the source"


def test_a_ban_says_who_until_when_and_how_often(limited: Limited) -> None:
    limited.use(banning(HOUR))
    began = time.time_ns()
    ban(limited)
    [found] = limited.kernel.bans.read()
    assert found["address"].tobytes() == bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1])
    assert found["length"] == 128
    assert MAX_REASONS + found["slot"] == limited.cause()
    assert -TICK <= found["expires"] - began - HOUR * SECOND < 2 * SECOND
    assert abs(int(found["added"]) - began) < 2 * SECOND
    assert found["packets"] == dropped_as_banned(limited)
    assert found["bytes"] == limited.bench.tally()[Reason.BANNED][3]


def test_what_stands_before_the_rule_decides_first(limited: Limited) -> None:
    before = parse_rules([{"id": "before", "action": "pass", "match": {"protocol": "tcp", "destination_ports": 80}}])
    after = parse_rules([{"id": "after", "action": "pass", "match": {"protocol": "tcp", "destination_ports": 81}}])
    limited.use(*DEFAULT_RULES, *before, banning(), *after)
    ban(limited)
    assert limited.bench.run(p.ethernet(p.ip("192.0.2.1", p.tcp(1000, 80))))
    assert not limited.bench.run(p.ethernet(p.ip("192.0.2.1", p.tcp(1000, 81))))
    limited.loaded.add("allow", ["192.0.2.0/24"])
    assert limited.send([tcp(), frame()], 3).dropped == 0


def test_two_rules_that_ban_each_stand_in_their_place(limited: Limited) -> None:
    middle = parse_rules([{"id": "middle", "action": "pass", "match": {"protocol": "tcp"}}])
    one, two = banning(id="one"), limit(1, 3, "two", match={"protocol": "icmp"}, ban=HOUR)
    limited.use(one, *middle, two)
    limited.send([p.ethernet(p.ip("192.0.2.2", p.icmp()))], EXCEEDS)
    assert limited.bench.run(tcp("192.0.2.2"))
    assert not limited.bench.run(p.ethernet(p.ip("192.0.2.2", p.sctp())))
    ban(limited)


def test_a_ban_ends_at_its_time_by_itself(limited: Limited) -> None:
    limited.use(banning(1, rate=100))
    ban(limited)
    [first] = limited.kernel.bans.read()
    while True:
        before, passed, after = time.time_ns(), limited.bench.run(tcp()), time.time_ns()
        if passed:
            assert after >= first["expires"] - TICK
            break
        assert before <= first["expires"] + TICK
    ban(limited)
    [anew] = limited.kernel.bans.read()
    assert anew["expires"] > first["expires"], "what has run out is not in the way"


def test_a_full_table_refuses_and_counts_and_evicts_nobody(make: Callable[..., Limited]) -> None:
    limited = make(replace(SMALL, bans=4))
    limited.use(banning())
    for n in range(4):
        ban(limited, f"192.0.2.{n}")
    assert limited.kernel.bans.stats().refused == 0
    counted = limited.send([frame("192.0.2.9")], EXCEEDS)
    assert counted.dropped
    assert limited.bench.run(tcp("192.0.2.9")), "there is no room to ban it"
    stats = limited.kernel.bans.stats()
    assert (stats.banned, stats.refused) == (4, counted.dropped)
    assert all(not limited.bench.run(tcp(f"192.0.2.{n}")) for n in range(4))
    limited.kernel.bans.lift(limited.kernel.bans.read()[:1])

    def banned() -> bool:
        limited.send([frame("192.0.2.9")], EXCEEDS)
        return not limited.bench.run(tcp("192.0.2.9"))

    eventually(banned, "there is room again, which is looked for once in a tick", 5)


@pytest.mark.parametrize(
    ("one", "other", "prefix4", "prefix6", "length"),
    [
        ("192.0.2.1", "192.0.2.254", 24, 64, 120),
        ("2001:db8::1", "2001:db8::ffff:0:1", 32, 64, 64),
        ("2001:db8::1", "2001:db8:7fff::1", 32, 33, 33),
        ("192.0.2.1", "192.0.2.1", 32, 64, 128),
        ("2001:db8::1", "2001:db8::1", 32, 128, 128),
    ],
)
def test_a_ban_is_on_what_the_limit_aggregates(
    limited: Limited, one: str, other: str, prefix4: int, prefix6: int, length: int
) -> None:
    limited.use(banning(prefix4=prefix4, prefix6=prefix6))
    ban(limited, one)
    assert not limited.bench.run(tcp(other))
    assert limited.bench.run(tcp("198.51.100.1")) and limited.bench.run(tcp("fd00::1"))
    assert limited.kernel.bans.read()["length"].tolist() == [length]


def test_prefixes_of_several_lengths_are_looked_for(limited: Limited) -> None:
    tcp_rule = limit(1, 3, "tcp", match={"protocol": "tcp"}, ban=HOUR, prefix4=16)
    limited.use(banning(prefix4=24), tcp_rule)
    ban(limited, "192.0.2.1")
    limited.send([tcp("203.0.113.1")], EXCEEDS)
    icmp = [p.ethernet(p.ip(source, p.icmp())) for source in ("192.0.2.9", "192.0.3.9", "203.0.1.1", "203.1.1.1")]
    assert [limited.bench.run(each) for each in icmp] == [False, True, False, True]


def test_a_changed_rule_leaves_bans_of_the_old_lengths_in_force(limited: Limited) -> None:
    limited.use(banning(prefix4=24))
    ban(limited)
    for length in (32, 16, 17):
        limited.use(banning(prefix4=length))
        assert not limited.bench.run(tcp("192.0.2.7"))


def test_bans_of_a_rule_that_is_off_rest(limited: Limited) -> None:
    limited.use(banning())
    ban(limited)
    for resting in (replace(banning(), enabled=False), banning(mode="monitor")):
        limited.use(resting)
        assert limited.bench.run(tcp())
    limited.use(banning())
    assert not limited.bench.run(tcp())


def test_a_rule_that_bans_no_more_leaves_its_bans_in_force(limited: Limited) -> None:
    limited.use(banning())
    ban(limited)
    limited.use(limit(1, 3, match=UDP))
    limited.kernel.use(frozenset({Feature.LIMITS, Feature.BANS, Feature.MATCH_PROTOCOL}))
    bench = Bench(limited.kernel)
    assert not bench.run(tcp())
    bench.close()


def test_bans_go_with_their_rule(limited: Limited) -> None:
    limited.use(banning(id="one"), limit(1, 3, "two", match={"protocol": "tcp"}, ban=HOUR))
    ban(limited, "192.0.2.1")
    limited.send([tcp("192.0.2.2")], EXCEEDS)
    limited.use(limit(1, 3, "two", match={"protocol": "tcp"}, ban=HOUR))
    assert limited.kernel.bans.read()["address"][:, 15].tolist() == [2]


def test_nobody_is_banned_in_monitor_mode(limited: Limited) -> None:
    limited.use(banning(), mode=Mode.MONITOR)
    assert limited.send([frame()], EXCEEDS).dropped == 0
    assert not len(limited.kernel.bans.read())
    limited.use(banning(mode="monitor"), banning(id="other", burst=1000), mode=Mode.ENFORCE)
    assert limited.send([frame()], EXCEEDS).dropped == 0
    assert not len(limited.kernel.bans.read())


def test_in_monitor_mode_what_a_ban_would_drop_passes_and_counts(limited: Limited) -> None:
    limited.use(banning())
    ban(limited)
    limited.use(banning(), mode=Mode.MONITOR)
    assert limited.send([tcp()], 5).passed == 5
    assert limited.bench.tally()[Reason.BANNED][4] == 5


def test_asking_bans_nobody_and_counts_nothing(limited: Limited) -> None:
    limited.use(banning())
    for _ in range(EXCEEDS):
        assert limited.kernel.judge(frame()).verdict == Verdict.PASS
    assert not len(limited.kernel.bans.read())
    ban(limited)
    before = limited.kernel.bans.read()
    judgement = limited.kernel.judge(tcp())
    assert (judgement.verdict, judgement.cause) == (Verdict.DROP, Reason.BANNED)
    assert judgement.banned_by == limited.cause()
    assert limited.kernel.bans.read()["packets"].tolist() == before["packets"].tolist()


def test_bans_are_lifted_one_by_one(limited: Limited) -> None:
    limited.use(banning())
    sources = [f"192.0.2.{n}" for n in range(40)] + [f"2001:db8:0:{n}::1" for n in range(40)]
    for source in sources:
        ban(limited, source)
    bans = limited.kernel.bans.read()
    assert len(bans) == 80
    limited.kernel.bans.lift(bans[::2])
    passed = [limited.bench.run(tcp(source)) for source in sources]
    assert passed.count(True) == 40 and len(limited.kernel.bans.read()) == 40


def test_the_gate_is_found_by_the_same_hash(limited: Limited) -> None:
    """Lifting one lowers the gate for all that are not banned: were it another hash, the others would pass."""
    limited.use(banning())
    for n in range(100):
        ban(limited, f"10.0.{n}.1")
    gate = limited.kernel.tables.maps["ban_gate"].view
    assert 90 < np.count_nonzero(gate["maybe"]) <= 100
    limited.kernel.bans.lift(limited.kernel.bans.read()[:50])
    assert 40 < np.count_nonzero(gate["maybe"]) <= 50
    assert [limited.bench.run(tcp(f"10.0.{n}.1")) for n in range(100)] == [True] * 50 + [False] * 50


def test_hashes_spread() -> None:
    addresses = np.zeros((1000, 16), np.uint8)
    addresses[:, 14], addresses[:, 15] = np.arange(1000) // 256, np.arange(1000) % 256
    hashes = hash_addresses(addresses, np.full(1000, 7, np.uint64))
    assert len(np.unique(hashes >> np.uint64(40) & np.uint64(2047))) > 700


def test_bans_come_back_with_the_time_that_was_left(make: Callable[..., Limited], host: Host) -> None:
    """As after a reboot: new tables, and what the store has."""
    limited = make()
    limited.use(banning(HOUR))
    ban(limited)
    ban(limited, "2001:db8::1")
    saved = limited.kernel.bans.read()
    limited.kernel.bans.lift(saved)
    assert limited.bench.run(tcp())
    assert limited.kernel.bans.restore(saved) == 0
    restored = limited.kernel.bans.read()
    assert not limited.bench.run(tcp()) and not limited.bench.run(tcp("2001:db8::1"))
    for name in ("address", "length", "slot", "packets", "bytes"):
        assert restored[name].tolist() == saved[name].tolist()
    for name in ("expires", "added"):
        assert np.abs(restored[name] - saved[name]).max() < SECOND // 10


def test_what_does_not_fit_is_told(make: Callable[..., Limited]) -> None:
    limited = make(replace(SMALL, bans=4))
    limited.use(banning())
    ban(limited)
    [one] = limited.kernel.bans.read()
    many: Bans = np.array([one] * 6, limited.kernel.bans.read().dtype)
    many["address"][:, 15] = np.arange(6)
    assert limited.kernel.bans.restore(many) == 2
    assert len(limited.kernel.bans.read()) == 4


def test_a_daemon_that_starts_again_finds_bans_in_force(make: Callable[..., Limited], host: Host) -> None:
    limited = make()
    limited.use(banning(prefix4=24))
    ban(limited)
    before = limited.kernel.bans.read()
    limited.kernel.stop(detach=False)
    again = host.kernel()
    assert again.start().adopted
    assert not limited.bench.run(tcp("192.0.2.77"))
    assert again.bans.read()["expires"].tolist() == pytest.approx(before["expires"].tolist(), abs=SECOND / 10)


def test_tables_of_another_size_take_bans_over(make: Callable[..., Limited], host: Host) -> None:
    limited = make()
    limited.use(banning(prefix4=24))
    ban(limited)
    before = limited.kernel.bans.read()
    limited.kernel.stop(detach=False)
    other = make(replace(SMALL, memberships=5000))
    other.use(banning(prefix4=24))
    after = other.kernel.bans.read()
    for name in ("address", "length", "slot", "packets"):
        assert after[name].tolist() == before[name].tolist()
    assert not other.bench.run(tcp("192.0.2.77"))
