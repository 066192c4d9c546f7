# SPDX-License-Identifier: Apache-2.0
"""What `script/soak` calls growth: a leak, also a slow one, and not what work takes for a while."""

from __future__ import annotations

import random

import pytest

from lab.growth import PAGE, Sizes, grows, growth

MB = 1 << 20


def rests(count: int, daemon: float = 0, maps: float = 0, descriptors: float = 0) -> list[Sizes]:
    """So much more at each; and up to 15 MB of noise."""
    noise = random.Random(count)
    return [
        Sizes(
            90 * MB + round(daemon * at) + noise.randrange(15 * MB),
            70 * MB + round(maps * at),
            93 + int(descriptors * at) + noise.randrange(2),
        )
        for at in range(count)
    ]


@pytest.mark.parametrize("count", [3, 6, 30, 140])
def test_noise_is_no_growth(count: int) -> None:
    assert not grows(rests(count))


@pytest.mark.parametrize("leak", [{"daemon": MB / 2}, {"maps": PAGE / 2}, {"descriptors": 0.2}])
def test_a_leak_shows_in_the_long_run(leak: dict[str, float]) -> None:
    assert grows(rests(40, **leak))
    assert not grows(rests(3, **leak)), "and not at once"


def test_a_large_leak_shows_at_once() -> None:
    assert grows(rests(4, daemon=30 * MB))
    assert grows(rests(3, maps=6 * PAGE))


def test_it_is_told_in_the_numbers_of_the_least() -> None:
    found = [Sizes(9, 5, 3), Sizes(7, 6, 4), Sizes(12, 5, 3), Sizes(8, 9, 9)]
    assert growth(found) == Sizes(1, 0, 0)
