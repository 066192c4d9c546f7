# SPDX-License-Identifier: Apache-2.0
"""Arrays as memory of this process: which are mapped, and that it makes no difference to what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from xdpfw.kernel.maps import ARRAY, INDEX, KEPT_BYTES, SMALL_BYTES, Map, MapSpec

RECORD = np.dtype([("number", "u8", 2)])
SIZES = (SMALL_BYTES // 2, SMALL_BYTES * 4, KEPT_BYTES * 2)


def mapped() -> int:
    """Bytes of tables that this process has mapped."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith("bpf-map")]
    spans = [[int(end, 16) for end in line[0].split("-")] for line in lines]
    return sum(end - begin for begin, end in spans)


@pytest.fixture(params=SIZES)
def table(request: pytest.FixtureRequest) -> Iterator[Map]:
    made = Map.create(MapSpec("table", ARRAY, INDEX, RECORD, request.param // RECORD.itemsize))
    yield made
    made.close()


def test_only_small_arrays_are_mapped_for_good() -> None:
    before = mapped()
    for size, for_good in zip(SIZES, (True, False, False), strict=True):
        table = Map.create(MapSpec("table", ARRAY, INDEX, RECORD, size // RECORD.itemsize))
        assert mapped() - before == (size if for_good else 0)
        with table.mapped() as live:
            assert mapped() - before == live.nbytes
        del live
        if size <= KEPT_BYTES:
            assert len(table.view) == table.spec.entries
            assert mapped() - before == size
        table.release()
        assert mapped() - before == (size if for_good else 0)
        table.close()
        assert mapped() == before


@pytest.mark.parametrize("count", (3, 5000))
def test_records_are_the_same_however_they_are_come_by(table: Map, count: int) -> None:
    at = np.arange(7, 7 + 3 * count, 3)
    records = np.zeros(count, RECORD)
    records["number"][:, 0] = at
    table.write(at, records)
    if table.spec.bytes <= KEPT_BYTES:
        table.view["number"][at, 1] = at + 1
        table.release()
    else:
        table.write_column(at, "number", 1, at + 1)
    with table.mapped() as live:
        assert (live["number"][at, 1] == at + 1).all()
    table.write_column(at[:1], "number", 0, np.array([9]))
    found = table.read(at)["number"]
    assert found[0].tolist() == [9, 8]
    assert (found[1:, 0] == at[1:]).all()
    assert not table.read(at + 1)["number"].any()
