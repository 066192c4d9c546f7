# SPDX-License-Identifier: Apache-2.0
"""How many entries there are in hosts and tries, without going through them.

The kernel tells what memory a map takes (Linux 6.4: by entry). What an empty one takes, and what each entry does, is
found out at a moment when it is known how many there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from xdpfw.kernel import libbpf
from xdpfw.kernel.finding import Finding
from xdpfw.kernel.maps import Map

GAUGED = ("hosts4", "hosts6", "trie4", "trie6")


class Gauges:
    """`findings` tells nothing before the first `set`, nor on kernels that do not count."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        self._maps = maps
        self._each = {name: _bytes_of_one(maps[name]) for name in GAUGED}
        self._empty: dict[str, int] = {}

    def set(self, counts: Mapping[str, int]) -> None:
        """There are so many."""
        for name, each in self._each.items():
            if each:
                self._empty[name] = memory(self._maps[name].fd) - each * counts[name]

    def findings(self, counts: Mapping[str, int]) -> Iterator[Finding]:
        """Where there are not so many. Which are missing, or too many, a look at all of them tells."""
        for name, empty in self._empty.items():
            there = (memory(self._maps[name].fd) - empty) // self._each[name]
            if there != counts[name]:
                told = f"holds {there:,} entries and should hold {counts[name]:,}"
                yield Finding.one(name, told)


def memory(fd: int) -> int:
    """Bytes that the kernel says that a map takes."""
    lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("memlock:"))


def _bytes_of_one(like: Map) -> int:
    """What an entry takes; 0 where the kernel does not count them."""
    small = Map.create(replace(like.spec, name="gauge", entries=4))
    try:
        before, key = memory(small.fd), np.zeros(1, like.spec.key)
        libbpf.map_update(small.fd, key, libbpf.u32(1))
        return memory(small.fd) - before
    finally:
        os.close(small.fd)
