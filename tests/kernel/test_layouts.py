# SPDX-License-Identifier: Apache-2.0
"""C and Python mean the same numbers and the same records. The C compiler itself compares the records."""

from __future__ import annotations

import re

import numpy as np
import pytest

from xdpfw.kernel import layouts
from xdpfw.kernel.compile import compile_source
from xdpfw.kernel.maps import CAUSES, PROGRAM_MAPS
from xdpfw.kernel.source import find_sources, inline
from xdpfw.model.errors import KernelError
from xdpfw.model.limits import MAX_CLASSES
from xdpfw.model.policy import MAX_ROWS, MAX_SLOTS
from xdpfw.model.reason import MAX_REASONS, Reason

pytestmark = pytest.mark.kernel

CONSTANTS = {
    "MAX_CLASSES": MAX_CLASSES,
    "MAX_ROWS": MAX_ROWS,
    "MAX_SLOTS": MAX_SLOTS,
    "MAX_REASONS": MAX_REASONS,
    "CAUSES": CAUSES,
    "TALKER_WAYS": layouts.TALKER_WAYS,
    "LIMITER_WAYS": layouts.LIMITER_WAYS,
    "BAN_LENGTHS": layouts.BAN_LENGTHS,
    "GATE_LINE": layouts.GATE_LINE_BYTES,
    "GATE_LINES": layouts.GATE_LINES,
    "VLAN_MAX_DEPTH": 4,
    "EXTENSION_MAX": 8,
}


def test_reasons_are_the_same() -> None:
    text = (find_sources() / "reason.h").read_text()
    in_c = {name: int(number) for name, number in re.findall(r"REASON_(\w+) = (\d+),", text)}
    assert in_c == {reason.name: reason.value for reason in Reason}
    assert max(in_c.values()) < MAX_REASONS


def _claims() -> list[str]:
    claims = [f"{name} == {value}" for name, value in CONSTANTS.items()]
    for struct, dtype in layouts.C_STRUCTS.items():
        claims.append(f"sizeof({struct}) == {dtype.itemsize}")
        for name, (field, offset, *_) in (dtype.fields or {}).items():
            claims.append(f"__builtin_offsetof({struct}, {name}) == {offset}")
            claims.append(f"sizeof((({struct} *)0)->{name}) == {field.itemsize}")
    return claims


def _compile(claims: list[str]) -> None:
    source = inline(find_sources() / "xdp_filter.c")
    asserts = "\n".join(f'_Static_assert({claim}, "{claim}");' for claim in claims)
    compile_source(source + asserts + "\n", "xdp_filter", PROGRAM_MAPS, ["-DMULTI_BUFFER", "-DTWIN", "-DHZ=1000"])


def test_records_are_the_same() -> None:
    _compile(_claims())


def test_another_record_would_be_noticed() -> None:
    with pytest.raises(KernelError, match=r"__builtin_offsetof.struct talker, since. == 28"):
        _compile(["__builtin_offsetof(struct talker, since) == 28"])


def test_array_records_need_no_rounding() -> None:
    """The kernel rounds array records up to 8 bytes; a view of other records would drift."""
    for dtype in (
        layouts.LEAF,
        layouts.DIRECTORY,
        layouts.META,
        layouts.TRACE,
        np.dtype("u8"),
        *layouts.C_STRUCTS.values(),
    ):
        if dtype not in (layouts.TRIE4_KEY, layouts.TRIE6_KEY, layouts.LITERAL_KEY, layouts.LITERAL):
            assert dtype.itemsize % 8 == 0
