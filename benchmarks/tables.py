# SPDX-License-Identifier: Apache-2.0
"""What a daemon's tables take of the kernel's memory, by what they are for."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from xdpfw.kernel import libbpf

UNTOLD, COUNTERS, OTHERS = "hosts and tries", "counters of entries", "others"
"""Of the first the kernel tells less than they take: not their inner nodes, nor how it rounds."""
KINDS = {
    UNTOLD: ("hosts4", "hosts6", "trie4", "trie6"),
    "tiers and gates": ("root4", "root6", "top4", "gate4", "gate6", "filter6", "flats4", "buckets4", "buckets6"),
    "directory": ("directory",),
    "leaves": ("leaf", "brief", "membership"),
    "vectors": ("vector", "value_vector"),
    COUNTERS: ("leaf_counters", "pending"),
    "talkers": ("talkers", "talker_tags"),
}
PAGES = "-pages"


def held(pins: Path, charged: float) -> dict[str, float]:
    """Megabytes of each kind of table that is pinned there, of so many that all of them take."""
    kind_of = {table: kind for kind, tables in KINDS.items() for table in tables}
    found: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    for pin in pins.rglob("*"):
        if pin.is_file():
            name = pin.parent.name.removesuffix(PAGES) if pin.name.isdigit() else pin.name.partition("-")[0]
            found[kind_of.get(name, OTHERS)] += _bytes(pin)
    sizes = {kind: size / 1e6 for kind, size in found.items()}
    return sizes | {UNTOLD: charged - sum(sizes.values()) + sizes[UNTOLD]}


def _bytes(pin: Path) -> int:
    """0 for what is no table."""
    fd = libbpf.get(pin)
    try:
        told = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    finally:
        os.close(fd)
    fields = dict(line.split(":", 1) for line in told)
    return int(fields["memlock"]) if "map_type" in fields else 0
