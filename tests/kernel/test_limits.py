# SPDX-License-Identifier: Apache-2.0
"""Limits in the packet path, through BPF_PROG_TEST_RUN. Time passes while a test runs: it tells what may pass."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from lab.waiting import eventually
from tests.kernel.conftest import SMALL, Host
from tests.kernel.limited import Counted, Limited, frame, limit
from xdpfw.model.limits import Limits
from xdpfw.model.policy import DEFAULT_RULES
from xdpfw.model.reason import Reason, Verdict
from xdpfw.model.rule import Mode
from xdpfw.model.rule_form import parse_rules

pytestmark = pytest.mark.kernel

SLOW = 1
"""A rate at which nothing comes back while a test looks elsewhere: a packet a second."""


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


def check(counted: Counted, burst: int, rate: int = SLOW) -> None:
    """The burst passed, and no more than the time brought beside it."""
    assert burst <= counted.passed <= burst + counted.seconds * rate + 1
    assert counted.dropped > 0


@pytest.mark.parametrize("burst", [1, 5, 200])
@pytest.mark.parametrize("source", ["192.0.2.1", "2001:db8::1"])
def test_the_burst_passes_and_what_exceeds_it_is_dropped(limited: Limited, burst: int, source: str) -> None:
    limited.use(limit(SLOW, burst))
    check(limited.send([frame(source)], burst + 20), burst)
    assert limited.bench.tally()[limited.cause()][2] > 0


def test_a_bucket_fills_again(limited: Limited) -> None:
    rate = 20
    limited.use(limit(rate, 2))
    check(limited.send([frame()], 10), 2, rate)
    eventually(lambda: limited.bench.run(frame()), "a packet passes again", 5)
    limited.use(limit(rate, 1))
    before = limited.send([frame()], 2)
    assert before.dropped, "an edited rule goes on with the bucket that it had"


@pytest.mark.alone
@pytest.mark.parametrize(("rate", "burst"), [(100_000, 10), (20_000, 100), (1_000_000, 1_000_000), (3_000, 30)])
def test_what_passes_a_flood_is_the_rate(limited: Limited, rate: int, burst: int) -> None:
    """Also where the bucket holds less than a tick of the coarse clock brings."""
    limited.use(limit(rate, burst))
    emptied = limited.burst(frame(), 3 * burst + 1000).ended
    counted = limited.burst(frame(), 4_000_000)
    # While something else has the CPU, also between the two, the bucket fills up to its burst and no further.
    assert 0.95 * rate * counted.busy <= counted.passed <= 1.05 * rate * (counted.ended - emptied)


def test_sources_have_buckets_of_their_own(limited: Limited) -> None:
    limited.use(limit(SLOW, 3))
    sources = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"]
    for source in sources:
        check(limited.send([frame(source)], 10), 3)


@pytest.mark.parametrize(
    ("one", "other", "prefix4", "prefix6", "together"),
    [
        ("192.0.2.1", "192.0.2.2", 32, 64, False),
        ("192.0.2.1", "192.0.2.254", 24, 64, True),
        ("192.0.2.1", "192.0.3.1", 24, 64, False),
        ("192.0.2.1", "203.0.113.1", 0, 64, True),
        ("2001:db8::1", "2001:db8::ffff:0:1", 32, 64, True),
        ("2001:db8::1", "2001:db8:0:1::1", 32, 64, False),
        ("2001:db8::1", "2001:db8:0:1::1", 32, 63, True),
        ("2001:db8::1", "2001:db8::2", 32, 128, False),
        ("192.0.2.1", "2001:db8::1", 0, 0, False),
        ("192.0.2.1", "::ffff:192.0.2.1", 32, 64, True),
    ],
)
def test_sources_are_aggregated(
    limited: Limited, one: str, other: str, prefix4: int, prefix6: int, together: bool
) -> None:
    limited.use(limit(SLOW, 4, prefix4=prefix4, prefix6=prefix6))
    check(limited.send([frame(one)], 10), 4)
    assert bool(limited.send([frame(other)]).dropped) is together


def test_bytes_are_of_whole_frames(limited: Limited) -> None:
    limited.use(limit(SLOW, 1000, unit="bytes"))
    check(limited.send([frame(size=100)], 20), 10)
    assert limited.send([frame("192.0.2.2", size=600)], 2).passed == 1
    assert limited.send([frame("192.0.2.2", size=400)]).passed == 1


def test_a_frame_larger_than_the_bucket_passes_at_the_rate(limited: Limited) -> None:
    limited.use(limit(4000, 100, unit="bytes"))
    assert limited.bench.run(frame(size=1000))
    again = limited.send([frame(size=1000)])
    assert again.dropped or again.seconds > 0.2
    eventually(lambda: limited.bench.run(frame(size=1000)), "what it owed is paid back", 5)


def test_a_limit_per_rule_is_shared_by_all_sources(limited: Limited) -> None:
    limited.use(limit(SLOW, 50, per="rule"))
    check(limited.send([frame(f"192.0.2.{n}") for n in range(100)]), 50)


def test_what_a_limit_passes_ends_the_matching(limited: Limited) -> None:
    limited.use(limit(SLOW, 2), *parse_rules([{"id": "drop", "action": "drop"}]), default=Verdict.DROP)
    counted = limited.send([frame()], 4)
    assert counted.passed >= 2
    assert limited.bench.tally()[limited.cause("drop")].sum() == 0


def test_what_is_allowed_before_is_not_charged(limited: Limited) -> None:
    limited.loaded.add("allow", ["192.0.2.1"])
    limited.use(*DEFAULT_RULES, limit(SLOW, 2, per="rule"))
    assert limited.send([frame()], 50).dropped == 0
    check(limited.send([frame("192.0.2.2")], 10), 2)


@pytest.mark.parametrize("whole", [True, False])
def test_monitor_mode_counts_what_exceeds_and_passes_it(limited: Limited, whole: bool) -> None:
    policy, rule = (Mode.MONITOR, "enforce") if whole else (Mode.ENFORCE, "monitor")
    limited.use(limit(SLOW, 5, mode=rule), mode=policy)
    counted = limited.send([frame()], 25)
    assert counted.passed == 25
    monitored = int(limited.bench.tally()[limited.cause()][4])
    assert 20 - counted.seconds * SLOW - 1 <= monitored <= 20
    assert limited.kernel.read_rules()[limited.loaded.policy.slots.of["limited"]][0] >= 25


def test_a_monitored_limit_does_not_charge_the_one_that_decides(limited: Limited) -> None:
    limited.use(limit(SLOW, 3, id="watched", mode="monitor"), limit(SLOW, 10))
    check(limited.send([frame()], 30), 10)
    assert limited.bench.tally()[limited.cause("watched")][4] > limited.bench.tally()[limited.cause()][2]


def test_edits_of_other_rules_leave_buckets_alone(limited: Limited) -> None:
    other = parse_rules([{"id": "other", "action": "drop", "match": {"protocol": "tcp"}}])
    limited.use(*other, limit(SLOW, 200))
    limited.use(limit(SLOW, 200))
    began = time.monotonic()
    check(limited.send([frame()], 300), 200)
    limited.use(*other, limit(SLOW, 200))
    assert limited.send([frame()], 300).passed <= (time.monotonic() - began) * SLOW + 1


@pytest.mark.parametrize("per", ["source", "rule"])
def test_a_rule_in_the_place_of_one_that_is_gone_begins_anew(limited: Limited, per: str) -> None:
    one, two = (limit(SLOW, 5, id=id, per=per) for id in ("one", "two"))
    others = parse_rules([{"id": id, "action": "drop", "match": {"vlan": 1}} for id in ("x", "y")])
    limited.use(one)
    limited.send([frame()], 10)
    before = limited.loaded.policy.slots.of["one"]
    limited.use()
    limited.use(*others, two)
    assert limited.loaded.policy.slots.of["two"] == before
    check(limited.send([frame()], 10), 5)


def addresses(count: int) -> Iterator[bytes]:
    return (frame(f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}") for n in range(count))


def test_a_flood_of_new_sources_resets_nobody_and_each_has_its_burst(make: Callable[..., Limited]) -> None:
    limited = make(replace(SMALL, limited=8))
    limited.use(limit(SLOW, 5))
    flood, passed = list(addresses(4000)), 0
    check(limited.send([frame()], 50), 5)
    began = time.monotonic()
    for start in range(0, len(flood), 100):
        assert limited.send(flood[start : start + 100]).dropped == 0
        passed += limited.send([frame()], 5).passed
    assert passed <= (time.monotonic() - began) * SLOW + 1


def test_more_heavy_sources_than_places_are_held_all_the_same(make: Callable[..., Limited]) -> None:
    """Places that anybody takes from anybody would let nearly three quarters pass."""
    limited = make(replace(SMALL, limited=64))
    limited.use(limit(SLOW, 10))
    frames = random.Random(1).choices(list(addresses(200)), k=20_000)
    counted = limited.send(frames)
    print(f"[{counted.passed} of {len(frames)} passed]", end=" ")
    assert counted.passed < len(frames) * 0.25
    assert limited.kernel.bans.stats().placeless > 0


def test_a_limit_per_rule_holds_in_a_flood_of_new_sources(limited: Limited) -> None:
    limited.use(limit(SLOW, 100, per="rule"))
    check(limited.send(addresses(3000)), 100)


def test_asking_charges_nothing(limited: Limited) -> None:
    limited.use(limit(SLOW, 3))
    for _ in range(20):
        judgement = limited.kernel.judge(frame())
        assert (judgement.verdict, judgement.cause) == (Verdict.PASS, limited.cause())
    assert limited.send([frame()], 3).passed == 3


def test_reasons_stay_what_they_were(limited: Limited) -> None:
    """A packet over its limit counts under its rule: no reason of its own."""
    limited.use(limit(SLOW, 1))
    limited.send([frame()], 5)
    assert limited.bench.tally()[list(Reason)].sum() == 0
