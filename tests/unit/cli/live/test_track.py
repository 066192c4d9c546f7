# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.live.reading import Flow, Past, Traffic
from cli.live.track import Track


def counted(packets: int, dropped: int = 0, pps: float = 0.0, dropped_pps: float = 0.0) -> Traffic:
    return Traffic(Flow(packets, 100 * packets, pps, 800 * pps), Flow(dropped, 10 * dropped, dropped_pps))


def steady(seconds: int, rate: int, start: float = 0.0) -> Track:
    """Twice a second, as the live view reads."""
    track = Track()
    for half in range(2 * seconds + 1):
        track.add(start + half / 2, counted(rate * half // 2, rate * half // 4))
    return track


def test_no_average_of_one_reading() -> None:
    track = Track()
    assert track.average(2) is None
    track.add(1.0, counted(100))
    assert track.average(2) is None


@pytest.mark.parametrize("window", [2, 10, 40])
def test_an_even_rate_is_its_own_average(window: int) -> None:
    average = steady(60, 1000).average(window)
    assert average is not None
    assert average.passed.pps == pytest.approx(1000)
    assert average.passed.bps == pytest.approx(1000 * 100 * 8)
    assert average.dropped.pps == pytest.approx(500)
    assert average.dropped.bps == pytest.approx(500 * 10 * 8)


def test_averages_span_their_window() -> None:
    track = Track()
    for second in range(61):  # silent for 50 s, then 800 packets a second
        track.add(float(second), counted(800 * max(0, second - 50)))
    for window, expected in ((2, 800), (10, 800), (20, 400), (40, 200)):
        average = track.average(window)
        assert average is not None
        assert average.passed.pps == pytest.approx(expected)


def test_a_short_history_is_averaged_over_what_there_is() -> None:
    average = steady(3, 100).average(40)
    assert average is not None
    assert average.passed.pps == pytest.approx(100)


def test_peaks_of_the_total_are_not_sums_of_peaks() -> None:
    track = Track()
    track.add(0.0, counted(0, pps=70, dropped_pps=5))
    track.add(1.0, counted(1, pps=10, dropped_pps=60))
    passed, dropped, total = track.peaks
    assert (passed.pps, dropped.pps, total.pps) == (70, 60, 75)


def test_every_second_has_its_rate_whatever_the_readings_fall_on() -> None:
    track = Track()
    for time in (0.3, 0.9, 1.4, 1.7, 2.2, 5.1):  # 100 packets a second
        track.add(time, counted(round(100 * time)))
    assert [each.passed.pps for each in track.seconds] == pytest.approx([100] * 4)  # seconds 1 to 5


def test_a_burst_shows_in_its_second() -> None:
    track = Track()
    for half in range(9):
        track.add(0.5 + half / 2, counted(1000 if half >= 5 else 0))  # between 2.5 and 3.0 s
    assert [each.passed.pps for each in track.seconds] == pytest.approx([0, 1000, 0])  # seconds 1 to 4


def test_counts_that_went_back_begin_anew_and_nothing_is_negative() -> None:
    track = steady(5, 100)
    track.add(6.0, counted(10))
    assert track.average(10) is None
    track.add(7.0, counted(60))
    average = track.average(10)
    assert average is not None
    assert average.passed.pps == pytest.approx(50)
    assert all(each.total.pps >= 0 for each in track.seconds)


def test_the_same_reading_twice_is_one() -> None:
    track = steady(5, 100)
    track.add(5.0, counted(500, 250))
    average = track.average(2)
    assert average is not None
    assert average.passed.pps == pytest.approx(100)


def test_a_clock_that_went_back_begins_anew() -> None:
    track = steady(5, 100)
    track.add(4.0, counted(10_000, 10_000))
    assert track.average(2) is None
    track.add(5.0, counted(10_050, 10_000))
    average = track.average(2)
    assert average is not None
    assert average.passed.pps == pytest.approx(50)


def past(start: int, rates: list[float | None]) -> Past:
    """Passed packets in each second from `start` on."""
    ends = tuple(float(start + at + 1) for at in range(len(rates)))
    return Past(ends, tuple(None if rate is None else Traffic(Flow(pps=rate, bps=rate * 8)) for rate in rates))


def test_what_the_daemon_remembers_comes_before_the_first_reading() -> None:
    track = Track()
    track.add(100.4, counted(1_000_000))
    track.add(101.4, counted(1_000_300))  # 300 a second
    track.remember(past(60, [0] * 20 + [600] * 10 + [300] * 12))  # up to second 102
    assert [each.passed.pps for each in track.seconds][-11:] == pytest.approx([600] + [300] * 10)
    assert track.peaks[0].pps == 600
    ten, forty = track.average(10), track.average(40)
    assert ten is not None
    assert forty is not None
    assert ten.passed.pps == pytest.approx(300)
    assert forty.passed.pps == pytest.approx((10 * 600 + 11.4 * 300) / 40, rel=0.03)
    track.add(103.4, counted(1_000_900))
    assert [each.passed.pps for each in track.seconds][-2:] == pytest.approx([300, 300])


def test_memory_ends_where_nothing_is_known() -> None:
    track = Track()
    track.remember(past(0, [5, 5]))  # before there is a reading there is nothing to put it before
    assert not track.seconds
    track.add(10.5, counted(1000))
    track.remember(past(0, [100, 100, None, *[7] * 7]))
    assert [each.passed.pps for each in track.seconds] == [7] * 7
    for many in (600, 900):
        track.remember(past(10 - many, [3] * many))
        assert len(track.seconds) <= 600


def test_memory_is_bounded_also_over_a_long_gap() -> None:
    track = steady(5, 100)
    track.add(100_000.0, counted(10_000_000, 10_000_000))
    assert len(track.seconds) <= 600
    for second in range(2000):
        track.add(100_001.0 + second, counted(10_000_000 + second, 10_000_000))
    assert len(track.seconds) == 600


@given(st.lists(st.tuples(st.floats(0.01, 5), st.integers(0, 10**6), st.integers(0, 10**6)), min_size=2, max_size=60))
def test_seconds_and_averages_lie_between_the_slowest_and_the_fastest(steps: list[tuple[float, int, int]]) -> None:
    track, time, packets, dropped = Track(), 0.0, 0, 0
    rates = []
    track.add(time, counted(0))
    for gap, more, lost in steps:
        time, packets, dropped = time + gap, packets + more, dropped + lost
        rates.append(more / gap)
        track.add(time, counted(packets, dropped))
    within = (min(rates) * 0.999 - 1, max(rates) * 1.001 + 1)
    for each in [*track.seconds, track.average(2), track.average(40)]:
        assert each is not None
        assert within[0] <= each.passed.pps <= within[1]
