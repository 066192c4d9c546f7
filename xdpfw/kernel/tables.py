# SPDX-License-Identifier: Apache-2.0
"""The tables that all interfaces share: making them, pinning them, finding them again."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.bpffs import remove_tree
from xdpfw.kernel.brief import Brief
from xdpfw.kernel.hits import Hits
from xdpfw.kernel.keys import directory_rows, keys_of_rows
from xdpfw.kernel.maps import Map, MapSpec, View, directory_spec, leaf_ids, leaf_shards, limiter_sets, shared_specs
from xdpfw.kernel.paged import PagedArray
from xdpfw.kernel.port import Directory, tier_of
from xdpfw.kernel.tiers import sow
from xdpfw.model.feature import Feature, Features
from xdpfw.model.limits import Limits
from xdpfw.model.prefix import FAMILIES, HOST_LENGTH, Family
from xdpfw.policy.keys import order, parents
from xdpfw.policy.ops import Ids, Keys
from xdpfw.policy.table import gather

CHANGES_BITS = 48


def layout_of(limits: Limits, cpus: int) -> int:
    """63 bits that tell whether pinned tables can be used as they are: records and sizes of all of them."""
    specs = [*shared_specs(limits, cpus), directory_spec(limits)]
    prints = ",".join(str(spec.fingerprint) for spec in specs)
    return int.from_bytes(hashlib.sha256(prints.encode()).digest()[:8]) >> 1


class Tables:
    """One numbered set of shared tables. `path` is its pin directory."""

    def __init__(self, path: Path, maps: Mapping[str, Map], limits: Limits, cpus: int) -> None:
        """Raises Refused, OSError: the directory is not readable."""
        self.path, self.limits, self.cpus = path, limits, cpus
        self.maps = dict(maps)
        self.directory = PagedArray(directory_spec(limits), path / "directory")
        self.ids = leaf_ids(limits)
        self.brief = Brief(self.maps["brief"], self.maps["leaf"])
        self.hits = Hits(self.maps["leaf_counters"], self.maps["pending"], self.ids)

    @classmethod
    def create(cls, path: Path, limits: Limits, cpus: int) -> Tables:
        """Empty tables, pinned. Raises MapFull when memory is short, KernelError; then nothing is left."""
        maps: dict[str, Map] = {}
        try:
            for spec in shared_specs(limits, cpus):
                maps[spec.name] = Map.create(spec)
            path.mkdir(parents=True)
            for name, made in maps.items():
                libbpf.pin(made.fd, path / name)
            tables = cls(path, maps, limits, cpus)
        except BaseException:
            for made in maps.values():
                made.close()
            remove_tree(path)
            raise
        tables._fill_in(layout_of(limits, cpus))
        return tables

    def _fill_in(self, layout: int) -> None:
        shards = leaf_shards(self.limits, self.cpus)
        control = self.control
        # Talkers outlive their tables: what they remember must not be taken for something of these. Ahead of what
        # others may have reached since the boot, at 64,000 changes a second.
        control["changes"] = time.monotonic_ns() // 15625
        control["leaves"], control["leaf_shards"] = self.ids, shards
        control["shared_shards"] = shards < self.cpus
        control["vectors"], control["limiter_sets"] = self.limits.vectors, limiter_sets(self.limits)
        self.maps["ban_control"].view[0]["seed"] = secrets.randbits(64)
        self.meta["layout"], self.meta["records"], self.meta["schema"] = layout, layouts.RECORDS, layouts.SCHEMA
        sow(self.maps["seeds"].view)

    @classmethod
    def open(cls, path: Path, limits: Limits, cpus: int) -> Tables | None:
        """Pinned tables that were in force and have this layout; None when they do not fit or are broken."""
        maps: dict[str, Map] = {}
        try:
            for spec in shared_specs(limits, cpus):
                maps[spec.name] = Map(spec, libbpf.get(path / spec.name))
                if spec.name == "meta" and not _fits(maps["meta"], layout_of(limits, cpus)):
                    raise OSError("another layout")
            return cls(path, maps, limits, cpus)
        except (libbpf.Refused, OSError):
            for opened in maps.values():
                opened.close()
            return None

    def close(self) -> None:
        for opened in self.maps.values():
            opened.close()
        self.directory.close()

    def pins(self) -> dict[Path, int]:
        """The descriptor of what should be at each place."""
        return {self.path / name: opened.fd for name, opened in self.maps.items()} | self.directory.pins()

    def release(self) -> None:
        """Nobody needs large ones mapped for now."""
        for opened in self.maps.values():
            opened.release()

    def descriptors(self) -> dict[str, int]:
        return {name: opened.fd for name, opened in self.maps.items()}

    # small tables, as views

    @property
    def meta(self) -> Any:
        return self.maps["meta"].view[0]

    def note_features(self, features: Features) -> None:
        """What the programs that run are made for."""
        self.meta["features"] = sum(1 << bit for bit, feature in enumerate(Feature) if feature in features)

    @property
    def noted_features(self) -> Features:
        bits = int(self.meta["features"])
        return frozenset(feature for bit, feature in enumerate(Feature) if bits >> bit & 1)

    @property
    def control(self) -> Any:
        return self.maps["control"].view[0]

    @property
    def generation(self) -> int:
        return int(self.control["generation"])

    # large tables

    def leaves_moved(self) -> None:
        """Leaves that are remembered may no longer be those of their addresses. Threads that did their part of a change
        may all call this at the same time, and make the same number of it."""
        self.control["changes"] = (int(self.control["changes"]) + 1) % (1 << CHANGES_BITS)

    def write_leaves(self, generation: int, leaves: Ids, memberships: Ids) -> None:
        self.maps["leaf"].write_column(leaves, "membership", generation, memberships)
        self.brief.refresh(generation, leaves)

    def memberships_of(self, leaves: Ids) -> Ids:
        """In the generation in force."""
        records = self.maps["leaf"].read(leaves)
        return np.ascontiguousarray(records["membership"][:, self.generation])

    def preload_rule_counts(self, counts: npt.NDArray[np.uint64]) -> None:
        """Counts of rules to go on from. `counts`: (slots, 2)"""
        with self.maps["rule_counters"].mapped() as live:
            live.view("u8")[: counts.size] += counts.reshape(-1)

    def clear_free_counts(self) -> None:
        """Of all leaves that are not in the directory; no packet may be at one of them any more."""
        with self.directory.mapped() as directory:
            free = directory["state"] == layouts.FREE
        self.hits.clear_all(free)

    # what is in them

    def listed(self, *states: int) -> dict[Family, tuple[Keys, Ids]]:
        """Prefixes in the directory in one of these states with their leaf ids, keys sorted."""
        with self.directory.mapped() as directory:
            return list_directory(directory, states)

    def live(self, family: Family) -> tuple[Ids, npt.NDArray[np.uint8]]:
        """Leaves in the directory, and how long their prefixes are."""
        with self.directory.mapped() as directory:
            there = (directory["state"] == layouts.LIVE) & (directory["family"] == family)
            leaves = np.flatnonzero(there).astype(np.uint32)
            return leaves, directory["length"][leaves]

    def list_leaves(self, family: Family, keys: Keys, leaves: Ids, state: int) -> None:
        """Note in the directory what is about to be done, or was done, to prefixes."""
        self.directory.write(leaves, directory_rows(family, keys, state))

    def tier_of(self, leaf: int) -> str:
        """Which table leads to a leaf."""
        if not leaf:
            return "none"
        [record] = self.directory.read(np.array([leaf]))
        return tier_of(6 if record["family"] == 6 else 4, int(record["length"]))

    def covers(self, family: Family, keys: Keys) -> Ids:
        """The leaf of the longest prefix in the directory, hosts apart, that contains each of these sorted keys, which
        are not live themselves; 0 where there is none."""
        with self.directory.mapped() as directory:
            live = (directory["state"] == layouts.LIVE) & (directory["family"] == family)
            leaves = np.flatnonzero(live & (directory["length"] < HOST_LENGTH[family])).astype(np.uint32)
            around = keys_of_rows(family, directory[leaves])
        both = np.concatenate((around, keys))
        sorting = order(both)
        above = parents(family, both[sorting])
        live_there = sorting < len(around)
        while len(astray := np.flatnonzero((above >= 0) & ~live_there[above])):
            above[astray] = above[above[astray]]
        found = np.where(above >= 0, leaves[np.minimum(sorting[above], len(leaves) - 1)], 0)
        answers = np.zeros(len(both), np.uint32)
        answers[sorting] = found
        return answers[len(around) :]

    def directory_now(self) -> Directory:
        found = self.listed(layouts.LIVE)
        return Directory(
            {family: keys for family, (keys, _) in found.items()},
            {family: leaves for family, (_, leaves) in found.items()},
            {family: self.memberships_of(leaves) for family, (_, leaves) in found.items()},
        )

    def count_live(self) -> dict[str, int]:
        """How many prefixes the directory has for each of hosts and tries."""
        with self.directory.mapped() as directory:
            live = directory["state"] == layouts.LIVE
            counts = {}
            for family in FAMILIES:
                ours = live & (directory["family"] == family)
                hosts = int(np.count_nonzero(ours & (directory["length"] == HOST_LENGTH[family])))
                counts[f"hosts{family}"], counts[f"trie{family}"] = hosts, int(np.count_nonzero(ours)) - hosts
        return counts

    def referenced(self) -> tuple[Ids, Ids]:
        """Memberships and classes that the generation in force can reach."""
        with self.maps["membership"].mapped() as live:
            members = live.copy()
        with self.directory.mapped() as directory:
            held = np.flatnonzero(directory["state"] == layouts.LIVE).astype(np.uint32)
        pending = np.flatnonzero(np.bincount(self.memberships_of(held)))
        reached = np.zeros(len(members), bool)
        reached[0] = True
        while len(pending):
            reached[pending] = True
            following = np.flatnonzero(np.bincount(members["next"][pending]))
            pending = following[~reached[following]]
        ids = np.flatnonzero(reached).astype(np.uint32)
        return ids, np.flatnonzero(np.bincount(members["class"][ids])).astype(np.uint32)


def list_directory(directory: View, states: Sequence[int]) -> dict[Family, tuple[Keys, Ids]]:
    """Prefixes in one of these states with their leaf ids, per family, keys sorted."""
    found: dict[Family, tuple[Keys, Ids]] = {}
    state = np.ascontiguousarray(directory["state"])
    wanted = np.logical_or.reduce([state == each for each in states])
    for family in FAMILIES:
        leaves = np.flatnonzero(wanted & (directory["family"] == family))
        keys = keys_of_rows(family, gather(directory, leaves))
        sorting = order(keys)
        found[family] = keys[sorting], leaves[sorting].astype(np.uint32)
    return found


def _fits(meta: Map, layout: int) -> bool:
    record = meta.view[0]
    return bool(record["layout"] == layout and record["ready"])


def pin_names(specs: list[MapSpec]) -> dict[str, str]:
    """Pin names that change with the layout, so that a later version takes over exactly what it understands."""
    return {spec.name: f"{spec.name}-{spec.fingerprint:08x}" for spec in specs}
