# SPDX-License-Identifier: Apache-2.0
"""Maps' descriptors into compiled instructions (Documentation/bpf/standardization/instruction-set.rst).

An array of one record needs no look-up: its address is known when the program is loaded. So `map.lookup(&zero)` becomes
that address wherever the compiler has left the call recognisable, and the kernel throws out the check for NULL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.maps import SINGLE

INSTRUCTION = np.dtype([("code", "u1"), ("registers", "u1"), ("offset", "<i2"), ("immediate", "<i4")])
Code = npt.NDArray[Any]

LOAD_IMMEDIATE_64, CALL, MOVE_64 = 0x18, 0x85, 0xBF
LOAD, LOAD_MEMORY, ALU_32, JUMP, JUMP_32, ALU_64 = 0, 1, 4, 5, 6, 7
"""Classes of instructions: the low three bits of their code."""
LOOKUP = 1
"""The number of bpf_map_lookup_elem."""
MAP_VALUE = 2
"""What a 64-bit immediate is, in place of its source register: the address of an array's first record."""


def linked(instructions: bytes, maps: Mapping[int, str], descriptors: Mapping[str, int]) -> bytes:
    """`maps`: {index of the instruction: name of the map that it loads}."""
    code = np.frombuffer(instructions, INSTRUCTION).copy()
    targets = _jump_targets(code)
    for index, name in maps.items():
        code[index]["immediate"] = descriptors[name]
        call = _lookup_of(code, index, targets) if name in SINGLE else None
        if call is not None:
            code[index]["registers"] = 1 | MAP_VALUE << 4
            code[call] = (MOVE_64, 1 << 4, 0, 0)
    return code.tobytes()


def _jump_targets(code: Code) -> set[int]:
    classes = code["code"] & 7
    jumps = np.flatnonzero(((classes == JUMP) | (classes == JUMP_32)) & (code["code"] != CALL))
    return set((jumps + 1 + code["offset"][jumps]).tolist())


def _lookup_of(code: Code, index: int, targets: set[int]) -> int | None:
    """The call that looks up the map loaded into the first argument here, if nothing can come in between."""
    if code[index]["registers"] & 0xF != 1:
        return None
    at = index + 2
    while at < len(code) and at not in targets:
        kind, registers = int(code[at]["code"]), int(code[at]["registers"])
        if kind == CALL:
            return at if code[at]["immediate"] == LOOKUP and registers >> 4 == 0 else None
        writes = kind & 7 in (LOAD, LOAD_MEMORY, ALU_32, ALU_64)
        if kind & 7 in (JUMP, JUMP_32) or (writes and registers & 0xF == 1):
            return None
        at += 2 if kind == LOAD_IMMEDIATE_64 else 1
    return None
