# SPDX-License-Identifier: Apache-2.0
"""Talkers from slots, against the same done one by one in plain Python."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpfw.kernel.port import TalkerTable
from xdpfw.model.prefix import Address, Prefix
from xdpfw.stats import ranking
from xdpfw.stats import talkers as stats
from xdpfw.stats.deltas import Deltas, Earlier, sums_of
from xdpfw.stats.ranking import Marks

ADDRESSES = ["192.0.2.1", "192.0.2.2", "198.51.100.7", "0.0.0.0", "2001:db8::", "2001:db8::1", "fd00::ff00", "::"]
WAYS = 4

slot = st.tuples(
    st.sampled_from(ADDRESSES),
    st.integers(1, 5),  # since
    st.integers(5, 9),  # last seen
    st.tuples(*[st.integers(0, 1 << 40)] * 4),
)
Slot = tuple[str, int, int, tuple[int, ...]]
slots = st.lists(slot, max_size=20)


def wall(stamps):
    return stamps.astype(np.int64)


def table_of(parts: list[list[Slot]], holes: int = 0) -> TalkerTable:
    """One bucket that holds everything, with so many empty slots on each CPU."""
    width = max([len(part) for part in parts], default=0) + holes
    table = TalkerTable.blank((len(parts), 1, width), wall)
    for array in (table.address, table.tenure, *table.counts, table.since, table.last_seen):
        array[...] = 0
    for cpu, part in enumerate(parts):
        for number, (address, since, last_seen, counts) in enumerate(part):
            at = cpu * width + number
            table.address[:, at] = np.frombuffer(stats.pack(ipaddress.ip_address(address)), np.uint64)
            table.tenure[at], table.since[at], table.last_seen[at] = 1, since, last_seen
            for column, count in zip(table.counts, counts, strict=True):
                column[at] = count
    return table


def earlier(table: TalkerTable) -> Earlier:
    return Earlier(table.tenure, table.counts, sums_of(table.counts))


def a_third(table: TalkerTable) -> Deltas:
    """Two thirds of what its slots counted is new."""
    return since(table, replace(table, counts=[column // 3 for column in table.counts]))


def since(table: TalkerTable, before: TalkerTable) -> Deltas:
    return Deltas(table, sums_of(table.counts), earlier(before))


def no_deltas(table: TalkerTable) -> Deltas:
    return since(table, table)


def columns(deltas: Deltas) -> list[list[int]]:
    """By slot; the sums are those of all slots."""
    found = np.stack([deltas.column([number], slice(None)) for number in range(4)], 1)
    assert deltas.sums().tolist() == found.sum(axis=0).tolist()
    return found.tolist()


def everything(talkers: stats.Talkers) -> stats.Details:
    return talkers.details(np.flatnonzero(talkers.within(None, None)))


@given(slots, slots, st.integers(0, 3), st.booleans())
def test_one_row_per_address_with_the_sum_of_its_slots(one, other, holes, together):
    """The slots of two CPUs of one interface, or of two interfaces."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * 4)
    for address, _, _, counts in one + other:
        sums[address] = [a + b for a, b in zip(sums[address], counts, strict=True)]
    tables = [table_of([one, other], holes)] if together else [table_of([part], holes) for part in (one, other)]
    talkers = stats.Talkers(tables, [no_deltas(table) for table in tables])
    details = everything(talkers)
    assert {str(a): c.tolist() for a, c in zip(details.addresses, details.counts, strict=True)} == sums
    assert len(set(details.addresses)) == len(details.addresses)
    for i, address in enumerate(map(str, details.addresses)):
        mine = [row for row in one + other if row[0] == address]
        assert details.since[i] == min(row[1] for row in mine)
        assert details.last_seen[i] == max(row[2] for row in mine)
        seen_on = [any(row[0] == address for row in part) for part in (one, other)]
        assert details.sources[i] == (1 if together else seen_on[0] + 2 * seen_on[1])


def large_table(random: np.random.Generator, seed: int, shift: int) -> TalkerTable:
    """An address is in the bucket of its hundreds, or `shift` further."""
    cpus, buckets = 3, 64
    table = TalkerTable.blank((cpus, buckets, WAYS), wall, seed=seed)
    bucket = (np.arange(cpus * buckets * WAYS) // WAYS - shift) % buckets
    # few enough for a bucket to hold the same one on several CPUs, and more than once an empty slot
    table.address[0], table.address[1] = 0, bucket * 100 + random.integers(0, 6, len(bucket))
    table.tenure[:] = random.integers(0, 2, len(bucket))
    for column in (*table.counts, table.since, table.last_seen):
        column[:] = table.tenure
    return table


@pytest.mark.parametrize("seeds", [(1,), (1, 1), (1, 2), (0, 0)], ids=["one", "alike", "others", "unknown"])
def test_addresses_of_large_tables_meet_over_buckets_cpus_and_interfaces(seeds: tuple[int, ...]):
    random = np.random.default_rng(5)
    tables = [large_table(random, seed, 0 if seeds == (1, 1) else number) for number, seed in enumerate(seeds)]
    expected: dict[int, int] = defaultdict(int)
    for table in tables:
        for low, tenure in zip(table.address[1].tolist(), table.tenure.tolist(), strict=True):
            if tenure:
                expected[low] += 1
    details = everything(stats.Talkers(tables, [no_deltas(table) for table in tables]))
    found = [int(np.frombuffer(address.packed[8:], np.uint64)[0]) for address in details.addresses]
    assert dict(zip(found, details.counts[:, 0].tolist(), strict=True)) == expected
    assert len(set(found)) == len(found)


@given(slots, slots)
def test_what_is_known_of_a_moment_ago_changes_nothing(one, other):
    parts = [list(dict(zip((row[0] for row in part), part, strict=True)).values()) for part in (one, other)]
    tables = [replace(table_of([part, part]), origin=7) for part in parts]
    before, now = (stats.Talkers([table], [no_deltas(table)]) for table in tables)
    tables[1].tenure[: len(parts[1])] = 2
    fresh = everything(now).counts.tolist()
    assert everything(stats.Talkers([tables[1]], [no_deltas(tables[1])], before.grouping)).counts.tolist() == fresh
    again = stats.Talkers([tables[1]], [no_deltas(tables[1])], now.grouping)
    assert everything(again).counts.tolist() == fresh


def test_deltas_start_at_zero_when_a_slot_changed_hands():
    before = table_of([[("192.0.2.1", 1, 5, (10, 100, 0, 0)), ("192.0.2.2", 1, 5, (7, 70, 0, 0))]])
    now = table_of([[("192.0.2.1", 1, 5, (15, 150, 1, 10)), ("2001:db8::1", 3, 5, (8, 80, 0, 0))]])
    now.tenure[1] = 3
    assert columns(since(now, before)) == [[5, 50, 1, 10], [8, 80, 0, 0]]
    emptied = replace(now, tenure=np.zeros(2, np.uint32), counts=[np.zeros(2, np.uint64)] * 4)
    assert columns(since(emptied, before)) == [[0] * 4] * 2


def test_what_spilled_was_counted_elsewhere_before():
    before = table_of([[("192.0.2.1", 1, 5, (10, 100, 0, 0)), ("192.0.2.2", 1, 5, (7, 70, 0, 0))]])
    now = replace(table_of([[("192.0.2.9", 2, 5, (1, 10, 0, 0)), ("192.0.2.2", 1, 5, (17, 170, 0, 0))]]), spilled=1)
    now.tenure[0] = 9
    before = replace(before, spilled=1)
    assert columns(since(now, before)) == [[1, 10, 0, 0], [0, 0, 0, 0]]


@given(slots, st.sampled_from(["bytes", "packets", "bps", "pps"]), st.sampled_from(["total", "passed", "dropped"]),
       st.booleans(), st.integers(1, 25))  # fmt: skip
def test_ranking_is_the_head_of_the_sorted_list(table, sort, of, descending, limit):
    now = table_of([table])
    talkers = stats.Talkers([now], [a_third(now)])
    columns = {"passed": (0,), "dropped": (2,), "total": (0, 2)}[of]
    offset = 1 if sort in ("bytes", "bps") else 0
    details = everything(talkers)
    table_of_values = details.deltas if sort in ("bps", "pps") else details.counts

    def key(i: int) -> tuple[int, bytes]:
        value = sum(int(table_of_values[i][column + offset]) for column in columns)
        return (-value if descending else value), stats.pack(details.addresses[i])

    def ranked(among: Marks) -> list[Address]:
        return talkers.details(talkers.rank(among, sort, of, descending=descending, limit=limit)).addresses

    expected = [details.addresses[i] for i in sorted(range(len(details.addresses)), key=key)]
    assert ranked(talkers.within(None, None)) == expected[:limit]
    even = np.arange(len(now.tenure)) % 2 == 0
    some = talkers.details(np.flatnonzero(talkers.within(None, None) & even)).addresses
    assert ranked(talkers.within(None, None) & even) == [each for each in expected if each in some][:limit]


few = st.lists(
    st.tuples(st.sampled_from(ADDRESSES), st.just(1), st.just(5), st.tuples(*[st.integers(0, 60)] * 4)),
    max_size=8,
)


@given(few, st.sampled_from(["share", "share_now"]), st.booleans())
def test_ranking_by_the_dropped_share(table, sort, descending):
    now = table_of([table])
    talkers = stats.Talkers([now], [a_third(now)])
    details = everything(talkers)
    counted = details.deltas if sort == "share_now" else details.counts

    def key(i: int) -> tuple[Fraction, int, bytes]:
        passed, dropped = int(counted[i][0]), int(counted[i][2])
        sign = -1 if descending else 1
        share = Fraction(dropped, max(passed + dropped, 1))
        return sign * share, sign * dropped, stats.pack(details.addresses[i])

    expected = [details.addresses[i] for i in sorted(range(len(details.addresses)), key=key)]
    among = talkers.within(None, None)
    ranked = talkers.rank(among, sort, "total", descending=descending, limit=len(table) + 1)
    assert talkers.details(ranked).addresses == expected


@given(st.lists(st.integers(0, 9) | st.integers(-(1 << 60), 1 << 60), min_size=1, max_size=400), st.integers(1, 400),
       st.integers(1, 9), st.integers(1, 50))  # fmt: skip
def test_the_best_of_many_pieces_are_those_of_all(values, limit, ties, step):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "MOST_TIES", ties)
        patch.setattr(ranking, "_SOME", 10)
        best = ranking.Best(limit)
        for begin in range(0, len(values), step):
            piece = np.array(values[begin : begin + step])
            best.offer(begin, piece, np.ones(len(piece), np.bool_))
        at, found = best.result()
    assert [values[i] for i in at] == found.tolist()
    last = sorted(values, reverse=True)[:limit][-1]
    wanted = [i for i, value in enumerate(values) if value > last]
    tied = [i for i, value in enumerate(values) if value == last]
    assert at.tolist() == sorted(wanted + tied[: limit + ties])


@given(slots, st.sampled_from([None, 4, 6]),
       st.sampled_from([None, "192.0.2.0/24", "192.0.2.2", "0.0.0.0/0", "::/0", "2001:db8::/32", "::/8"]))  # fmt: skip
def test_filters_by_family_and_prefix(table, family, within):
    prefix = Prefix.parse(within) if within else None
    now = table_of([table])
    talkers = stats.Talkers([now], [no_deltas(now)])
    chosen = talkers.details(np.flatnonzero(talkers.within(family, prefix)))
    expected = {
        address
        for address, *_ in table
        if (family is None or ipaddress.ip_address(address).version == family)
        and (prefix is None or prefix.contains(Prefix.parse(address)))
    }
    assert set(map(str, chosen.addresses)) == expected
