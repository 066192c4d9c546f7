# SPDX-License-Identifier: Apache-2.0
"""Descriptors go where maps are loaded; a look-up of a single record becomes its address where that is safe."""

from __future__ import annotations

import numpy as np
import pytest

from xdpfw.kernel import linking
from xdpfw.kernel.linking import INSTRUCTION, linked
from xdpfw.kernel.maps import SINGLE

Row = tuple[int, int, int, int]

LOAD: list[Row] = [(0x18, 0x11, 0, 0), (0, 0, 0, 0)]  # r1 = map
KEY: list[Row] = [(0xBF, 0xA2, 0, 0), (0x07, 0x02, 0, -4)]  # r2 = r10; r2 += -4
CALL: Row = (0x85, 0, 0, 1)  # map_lookup_elem
CHECK: list[Row] = [(0x15, 0, 1, 0), (0x61, 0, 0, 0), (0x95, 0, 0, 0)]  # if r0 == 0 goto +1; r0 = *r0; exit


def link(rows: list[Row], name: str, at: int = 0) -> list[Row]:
    code = np.array(rows, INSTRUCTION)
    return [tuple(row) for row in np.frombuffer(linked(code.tobytes(), {at: name}, {name: 7}), INSTRUCTION).tolist()]


def test_the_look_up_of_a_single_record_is_its_address() -> None:
    got = link([*LOAD, *KEY, CALL, *CHECK], "control")
    assert got == [(0x18, 0x21, 0, 7), (0, 0, 0, 0), *KEY, (0xBF, 0x10, 0, 0), *CHECK]


def test_other_maps_are_looked_up() -> None:
    rows = [*LOAD, *KEY, CALL, *CHECK]
    assert "leaf" not in SINGLE
    assert link(rows, "leaf") == [(0x18, 0x11, 0, 7), *rows[1:]]


@pytest.mark.parametrize(
    "between",
    [
        (0xBF, 0x61, 0, 0),  # r1 = r6: another map, perhaps
        (0x79, 0xA1, -8, 0),  # r1 = what was on the stack
        (0x05, 0, 1, 0),  # goto
        (0x85, 0, 0, 5),  # another helper
    ],
)
def test_what_is_not_plain_is_left_alone(between: Row) -> None:
    rows = [*LOAD, *KEY, between, CALL, *CHECK]
    assert link(rows, "control") == [(0x18, 0x11, 0, 7), *rows[1:]]


def test_a_jump_into_the_middle_is_no_plain_look_up() -> None:
    rows = [(0x15, 0x03, 3, 0), *LOAD, *KEY, CALL, *CHECK]
    assert link(rows, "control", 1) == [rows[0], (0x18, 0x11, 0, 7), *rows[2:]]


def test_another_map_in_another_register_is_left_alone() -> None:
    rows = [(0x18, 0x16, 0, 0), (0, 0, 0, 0), *KEY, CALL, *CHECK]
    assert link(rows, "control") == [(0x18, 0x16, 0, 7), *rows[1:]]


def test_single_records_are_those_of_any_size() -> None:
    assert {"control", "config", "seeds"} <= SINGLE
    assert SINGLE.isdisjoint({"leaf", "tally", "scratch", "policy"})
    assert linking.LOOKUP == 1
