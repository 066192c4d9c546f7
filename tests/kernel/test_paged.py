# SPDX-License-Identifier: Apache-2.0
"""An array that takes memory as it is filled is like any other array, and outlives who wrote it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from tests.kernel.conftest import unique_name
from xdpfw.kernel import paged
from xdpfw.kernel.bpffs import DEFAULT, remove_tree
from xdpfw.kernel.maps import ARRAY, INDEX, MapSpec
from xdpfw.kernel.paged import PAGE_RECORDS, PagedArray

RECORD = np.dtype([("number", "u8"), ("half", "u4"), ("rest", "u4")])
SPEC = MapSpec("paged", ARRAY, INDEX, RECORD, 5 * PAGE_RECORDS + 1)


@pytest.fixture
def home() -> Iterator[Path]:
    path = DEFAULT / f"xdpfw-{unique_name()}"
    yield path
    remove_tree(path)


def records(numbers: np.ndarray) -> np.ndarray:
    made = np.zeros(len(numbers), RECORD)
    made["number"], made["half"] = numbers, numbers // 2
    return made


def test_it_is_like_an_array(home: Path) -> None:
    random, model = np.random.default_rng(1), np.zeros(SPEC.entries, RECORD)
    with closing(PagedArray(SPEC, home)) as table:
        for count in (1, 3, 3000, 2, 20_000):
            at = random.choice(SPEC.entries, count, replace=False)
            model[at] = records(at + count)
            table.write(at, model[at])
            for some in (at[:5], random.choice(SPEC.entries, 1000)):
                assert (table.read(some) == model[some]).all()
        with table.mapped() as live:
            assert (live == model).all()
        with closing(PagedArray(SPEC, home)) as other, other.mapped() as live:
            assert (live == model).all()


def test_only_what_is_written_to_takes_memory(home: Path) -> None:
    with closing(PagedArray(SPEC, home)) as table:
        assert not table.pins()
        at = np.array([3 * PAGE_RECORDS + 7])
        assert not table.read(at)["number"].any()
        table.write(at, records(at))
        assert list(table.pins()) == [home / "3"]
        assert table.read(at)["number"] == at
        with table.mapped() as live:
            assert np.flatnonzero(live["number"]).tolist() == at.tolist()


def test_nothing_is_written_beyond_the_end(home: Path) -> None:
    with closing(PagedArray(SPEC, home)) as table:
        at = np.array([0, SPEC.entries])
        with pytest.raises(IndexError, match=str(SPEC.entries)):
            table.write(at, records(at + 1))
        assert not table.pins()


def test_writers_that_come_at_once_share_pages(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each finds all pages missing; whoever came second must not put another one in the place of the first's."""
    create, barrier = paged.libbpf.map_create, threading.Barrier(2, timeout=0.2)

    def slow(*arguments: int) -> int:
        with suppress(threading.BrokenBarrierError):
            barrier.wait()
        return create(*arguments)

    monkeypatch.setattr(paged.libbpf, "map_create", slow)
    with closing(PagedArray(SPEC, home)) as table:
        parts = [np.arange(first, SPEC.entries, 2) for first in (0, 1)]
        threads = [threading.Thread(target=table.write, args=(part, records(part))) for part in parts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with table.mapped() as live:
            assert (live["number"] == np.arange(SPEC.entries)).all()
