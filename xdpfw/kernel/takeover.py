# SPDX-License-Identifier: Apache-2.0
"""What a starting daemon does with the pins that it finds: adopt them, or take their place without a gap."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.ban_maps import BanMaps
from xdpfw.kernel.bpffs import Pins
from xdpfw.kernel.hits import Hits
from xdpfw.kernel.keys import as_bytes
from xdpfw.kernel.maps import ARRAY, INDEX, Map, MapSpec, View, directory_spec, shared_specs
from xdpfw.kernel.paged import PagedArray
from xdpfw.kernel.port import Directory, Started
from xdpfw.kernel.tables import Tables, list_directory
from xdpfw.model.errors import Conflict
from xdpfw.model.limits import Limits
from xdpfw.model.policy import MAX_SLOTS
from xdpfw.model.prefix import FAMILIES

META = MapSpec("meta", ARRAY, INDEX, layouts.META, 1)


def find(pins: Pins, limits: Limits, cpus: int) -> tuple[Tables | None, str]:
    """The newest pinned tables that fit, or None and why (nothing to say when there were none).

    Raises Conflict: a newer version pinned them.
    """
    numbered = pins.tables()
    for path in numbered.values():
        _refuse_newer(path, pins)
    for number in sorted(numbered, reverse=True):
        if tables := Tables.open(numbered[number], limits, cpus):
            return tables, ""
    if not numbered:
        return None, ""
    return None, "the pinned tables have another layout or other sizes; new ones take their place"


def _refuse_newer(path: Path, pins: Pins) -> None:
    try:
        fd = libbpf.get(path / "meta")
    except libbpf.Refused:
        return  # broken, or not whole
    with contextlib.closing(Map(META, fd)) as meta:
        schema = int(meta.view[0]["schema"])
    if schema > layouts.SCHEMA:
        raise Conflict(
            f"the filters that are in force were pinned by a newer xdpfw (schema {schema}; this one knows "
            f"{layouts.SCHEMA}), and are left as they are: start that version again, or take them off first, so that "
            f"nothing is filtered until this one has started: xdpfw detach --all --offline (or rm -r {pins.base})"
        )


def started(tables: Tables, reason: str) -> Started:
    """What these tables hold, or, when nothing could be adopted, that they hold nothing, and why."""
    meta = tables.meta
    if not meta["ready"]:
        return nothing(reason)
    memberships, classes = tables.referenced()
    return Started(
        adopted=True,
        # What was cut off in the middle is no revision's state.
        revision=0 if meta["applying"] else int(meta["revision"]),
        generation=tables.generation,
        directory=tables.directory_now(),
        memberships=memberships,
        classes=classes,
        features=tables.noted_features,
    )


def nothing(reason: str = "") -> Started:
    """Of tables that are empty."""
    no = np.empty(0, np.uint32)
    none = dict.fromkeys(FAMILIES, no)
    empty = {family: np.empty(0, "S5" if family == 4 else "S17") for family in FAMILIES}
    return Started(False, 0, 0, Directory(empty, none, none), no, no, reason)


def others(pins: Pins, current: Path) -> list[Path]:
    """Table directories that are not the current one, newest first."""
    numbered = pins.tables()
    return [numbered[number] for number in sorted(numbered, reverse=True) if numbered[number] != current]


def carry_over(tables: Tables, bans: BanMaps, old: list[Path]) -> None:
    """Give prefixes and rules in new tables the counts that they have in old ones, and put in the bans of these. No
    packet counts in the new ones yet."""
    for path in old:
        with contextlib.suppress(libbpf.Refused, OSError), contextlib.closing(_Counted(path)) as counted:
            if counted.readable:
                counted.copy_to(tables)
                bans.adopt(*counted.bans())
                return


class _Counted:
    """Directory and counters of older tables, whatever their sizes."""

    def __init__(self, path: Path) -> None:
        specs = {spec.name: spec for spec in shared_specs(Limits(), 1)}
        self._maps: dict[str, Map] = {}
        self.readable = True
        names = ["meta", "leaf", "leaf_counters", "rule_counters", "bans"]
        names += ["pending"] if (path / "pending").exists() else []
        for name in names:
            fd = libbpf.get(path / name)
            value_size, entries = libbpf.map_info(fd)
            self._maps[name] = Map(replace(specs[name], entries=entries), fd)
            self.readable = self.readable and value_size == specs[name].value.itemsize
        spec = replace(directory_spec(Limits()), entries=self._maps["leaf"].spec.entries)
        self._directory = PagedArray(spec, path / spec.name)
        if self.readable:
            meta = self._maps["meta"].view[0]
            self.readable = bool(meta["ready"] and meta["records"] == layouts.RECORDS)

    def copy_to(self, tables: Tables) -> None:
        with self._directory.mapped() as directory:
            hits = Hits(self._maps["leaf_counters"], self._maps.get("pending"), len(directory))
            then = list_directory(directory, (layouts.LIVE, layouts.DELETING))
            now = tables.listed(layouts.LIVE)
            for family in FAMILIES:
                old_keys, old_leaves = then[family]
                keys, leaves = now[family]
                _, at_old, at_new = np.intersect1d(
                    _fixed(as_bytes(family, old_keys)), _fixed(as_bytes(family, keys)), True, True
                )
                tables.hits.preload(leaves[at_new], hits.read(old_leaves[at_old]))

        with self._maps["rule_counters"].mapped() as live:
            tables.preload_rule_counts(live.view("u8").reshape(-1, MAX_SLOTS, 2).sum(0, dtype=np.uint64))

    def bans(self) -> tuple[View, View]:
        table = self._maps["bans"]
        return libbpf.map_read(table.fd, table.spec.entries, layouts.BAN_KEY, layouts.BAN)

    def close(self) -> None:
        for opened in self._maps.values():
            opened.close()
        self._directory.close()


def _fixed(rows: np.ndarray) -> np.ndarray:
    """Rows of bytes as single items that compare whole, trailing zeros included."""
    return np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").reshape(-1)
