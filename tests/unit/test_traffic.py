# SPDX-License-Identifier: Apache-2.0
"""Readings, rates, and sums that add up, on the fake kernel with a clock of the test's own."""

from __future__ import annotations

import ipaddress

import numpy as np
import pytest

from tests.hand_clock import HandClock
from xdpfw.kernel.fake import FakeKernel, fake_link
from xdpfw.kernel.port import TalkerTable
from xdpfw.model.errors import NotFound
from xdpfw.model.interface import AttachMode
from xdpfw.model.policy import DEFAULT_SLOTS
from xdpfw.model.reason import MAX_REASONS, Reason
from xdpfw.model.requests import TalkerQuery
from xdpfw.model.views import PassedDropped
from xdpfw.readings import Reading
from xdpfw.traffic import Traffic

BLOCK = MAX_REASONS + 1


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def kernel(clock: HandClock) -> FakeKernel:
    kernel = FakeKernel([fake_link("eth1", 2), fake_link("eth2", 3)], clock=clock.wall)
    for name in ("eth1", "eth2"):
        kernel.attach(name, AttachMode.AUTO)
    return kernel


@pytest.fixture
def traffic(kernel: FakeKernel, clock: HandClock) -> Traffic:
    return Traffic(kernel, clock)


def no_sets(_: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[str]:
    return []


def sums(*parts: PassedDropped) -> list[int]:
    return [
        sum(getattr(getattr(part, side), unit) for part in parts)
        for side in ("passed", "dropped")
        for unit in ("packets", "bytes")
    ]


def test_rates_are_over_the_last_two_seconds(kernel, traffic, clock):
    kernel.count("eth1", "192.0.2.1", "pass", packets=1000, size=100)
    traffic.sample(["eth1"])
    for _ in range(4):  # ten packets a second from here on
        clock.advance(1)
        kernel.count("eth1", "192.0.2.1", "pass", packets=10, size=100)
        traffic.sample(["eth1"])
    view = traffic.talkers(["eth1"], TalkerQuery(), no_sets, show_interfaces=False)
    [talker] = view.items
    assert (talker.passed.packets, talker.passed.bytes) == (1040, 104_000)
    assert (talker.passed.pps, talker.passed.bps) == (10, 8000)
    assert view.totals.passed.pps == 10
    assert traffic.counters("eth1", DEFAULT_SLOTS).passed.bps == 8000


def test_while_nobody_asks_talkers_are_read_seldom_and_rates_span_longer(kernel, traffic, clock):
    reads: list[int] = []
    read = kernel.read_talkers
    kernel.read_talkers = lambda name: (reads.append(clock.monotonic()), read(name))[1]

    def seconds(count: int) -> int:
        reads.clear()
        for _ in range(count):
            clock.advance(1)
            kernel.count("eth1", "192.0.2.1", "pass", packets=10, size=100)
            traffic.sample(["eth1"])
        return len(reads)

    def rate(*, shared: bool) -> tuple[float, float]:
        view = traffic.talkers(["eth1"], TalkerQuery(), no_sets, show_interfaces=False, shared=shared)
        [talker] = view.items
        return talker.passed.pps, view.totals.passed.pps

    assert seconds(20) == 4
    assert traffic.counters("eth1", DEFAULT_SLOTS).passed.pps == 10
    assert rate(shared=True) == (10, 10)
    assert seconds(3) == 3
    assert rate(shared=False) == (10, 10)
    seconds(4)
    assert seconds(20) == 4


def test_whoever_watches_first_sees_what_is_there_now(kernel, traffic, clock):
    for _ in range(13):
        clock.advance(1)
        traffic.sample(["eth1"])
    kernel.count("eth1", "192.0.2.1", "pass", packets=10, size=100)
    clock.advance(1)
    traffic.sample(["eth1"])
    view = traffic.talkers(["eth1"], TalkerQuery(), no_sets, show_interfaces=False, shared=True)
    assert sums(view.totals) == sums(*view.items) == [10, 1000, 0, 0]


def test_items_and_other_sum_up_to_the_totals(kernel, traffic):
    kernel.count("eth1", "192.0.2.1", "pass", packets=3, size=100)
    kernel.count("eth1", "2001:db8::1", "drop", packets=5, size=200, cause=BLOCK)
    kernel.count("eth1", None, "pass", packets=2, size=60, cause=Reason.ARP)
    view = traffic.talkers(["eth1"], TalkerQuery(limit=100), no_sets, show_interfaces=False)
    items = [PassedDropped(item.passed, item.dropped) for item in view.items]
    assert sums(*items, view.other) == sums(view.totals) == [5, 420, 5, 1000]
    assert sums(view.other) == [2, 120, 0, 0]
    assert view.total == 2


def test_counting_afresh_restarts_talkers_and_their_totals_but_not_the_counters(kernel, traffic):
    kernel.count("eth1", "192.0.2.1", "pass", packets=3, size=100)
    traffic.reset("eth1")
    kernel.count("eth1", "192.0.2.9", "drop", packets=1, size=100, cause=BLOCK)
    view = traffic.talkers(["eth1"], TalkerQuery(), no_sets, show_interfaces=False)
    assert [item.address for item in view.items] == ["192.0.2.9"]
    assert sums(view.totals) == [0, 0, 1, 100]
    assert traffic.counters("eth1", DEFAULT_SLOTS).passed.packets == 3


def test_talkers_of_all_interfaces_are_summed_and_say_where(kernel, traffic):
    kernel.count("eth1", "192.0.2.1", "pass", packets=3)
    kernel.count("eth2", "192.0.2.1", "pass", packets=4)
    kernel.count("eth2", "192.0.2.2", "pass", packets=1)
    view = traffic.talkers(["eth1", "eth2"], TalkerQuery(), no_sets, show_interfaces=True)
    assert [(item.address, item.passed.packets, item.interfaces) for item in view.items] == [
        ("192.0.2.1", 7, ["eth1", "eth2"]),
        ("192.0.2.2", 1, ["eth2"]),
    ]


def test_reasons_sum_up_to_the_counters_and_rules_are_named(kernel, traffic):
    kernel.count("eth1", "192.0.2.1", "pass", packets=3, cause=Reason.DEFAULT)
    kernel.count("eth1", "192.0.2.1", "drop", packets=2, cause=BLOCK)
    kernel.count("eth1", "192.0.2.1", "pass", packets=7, cause=BLOCK, monitored=True)
    view = traffic.counters("eth1", DEFAULT_SLOTS)
    assert view.passed.packets == sum(reason.passed.packets for reason in view.reasons.values()) == 10
    assert view.dropped.packets == sum(reason.dropped.packets for reason in view.reasons.values()) == 2
    assert view.reasons["rule:block"].monitored.packets == view.monitored.packets == 7
    assert view.reasons["rule:allow"].passed.packets == 0
    assert view.reasons["default"].passed.packets == 3


def test_an_address_is_found_where_it_was_seen(kernel, traffic):
    kernel.count("eth2", "2001:db8::5", "drop", packets=2, size=90, cause=BLOCK)
    [seen] = traffic.address(["eth1", "eth2"], ipaddress.ip_address("2001:db8::5"))
    assert (seen.name, seen.dropped.packets, seen.dropped.bytes, seen.passed.packets) == ("eth2", 2, 180, 0)


def test_an_interface_that_goes_away_is_no_error_for_the_readings(kernel, traffic):
    traffic.sample(["eth1"])
    kernel.detach("eth1")
    traffic.sample(["eth1"])
    with pytest.raises(NotFound):
        traffic.counters("eth1", DEFAULT_SLOTS)
    assert traffic.address(["eth1"], ipaddress.ip_address("192.0.2.1")) == []


def test_nothing_attached_is_an_empty_list_of_talkers(traffic):
    view = traffic.talkers([], TalkerQuery(), no_sets, show_interfaces=True)
    assert view.items == [] and sums(view.totals, view.other) == [0, 0, 0, 0]


@pytest.mark.parametrize("occupied", [0, 1, 200, 1000])
def test_an_earlier_reading_counts_the_same_however_it_is_kept(occupied):
    chance = np.random.default_rng(occupied)
    table = TalkerTable.blank((2, 100, 5), lambda stamps: stamps.astype(np.int64))
    table.tenure[:] = 0
    at = chance.permutation(1000)[:occupied]
    table.tenure[at] = chance.integers(1, 9, occupied)
    for column in table.counts:
        column[:] = 0
        column[at] = chance.integers(0, 99, occupied)
    reading = Reading.of(7, np.zeros((1, 6), np.uint64), table)
    kept = reading.kept().kept()
    assert kept.table is None and kept.time == 7
    assert len(kept.tenure) == (occupied if occupied < 250 else 1000)
    before = kept.whole(1000)
    assert (before.tenure == table.tenure).all() and np.array_equal(before.counts, table.counts)
    assert before.sums.tolist() == [column.sum() for column in table.counts]
