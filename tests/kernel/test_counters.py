# SPDX-License-Identifier: Apache-2.0
"""Every frame is counted once, in the right place; talkers come and go, and the sums stay exact."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.kernel import plain
from tests.kernel.bench import Bench
from tests.kernel.conftest import SMALL, Host
from tests.kernel.plain import insert
from tests.packets import arp, ethernet, ip, ipv4, other, tag, truncate, udp
from xdpfw.kernel import maps
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.maps import possible_cpus
from xdpfw.kernel.port import TALLY_COLUMNS
from xdpfw.model.errors import NotFound
from xdpfw.model.policy import Policy
from xdpfw.model.reason import MAX_REASONS, Reason
from xdpfw.model.rule import Mode
from xdpfw.policy.ops import Flip

pytestmark = pytest.mark.kernel


def frame(source: str, size: int = 0) -> bytes:
    return ethernet(ip(source, udp()), pad_to=size)


def address(talker: np.void) -> str:
    packed = talker["address"].tobytes()
    if packed[:12] == bytes(10) + b"\xff\xff":
        return ".".join(map(str, packed[12:]))
    return packed.hex()


def counts(bench: Bench) -> dict[str, list[int]]:
    """Per address, summed over CPUs: packets and bytes passed, packets and bytes dropped."""
    found: dict[str, list[int]] = {}
    for talker in bench.talkers():
        before = found.get(address(talker), [0, 0, 0, 0])
        found[address(talker)] = [a + int(b) for a, b in zip(before, talker["counts"], strict=True)]
    return found


def test_each_frame_counts_once_by_its_cause(kernel: RealKernel, bench: Bench) -> None:
    kernel.execute(insert("203.0.113.0/24", 1), 2)
    sound = ipv4("192.0.2.1", udp())
    table = [
        (frame("192.0.2.1"), Reason.DEFAULT, True),
        (frame("203.0.113.1"), MAX_REASONS + 1, False),
        (ethernet(arp()), Reason.ARP, True),
        (ethernet(other(0x88CC)), Reason.NON_IP, True),
        (ethernet(sound)[:12] + b"\x81\x00", Reason.SHORT_ETHERNET, False),
        (ethernet(sound, *[tag()] * 5), Reason.VLAN_DEPTH, False),
        (ethernet(truncate(sound, 19)), Reason.BAD_IPV4, False),
    ]
    sent = np.zeros_like(bench.tally())
    for repeat, (data, cause, passes) in enumerate(table, 1):
        assert bench.run(data, repeat) is passes
        column = 0 if passes else 2
        sent[cause, column] += repeat
        sent[cause, column + 1] += repeat * len(data)
    assert (bench.tally() == sent).all()


def test_monitored_frames_count_as_passed_and_as_monitored(kernel: RealKernel, bench: Bench) -> None:
    kernel.execute([*insert("203.0.113.1", 1), plain.policy(1, Policy(mode=Mode.MONITOR)), Flip(1)], 2)
    data = frame("203.0.113.1")
    assert bench.run(data, 3)
    row = dict(zip(TALLY_COLUMNS, bench.tally()[MAX_REASONS + 1].tolist(), strict=True))
    assert row == {
        "passed_packets": 3,
        "passed_bytes": 3 * len(data),
        "dropped_packets": 0,
        "dropped_bytes": 0,
        "monitored_packets": 3,
        "monitored_bytes": 3 * len(data),
    }
    assert counts(bench) == {"203.0.113.1": [3, 3 * len(data), 0, 0]}


def test_talkers_have_exact_counts(kernel: RealKernel, bench: Bench) -> None:
    kernel.execute(insert("203.0.113.0/24", 1), 2)
    chosen = random.Random(4)
    expected: dict[str, list[int]] = {}
    for number in range(300):
        blocked = chosen.random() < 0.5
        source = f"203.0.113.{number % 32}" if blocked else f"198.51.100.{number % 32}"
        times, size = chosen.randint(1, 20), chosen.randint(60, 1400)
        bench.run(frame(source, size), times)
        row = expected.setdefault(source, [0, 0, 0, 0])
        row[2 if blocked else 0] += times
        row[3 if blocked else 1] += times * size
    assert counts(bench) == expected


def test_a_talker_knows_since_when_and_until_when(bench: Bench) -> None:
    before = time.time_ns()
    bench.run(frame("192.0.2.1"))
    first = bench.talkers()[0]
    bench.run(frame("192.0.2.1"))
    after = time.time_ns()
    tick = 1_000_000_000 // bench.kernel.clock.hz + 5_000_000
    assert before - tick <= first["since"] <= first["last_seen"] <= after + tick
    assert first["since"] in bench.talkers()["since"]


def test_a_source_of_a_bad_packet_is_known_when_its_header_is_whole(bench: Bench) -> None:
    whole = ethernet(ipv4("192.0.2.1", udp(), total_length=2000))
    cut = ethernet(truncate(ipv4("192.0.2.2", udp()), 19))
    wrong = ethernet(ipv4("192.0.2.3", udp(), version=5))
    assert not any(map(bench.run, (whole, cut, wrong)))
    assert counts(bench) == {"192.0.2.1": [0, 0, 1, len(whole)]}


def test_a_new_epoch_starts_every_talker_afresh(bench: Bench) -> None:
    bench.run(frame("192.0.2.1"), 5)
    bench.run(frame("192.0.2.2"), 5)
    bench.own.reset_talkers()
    assert len(bench.talkers()) == 0
    data = frame("192.0.2.1")
    bench.run(data, 2)
    assert counts(bench) == {"192.0.2.1": [2, 2 * len(data), 0, 0]}


def test_epochs_wrap_without_becoming_empty(bench: Bench) -> None:
    bench.own.config["epoch"] = 0xFFFF
    bench.run(frame("192.0.2.1"))
    assert len(bench.talkers()) == 1
    bench.own.reset_talkers()
    assert bench.own.config["epoch"] != 0
    bench.run(frame("192.0.2.1"))
    assert len(bench.talkers()) == 1


LONG = 1400
"""Of newcomers with short frames only some may challenge those who are there."""


def spoofed(number: int, size: int = 0) -> bytes:
    return frame(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", size)


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Test runs stay on one CPU, and so in one part of the talker table."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("one_cpu")
def test_a_flood_does_not_push_out_who_keeps_talking(kernel: RealKernel) -> None:
    """64 slots on each CPU, 8 talkers, and 20,000 sources that come once; 1 packet in 21 is a talker's."""
    slots = 64
    bench = Bench(kernel, replace(SMALL, talkers=slots))
    heavy = [f"198.51.100.{n}" for n in range(8)]
    data = [frame(source) for source in heavy]
    for each in data:
        bench.run(each, 100)
    for number in range(20_000):
        bench.run(spoofed(number))
        if number % 20 == 0:
            bench.run(data[number // 20 % len(data)])
    found = counts(bench)
    sent = 100 + 20_000 // 20 // len(heavy)
    assert {source: found.get(source, [0])[0] for source in heavy} == dict.fromkeys(heavy, sent)
    talkers, tally = bench.talkers(), bench.tally()
    assert len(talkers) <= slots * possible_cpus()
    assert tally[:, 0].sum() == 800 + 21_000
    assert talkers["counts"][:, 0].sum() <= tally[:, 0].sum()
    bench.close()


@pytest.mark.usefixtures("one_cpu")
def test_who_starts_talking_amid_a_flood_is_soon_seen(kernel: RealKernel) -> None:
    """16 buckets and 16 newcomers, each with 10 flooding sources in its bucket for each packet of its own. When one
    gets a slot is a matter of luck, so it is half of them that are seen by the middle."""
    bench = Bench(kernel, replace(SMALL, talkers=64))
    for number in range(2_000):
        bench.run(spoofed(number))
    newcomers, rounds = [f"198.51.100.{n}" for n in range(16)], 200
    data = [frame(source) for source in newcomers]
    for number in range(2_000, 2_000 + 160 * rounds):
        bench.run(spoofed(number))
        if number % 10 == 0:
            bench.run(data[number // 10 % len(data)])
    found = counts(bench)
    seen = sorted(found.get(source, [0])[0] for source in newcomers)
    assert seen[len(newcomers) // 2] > rounds / 2
    bench.close()


def test_maps_that_were_closed_have_no_talkers(kernel: RealKernel) -> None:
    """Their memory reads as zeros then, and a zero is an epoch, too."""
    bench = Bench(kernel, SMALL)
    bench.run(frame("192.0.2.1"))
    bench.close()
    with pytest.raises(NotFound):
        bench.table()


@pytest.mark.usefixtures("one_cpu")
def test_evicted_counts_spill_and_are_kept(kernel: RealKernel) -> None:
    """One bucket of four ways and five talkers."""
    bench = Bench(kernel, replace(SMALL, talkers=4))
    sources = [f"198.51.100.{n}" for n in range(5)]
    for source in sources[:4]:
        bench.run(frame(source), 100)
    bench.run(frame(sources[4], LONG), 150)
    found, table = counts(bench), bench.table()
    assert {source: found[source][0] for source in sources[:4]} == dict.fromkeys(sources[:4], 100)
    assert 0 < found[sources[4]][0] < 150
    spilled = table.rows(
        np.flatnonzero(table.tenure.reshape(table.shape)[:, :, -1]) * table.shape[2] + table.shape[2] - 1
    )
    (evicted,) = {address(row) for row in spilled}
    assert evicted in sources[:4]
    bench.run(frame(evicted, LONG), 400)
    assert 400 < counts(bench)[evicted][0] <= 500
    bench.close()


def test_counts_that_move_to_another_slot_are_never_seen_twice(kernel: RealKernel) -> None:
    """One bucket on each CPU, in which everybody is soon evicted, while somebody reads."""
    bench, stop = Bench(kernel, replace(SMALL, talkers=4)), threading.Event()
    sent: dict[str, int] = {}

    def traffic() -> None:
        number = 0
        while not stop.is_set():
            source = f"198.51.100.{number % 7}"
            sent[source] = sent.get(source, 0) + 40
            bench.run(frame(source, LONG), 40)
            number += 1

    sender = threading.Thread(target=traffic)
    sender.start()
    try:
        for _ in range(400):
            found = counts(bench)
            tally = int(bench.tally()[:, 0].sum())
            assert sum(row[0] for row in found.values()) <= tally
            assert all(found[source][0] <= count for source, count in list(sent.items()) if source in found)
    finally:
        stop.set()
        sender.join()
    assert len(sent) == 7
    bench.close()


def test_a_slot_with_a_new_tenant_says_so(kernel: RealKernel) -> None:
    """One bucket on each CPU: every newcomer takes somebody's slot, within one tick of the clock as well."""
    bench = Bench(kernel, replace(SMALL, talkers=4))
    seen: dict[tuple[int, int], str] = {}
    for number in range(500):
        bench.run(spoofed(number, LONG))
        table = bench.table()
        for slot in np.flatnonzero(table.tenure):
            [talker] = table.rows(np.array([slot]))
            identity = (int(slot), int(table.tenure[slot]))
            assert seen.setdefault(identity, address(talker)) == address(talker)
    assert len(seen) > 50
    bench.close()


def test_talkers_who_fell_silent_make_room(kernel: RealKernel) -> None:
    """Heat that was gathered long ago halves at each challenge; a talker in use cools by one."""
    bench = Bench(kernel, replace(SMALL, talkers=4))
    for number in range(4):
        bench.run(spoofed(number), 1000)
    with bench.own.maps["talkers"].mapped() as live:
        live["way"]["last_seen"] -= 10_000
    for _ in range(4 * 16):
        bench.run(frame("192.0.2.1", LONG))
        if "192.0.2.1" in counts(bench):
            break
    assert "192.0.2.1" in counts(bench)
    bench.close()


def test_talkers_read_first_never_exceed_the_tally_read_last(bench: Bench) -> None:
    stop = threading.Event()

    def traffic() -> None:
        number = 0
        while not stop.is_set():
            bench.run(spoofed(number % 50))
            number += 1

    sender = threading.Thread(target=traffic)
    sender.start()
    before = np.zeros(4, np.uint64)
    try:
        for _ in range(300):
            talkers = bench.talkers()["counts"].sum(0)
            tally = bench.tally()[:, :4].sum(0)
            assert (talkers <= tally).all()
            assert (talkers >= before).all()
            before = talkers
    finally:
        stop.set()
        sender.join()
    assert (bench.talkers()["counts"].sum(0) == bench.tally()[:, :4].sum(0)).all()


def test_cpus_that_share_a_part_of_the_leaf_counters_lose_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """With memory for one part only, on a machine of several CPUs."""
    monkeypatch.setattr(maps, "LEAF_COUNTER_BYTES", 1)
    kernel = host.kernel()
    plain.start(kernel)
    assert kernel.tables.control["leaf_shards"] == 1
    assert kernel.tables.maps["leaf_counters"].spec.entries == kernel.tables.ids
    assert bool(kernel.tables.control["shared_shards"]) is (possible_cpus() > 1)
    kernel.execute(insert("203.0.113.0/24", 1), 2)
    bench, data = Bench(kernel), frame("203.0.113.1")
    senders = [threading.Thread(target=bench.run, args=(data, 5000)) for _ in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    assert kernel.read_leaves(plain.ids(1)).tolist() == [[20_000, 20_000 * len(data)]]
    bench.close()
