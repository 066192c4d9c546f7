# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells about the program on an interface and its maps."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from xdpfw.kernel import libbpf
from xdpfw.kernel.instance import Instance
from xdpfw.kernel.learner import Learner
from xdpfw.kernel.maps import ARRAY, ARRAY_OF_MAPS, HASH, LPM_TRIE, LRU_HASH, Map
from xdpfw.kernel.port import MapFacts, ProgramFacts
from xdpfw.kernel.program import PacketProgram
from xdpfw.kernel.tables import Tables
from xdpfw.model.errors import NotFound

TYPES = {HASH: "hash", ARRAY: "array", LRU_HASH: "lru_hash", LPM_TRIE: "lpm_trie", ARRAY_OF_MAPS: "array_of_maps"}


def program_facts(
    instance: Instance, tables: Tables, learner: Learner, program: PacketProgram, seconds: float
) -> ProgramFacts:
    """Raises NotFound when nothing of ours is attached there."""
    fd = instance.running()
    if fd is None:
        raise NotFound(f"{instance.name} is not attached")
    try:
        before = after = libbpf.prog_info(fd)
        if seconds:
            before, after = _counted(fd, seconds)
    finally:
        os.close(fd)
    used = set(program.compiled.maps.values())
    maps = _facts(tables.maps, used, {name: tables.path / name for name in tables.maps})
    maps += _facts(learner.maps, used, learner.pins())
    maps += _facts(instance.maps.maps, used, instance.pins())
    since_boot = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return ProgramFacts(
        id=after.id,
        name=after.name,
        tag=after.tag,
        loaded=time.time_ns() - since_boot + after.loaded,
        instructions=after.instructions,
        machine_code=after.machine_code,
        verified=after.verified,
        compiler=program.compiled.compiler,
        features=tuple(sorted(feature.value.lower() for feature in program.features)),
        maps=tuple(maps),
        seconds=seconds,
        runs=after.runs - before.runs,
        run_ns=after.run_ns - before.run_ns,
    )


def _counted(fd: int, seconds: float) -> tuple[libbpf.ProgramInfo, libbpf.ProgramInfo]:
    """Before and after some seconds in which runs are counted."""
    statistics = libbpf.count_runs()
    try:
        before = libbpf.prog_info(fd)
        time.sleep(seconds)
        return before, libbpf.prog_info(fd)
    finally:
        os.close(statistics)


def _facts(maps: Mapping[str, Map], used: set[str], pins: Mapping[str, Path]) -> list[MapFacts]:
    """Of those that the program uses."""
    return [
        MapFacts(
            name,
            libbpf.map_id(opened.fd),
            TYPES.get(opened.spec.kind, str(opened.spec.kind)),
            opened.spec.key.itemsize,
            opened.spec.value.itemsize,
            opened.spec.entries,
            _memory(opened.fd),
            str(pins[name]),
        )
        for name, opened in maps.items()
        if name in used
    ]


def _memory(fd: int) -> int:
    """What the kernel charges for a map (proc(5), fdinfo)."""
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "memlock":
            return int(value)
    return 0
