# SPDX-License-Identifier: Apache-2.0
"""The ring of totals, against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from xdpfw.clock import SECOND
from xdpfw.stats.history import COLUMNS, SPAN, History


def totals(packets: int) -> np.ndarray:
    return np.array([packets] + [0] * (COLUMNS - 1), np.uint64)


def seconds(*moments: float) -> np.ndarray:
    return np.array([round(moment * SECOND) for moment in moments], np.int64)


def filled(readings: list[tuple[float, int]]) -> History:
    history = History()
    for time, packets in readings:
        history.add(round(time * SECOND), totals(packets))
    return history


def test_rates_are_what_was_counted_between_the_moments():
    history = filled([(10, 100), (11, 105), (12, 125)])
    assert history.rates(seconds(10, 11, 12))[:, 0].tolist() == [5, 20]
    assert history.rates(seconds(10, 12))[:, 0].tolist() == [12.5]
    # half of the first second and half of the second one
    assert history.rates(seconds(10.5, 11.5))[:, 0].tolist() == pytest.approx([12.5])


def test_readings_that_come_unevenly_lose_nothing():
    random = np.random.default_rng(1)
    times = np.cumsum(random.uniform(0.95, 1.4, 200))
    packets = np.cumsum(random.integers(0, 1000, 200))
    history = filled(list(zip(times.tolist(), packets.tolist(), strict=True)))
    ends = np.linspace(times[3], times[-3], 40)
    rates = history.rates((ends * SECOND).astype(np.int64))[:, 0]
    assert (rates * np.diff(ends)).sum() == pytest.approx(packets[-3] - packets[3])


def test_what_is_not_known_is_not_a_number():
    history = filled([(10, 100), (11, 105)])
    assert np.isnan(history.rates(seconds(8, 9, 10, 11, 12))[:, 0]).tolist() == [True, True, False, True]
    assert np.isnan(filled([(10, 100)]).rates(seconds(9, 10))).all()
    assert np.isnan(History().rates(seconds(9, 10))).all()


def test_counts_that_began_anew_are_not_negative():
    history = filled([(10, 100), (11, 110), (12, 4), (13, 9)])
    assert history.rates(seconds(10, 11, 12, 13))[:, 0].tolist() == [10, 4, 5]


def test_the_ring_keeps_the_last_quarter_of_an_hour_and_no_more():
    history = filled([(t, t * 7) for t in range(1, 3000)])
    rates = history.rates(seconds(*range(2999 - SPAN - 5, 3000)))[:, 0]
    assert np.isnan(rates[:4]).all()
    assert rates[-SPAN:].tolist() == [7] * SPAN


def test_readings_twice_a_second_do_not_halve_the_span():
    history = filled([(t / 2, t) for t in range(1, 4000)])
    rates = history.rates(seconds(*range(1999 - SPAN, 2000)))[:, 0]
    assert rates.tolist() == [2] * SPAN


def test_counts_beyond_what_floats_hold_exactly():
    base = 1 << 62
    history = filled([(10, base), (11, base + 3)])
    assert history.rates(seconds(10, 11))[:, 0].tolist() == [3]
