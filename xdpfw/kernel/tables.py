# SPDX-License-Identifier: Apache-2.0
"""The tables that all interfaces share: making them, pinning them, finding them again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.keys import directory_rows, keys_of_rows
from xdpfw.kernel.maps import Map, MapSpec, View, leaf_ids, leaf_shards, shared_specs
from xdpfw.kernel.port import Directory
from xdpfw.model.limits import MAX_CLASSES, Limits
from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy.ops import Ids, Keys


def layout_of(limits: Limits, cpus: int) -> int:
    """63 bits that tell whether pinned tables can be used as they are: records and sizes of all of them."""
    prints = ",".join(str(spec.fingerprint) for spec in shared_specs(limits, cpus))
    return int.from_bytes(hashlib.sha256(prints.encode()).digest()[:8]) >> 1


class Tables:
    """One numbered set of shared tables. `path` is its pin directory."""

    def __init__(self, path: Path, maps: Mapping[str, Map], limits: Limits, cpus: int) -> None:
        self.path, self.limits, self.cpus = path, limits, cpus
        self.maps = dict(maps)
        self.ids = leaf_ids(limits)

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
        except BaseException:
            for made in maps.values():
                made.close()
            if path.is_dir():
                for child in path.iterdir():
                    child.unlink()
                path.rmdir()
            raise
        tables = cls(path, maps, limits, cpus)
        tables._fill_in(layout_of(limits, cpus))
        return tables

    def _fill_in(self, layout: int) -> None:
        shards = leaf_shards(self.limits, self.cpus)
        control = self.control
        control["leaves"], control["leaf_shards"] = self.ids, shards
        control["shared_shards"] = shards < self.cpus
        self.meta["layout"], self.meta["records"] = layout, layouts.RECORDS

    @classmethod
    def open(cls, path: Path, limits: Limits, cpus: int) -> Tables | None:
        """Pinned tables that were in force and have this layout; None when they do not fit or are broken."""
        maps: dict[str, Map] = {}
        try:
            for spec in shared_specs(limits, cpus):
                maps[spec.name] = Map(spec, libbpf.get(path / spec.name))
                if spec.name == "meta" and not _fits(maps["meta"], layout_of(limits, cpus)):
                    raise OSError("another layout")
        except (libbpf.Refused, OSError):
            for opened in maps.values():
                opened.close()
            return None
        return cls(path, maps, limits, cpus)

    def close(self) -> None:
        for opened in self.maps.values():
            opened.close()

    def descriptors(self) -> dict[str, int]:
        return {name: opened.fd for name, opened in self.maps.items()}

    # views

    def view(self, name: str) -> View:
        return self.maps[name].view

    @property
    def meta(self) -> Any:
        return self.view("meta")[0]

    @property
    def control(self) -> Any:
        return self.view("control")[0]

    @property
    def generation(self) -> int:
        return int(self.control["generation"])

    def leaf(self, generation: int) -> npt.NDArray[np.uint32]:
        memberships: npt.NDArray[np.uint32] = self.view("leaf")["membership"].reshape(2, self.ids)[generation]
        return memberships

    def vector(self, generation: int) -> npt.NDArray[np.uint64]:
        vectors: npt.NDArray[np.uint64] = self.view("vector").reshape(2, MAX_CLASSES)[generation]
        return vectors

    @property
    def leaf_counters(self) -> View:
        """(shards, leaf ids)"""
        return self.view("leaf_counters").reshape(-1, self.ids)

    @property
    def directory(self) -> View:
        return self.view("directory")

    def counts_of(self, leaves: Ids) -> npt.NDArray[np.uint64]:
        """(n, 2): packets and bytes, summed over the shards."""
        shards = self.view("leaf_counters").view("u8").reshape(-1, self.ids, 2)
        summed = np.zeros((len(leaves), 2), np.uint64)
        for shard in shards:
            summed += shard[leaves]
        return summed

    # what is in them

    def listed(self, *states: int) -> dict[Family, tuple[Keys, Ids]]:
        """Prefixes in the directory in one of these states with their leaf ids, keys sorted."""
        return self.list_directory(self.directory, states)

    @staticmethod
    def list_directory(directory: View, states: Sequence[int]) -> dict[Family, tuple[Keys, Ids]]:
        found: dict[Family, tuple[Keys, Ids]] = {}
        wanted = np.isin(directory["state"], states)
        for family in FAMILIES:
            leaves = np.flatnonzero(wanted & (directory["family"] == family)).astype(np.uint32)
            keys = keys_of_rows(family, directory[leaves])
            order = np.argsort(keys, kind="stable")
            found[family] = keys[order], leaves[order]
        return found

    def list_leaves(self, family: Family, keys: Keys, leaves: Ids, state: int) -> None:
        """Note in the directory what is about to be done, or was done, to prefixes."""
        self.directory[leaves] = directory_rows(family, keys, state)

    def mark(self, leaves: Ids, state: int) -> None:
        self.directory["state"][leaves] = state

    def directory_now(self) -> Directory:
        found = self.listed(layouts.LIVE)
        in_force = self.leaf(self.generation)
        return Directory(
            {family: keys for family, (keys, _) in found.items()},
            {family: leaves for family, (_, leaves) in found.items()},
            {family: in_force[leaves] for family, (_, leaves) in found.items()},
        )

    def referenced(self) -> tuple[Ids, Ids]:
        """Memberships and classes that the generation in force can reach."""
        members = self.view("membership")
        live = self.directory["state"] == layouts.LIVE
        pending = np.unique(self.leaf(self.generation)[live])
        reached = np.zeros(len(members), bool)
        reached[0] = True
        while len(pending):
            reached[pending] = True
            following = np.unique(members["next"][pending])
            pending = following[~reached[following]]
        ids = np.flatnonzero(reached).astype(np.uint32)
        return ids, np.unique(members["class"][ids]).astype(np.uint32)


def _fits(meta: Map, layout: int) -> bool:
    record = meta.view[0]
    return bool(record["layout"] == layout and record["ready"])


def pin_names(specs: list[MapSpec]) -> dict[str, str]:
    """Pin names that change with the layout, so that a later version takes over exactly what it understands."""
    return {spec.name: f"{spec.name}-{spec.fingerprint:08x}" for spec in specs}
