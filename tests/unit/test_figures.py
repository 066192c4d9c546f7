# SPDX-License-Identifier: Apache-2.0
"""Figures of the benchmarks: pairs, percentiles, and whether a goal was reached."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.figures import Figure, percentile, ratio
from benchmarks.parts import measured


def test_a_ratio_is_of_pairs_of_one_round() -> None:
    assert ratio("", None, (10, 30, 8), (5, 10, 2)).values == (2, 3, 4)


def test_what_was_measured_once_is_compared_once() -> None:
    assert ratio("", None, (10, 30, 8), (5,)).values == (2,)


@pytest.mark.parametrize(("share", "values"), [(0, (1, 3)), (0.5, (5, 8)), (0.99, (9, 12)), (1, (10, 13))])
def test_a_percentile_is_of_each_run(share: float, values: tuple[float, ...]) -> None:
    assert percentile("", "ms", None, share, [range(10, 0, -1), range(3, 14)]).values == values


@pytest.mark.parametrize(("median", "word"), [(1.9, "ok"), (2, "MISSED"), (2.1, "MISSED")])
def test_a_goal_is_something_to_stay_under(median: float, word: str) -> None:
    assert Figure("", "ms", 2, (0, median, 100)).line().split()[-1] == word


def test_what_has_no_goal_is_neither_reached_nor_missed() -> None:
    assert Figure("", "ms", None, (1,)).line().split()[-1] == "n=1"


def test_a_part_that_fails_takes_nothing_along(capsys: pytest.CaptureFixture[str]) -> None:
    figure = Figure("one", "ms", None, (1.0,))

    def breaks() -> Iterator[Figure]:
        yield figure
        raise ZeroDivisionError

    found, failed = measured({"first": breaks, "second": lambda: iter([figure])}, quiet=True)
    assert found == {"first": [figure], "second": [figure]}
    assert failed == ["first"]
    assert "second (2 of 2" in capsys.readouterr().err
