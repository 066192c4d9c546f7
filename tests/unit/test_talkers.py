# SPDX-License-Identifier: Apache-2.0
"""Talkers from slots, against the same done one by one in plain Python."""

from __future__ import annotations

import ipaddress
from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xdpfw.kernel.port import TALKER
from xdpfw.model.prefix import Prefix
from xdpfw.stats import talkers as stats

ADDRESSES = ["192.0.2.1", "192.0.2.2", "198.51.100.7", "0.0.0.0", "2001:db8::", "2001:db8::1", "fd00::ff00", "::"]

slots = st.lists(
    st.tuples(
        st.sampled_from(ADDRESSES),
        st.integers(1, 5),  # since
        st.integers(5, 9),  # last seen
        st.tuples(*[st.integers(0, 1 << 40)] * 4),
    ),
    max_size=20,
)


def rows_of(table: list[tuple[str, int, int, tuple[int, ...]]]) -> stats.Rows:
    rows = np.zeros(len(table), TALKER)
    for slot, (address, since, last_seen, counts) in enumerate(table):
        rows[slot] = (list(stats.pack(ipaddress.ip_address(address))), slot, since, last_seen, counts)
    return rows


def no_deltas(rows: stats.Rows) -> stats.Counts:
    return stats.deltas(rows, rows)


@given(slots, slots)
def test_one_row_per_address_with_the_sum_of_its_slots(one, other):
    sums: dict[str, list[int]] = defaultdict(lambda: [0] * 4)
    for address, _, _, counts in one + other:
        sums[address] = [a + b for a, b in zip(sums[address], counts, strict=True)]
    readings = [(rows, no_deltas(rows)) for rows in (rows_of(one), rows_of(other))]
    talkers = stats.gather(readings)
    assert {str(talkers.address(i)): talkers.counts[i].tolist() for i in range(len(talkers))} == sums
    for i in range(len(talkers)):
        mine = [row for row in one + other if row[0] == str(talkers.address(i))]
        assert talkers.since[i] == min(row[1] for row in mine)
        assert talkers.last_seen[i] == max(row[2] for row in mine)
        seen_on = [any(row[0] == str(talkers.address(i)) for row in table) for table in (one, other)]
        assert talkers.sources[i] == seen_on[0] + 2 * seen_on[1]


def test_deltas_start_at_zero_when_a_slot_changed_hands():
    before = rows_of([("192.0.2.1", 1, 5, (10, 100, 0, 0)), ("192.0.2.2", 1, 5, (7, 70, 0, 0))])
    now = before.copy()
    now["counts"][0] = (15, 150, 1, 10)
    now["address"][1] = list(stats.pack(ipaddress.ip_address("2001:db8::1")))
    now["since"][1], now["counts"][1] = 3, (8, 80, 0, 0)
    assert stats.deltas(now, before).tolist() == [[5, 50, 1, 10], [8, 80, 0, 0]]
    again = now.copy()
    again["since"][0] = 4  # the same address came back after it was evicted
    assert stats.deltas(again, before)[0].tolist() == [15, 150, 1, 10]
    assert stats.deltas(now, before[:0]).tolist() == now["counts"].tolist()


@given(slots, st.sampled_from(["bytes", "packets", "bps", "pps"]), st.sampled_from(["total", "passed", "dropped"]),
       st.booleans(), st.integers(1, 25))  # fmt: skip
def test_ranking_is_the_head_of_the_sorted_list(table, sort, of, descending, limit):
    rows = rows_of(table)
    halved = rows.copy()
    halved["counts"] //= 3
    talkers = stats.gather([(rows, stats.deltas(rows, halved))])
    columns = {"passed": (0,), "dropped": (2,), "total": (0, 2)}[of]
    offset = 1 if sort in ("bytes", "bps") else 0
    table_of = talkers.deltas if sort in ("bps", "pps") else talkers.counts

    def value(i: int) -> int:
        return sum(int(table_of[i][column + offset]) for column in columns)

    def key(i: int) -> tuple[int, bytes]:
        return (-value(i) if descending else value(i)), stats.pack(talkers.address(i))

    expected = sorted(range(len(talkers)), key=key)[:limit]
    assert stats.rank(talkers, sort, of, descending, limit).tolist() == expected


@given(slots, st.sampled_from([None, 4, 6]),
       st.sampled_from([None, "192.0.2.0/24", "192.0.2.2", "0.0.0.0/0", "::/0", "2001:db8::/32", "::/8"]))  # fmt: skip
def test_filters_by_family_and_prefix(table, family, within):
    prefix = Prefix.parse(within) if within else None
    rows = rows_of(table)
    talkers = stats.within(stats.gather([(rows, no_deltas(rows))]), family, prefix)
    expected = {
        address
        for address, *_ in table
        if (family is None or ipaddress.ip_address(address).version == family)
        and (prefix is None or prefix.contains(Prefix.parse(address)))
    }
    assert {str(talkers.address(i)) for i in range(len(talkers))} == expected
