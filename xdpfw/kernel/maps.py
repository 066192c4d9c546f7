# SPDX-License-Identifier: Apache-2.0
"""The maps: kinds, sizes, creation, and arrays as numpy views of the kernel's own memory."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts, libbpf
from xdpfw.model.errors import MapFull
from xdpfw.model.limits import Limits
from xdpfw.model.policy import MAX_ROWS, MAX_SLOTS
from xdpfw.model.reason import MAX_REASONS
from xdpfw.policy.match import LINE, MAX_LITERALS, VALUES

View = npt.NDArray[Any]
Indexes = npt.NDArray[np.integer[Any]]

HASH, ARRAY, LRU_HASH, LPM_TRIE, ARRAY_OF_MAPS = 1, 2, 9, 11, 12
NO_PREALLOC, MMAPABLE = 1 << 0, 1 << 10
CAUSES = MAX_REASONS + MAX_SLOTS
INDEX = np.dtype("u4")

LEAF_COUNTER_BYTES = 256 << 20
TALKER_BYTES = 96 << 20
EVENT_BYTES = 16 << 20
"""Budgets for tables with a part for each CPU: of all leaf counters, of one interface's talkers, of events."""

SMALL_BYTES, KEPT_BYTES = 1 << 20, 8 << 20
"""Arrays up to the former are mapped for good, those up to the latter from when they are needed until `release`."""

FEW = 256
"""Records that cost less to read or write one by one than to map a large array for."""


@dataclass(frozen=True, slots=True)
class MapSpec:
    """`setting` names the limit that sizes it, if one does. `reserved`: it has memory for all entries from the
    start, so that the packet path may insert. `inner`: what the maps in a map of maps are like. `often`: all of it is
    read every second."""

    name: str
    kind: int
    key: np.dtype[Any]
    value: np.dtype[Any]
    entries: int
    setting: str = ""
    reserved: bool = False
    inner: MapSpec | None = None
    often: bool = False

    @property
    def bytes(self) -> int:
        return self.entries * self.value.itemsize

    @property
    def flags(self) -> int:
        if self.kind == ARRAY:
            return MMAPABLE
        return 0 if self.reserved or self.inner or self.kind == LRU_HASH else NO_PREALLOC

    @property
    def fingerprint(self) -> int:
        """Tells layouts and sizes apart: maps of the same fingerprint can stand for each other."""
        text = f"{self.name} {self.kind} {self.key.descr} {self.value.descr} {self.entries} {self.flags}"
        if self.inner:
            text += f" of {self.inner.fingerprint}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


PAGE_LINES, PAGE_SLOTS = 4096, 256
PAGE = MapSpec("page", ARRAY, INDEX, layouts.PAGE_LINE, PAGE_LINES)
PAGED = ("flats4", "buckets4", "buckets6")
"""Tables that grow by pages (kernel/pages.py)."""


def possible_cpus() -> int:
    """Highest possible CPU number + 1: per-CPU parts are indexed by CPU number."""
    listing = Path("/sys/devices/system/cpu/possible").read_text()
    return int(listing.strip().replace(",", "-").split("-")[-1]) + 1


def leaf_shards(limits: Limits, cpus: int) -> int:
    return max(1, min(cpus, LEAF_COUNTER_BYTES // (layouts.LEAF_COUNTER.itemsize * leaf_ids(limits))))


def leaf_ids(limits: Limits) -> int:
    """Leaf ids run from 0 (none) to limits.leaves."""
    return limits.leaves + 1


def brief_records(leaves: int) -> int:
    return -(-leaves // (layouts.BRIEF_LEAVES * layouts.BRIEF_BLOCKS))


def talker_buckets(limits: Limits, cpus: int) -> int:
    """Buckets on each CPU: a power of two within the limit and the budget."""
    size = layouts.BUCKET.itemsize + layouts.TALKER_TAGS.itemsize
    buckets = min(limits.talkers // layouts.TALKER_WAYS, TALKER_BYTES // (size * cpus))
    return 1 << max(0, buckets.bit_length() - 1)


def event_slots(cpus: int) -> int:
    """Of each CPU's ring of events: a power of two within the budget."""
    return min(1024, 1 << (EVENT_BYTES // (layouts.EVENT.itemsize * cpus)).bit_length() - 1)


def limiter_sets(limits: Limits) -> int:
    return max(1, limits.limited // layouts.LIMITER_WAYS)


def shared_specs(limits: Limits, cpus: int) -> list[MapSpec]:
    leaves = leaf_ids(limits)
    return [
        MapSpec("meta", ARRAY, INDEX, layouts.META, 1),
        MapSpec("control", ARRAY, INDEX, layouts.CONTROL, 1),
        MapSpec("hosts4", HASH, layouts.HOST4_KEY, layouts.HOST_LEAF, limits.hosts4, "hosts4"),
        MapSpec("hosts6", HASH, layouts.HOST6_KEY, layouts.HOST_LEAF, limits.hosts6, "hosts6"),
        MapSpec("trie4", LPM_TRIE, layouts.TRIE4_KEY, layouts.HOST_LEAF, limits.leaves, "leaves"),
        MapSpec("trie6", LPM_TRIE, layouts.TRIE6_KEY, layouts.HOST_LEAF, limits.leaves, "leaves"),
        MapSpec("leaf", ARRAY, INDEX, layouts.LEAF, leaves, "leaves"),
        MapSpec("brief", ARRAY, INDEX, layouts.BRIEF, brief_records(leaves), "leaves"),
        MapSpec("membership", ARRAY, INDEX, layouts.MEMBERSHIP, limits.memberships + 1, "memberships"),
        MapSpec("policy", ARRAY, INDEX, layouts.POLICY, 2),
        MapSpec("vector", ARRAY, INDEX, layouts.VECTOR, 2 * limits.vectors, "vectors"),
        MapSpec("value_vector", ARRAY, INDEX, layouts.VALUE_LINE, 2 * VALUES // LINE),
        MapSpec("literals", LPM_TRIE, layouts.LITERAL_KEY, layouts.LITERAL, 2 * MAX_LITERALS),
        MapSpec("row", ARRAY, INDEX, layouts.ROW, 2 * MAX_ROWS),
        MapSpec("log_states", ARRAY, INDEX, layouts.LOG_STATE, cpus),
        MapSpec("log_seen", ARRAY, INDEX, layouts.LOG_SEEN, cpus * layouts.SEEN_SOURCES),
        MapSpec("log_rates", ARRAY, INDEX, layouts.LOG_RATE, MAX_SLOTS),
        MapSpec("events", ARRAY, INDEX, layouts.EVENT, cpus * event_slots(cpus)),
        MapSpec("rule_counters", ARRAY, INDEX, layouts.RULE_COUNTER, cpus * MAX_SLOTS),
        MapSpec("limits", ARRAY, INDEX, layouts.LIMIT, 2 * MAX_ROWS),
        MapSpec("rule_levels", ARRAY, INDEX, layouts.RULE_LEVEL, MAX_SLOTS),
        MapSpec("limiter_tags", ARRAY, INDEX, layouts.LIMITER_TAGS, limiter_sets(limits), "limited"),
        MapSpec("limiter", ARRAY, INDEX, layouts.LIMITER_SET, limiter_sets(limits), "limited"),
        MapSpec("limit_stats", ARRAY, INDEX, layouts.LIMIT_STATS, cpus),
        MapSpec("bans", HASH, layouts.BAN_KEY, layouts.BAN, limits.bans, "bans", reserved=True),
        MapSpec("ban_control", ARRAY, INDEX, layouts.BAN_CONTROL, 1),
        MapSpec("ban_place", ARRAY, INDEX, layouts.BAN_PLACE, 2 * MAX_SLOTS),
        MapSpec("ban_gate", ARRAY, INDEX, layouts.GATE_LINE, layouts.GATE_LINES),
        MapSpec("leaf_counters", ARRAY, INDEX, layouts.LEAF_COUNTER, leaf_shards(limits, cpus) * leaves, "leaves"),
        MapSpec("pending", ARRAY, INDEX, layouts.PENDING, cpus),
        MapSpec("seeds", ARRAY, INDEX, layouts.SEEDS, 1),
        MapSpec("root4", ARRAY, INDEX, layouts.ROOT, 1 << 16),
        MapSpec("root6", ARRAY, INDEX, layouts.ROOT, 1 << 16),
        MapSpec("top4", ARRAY, INDEX, layouts.CELLS, 1 << 10),
        MapSpec("gate4", ARRAY, INDEX, layouts.CELLS, 1 << 19),
        MapSpec("gate6", ARRAY, INDEX, layouts.CELLS, 1 << 19),
        MapSpec("filter6", ARRAY, INDEX, layouts.CELLS, 1 << 17),
        *(MapSpec(name, ARRAY_OF_MAPS, INDEX, INDEX, PAGE_SLOTS, inner=PAGE) for name in PAGED),
    ]


def directory_spec(limits: Limits) -> MapSpec:
    """Of kernel/paged.py."""
    return MapSpec("directory", ARRAY, INDEX, layouts.DIRECTORY, leaf_ids(limits), "leaves")


def interface_specs(limits: Limits, cpus: int) -> list[MapSpec]:
    buckets = cpus * talker_buckets(limits, cpus)
    return [
        MapSpec("config", ARRAY, INDEX, layouts.CONFIG, 1),
        MapSpec("scratch", ARRAY, INDEX, layouts.SCRATCH, cpus),
        MapSpec("asked", ARRAY, INDEX, layouts.ASKED, cpus),
        MapSpec("log_wish", ARRAY, INDEX, layouts.LOG_WISH, 1),
        MapSpec("interface", ARRAY, INDEX, layouts.INTERFACE, 1),
        MapSpec("tally", ARRAY, INDEX, layouts.TALLY, cpus * CAUSES),
        MapSpec("talkers", ARRAY, INDEX, layouts.BUCKET, buckets, "talkers", often=True),
        MapSpec("talker_tags", ARRAY, INDEX, layouts.TALKER_TAGS, buckets, "talkers"),
    ]


def flow_spec(limits: Limits) -> MapSpec:
    return MapSpec("flows", LRU_HASH, layouts.FLOW_KEY, layouts.FLOW, limits.flows, "flows")


def outgoing_spec(cpus: int) -> MapSpec:
    return MapSpec("outgoing", ARRAY, INDEX, layouts.ASKED, cpus)


LEARNER_MAPS = ("flows", "outgoing")
TRACE_SPEC = MapSpec("trace", ARRAY, INDEX, layouts.TRACE, 1)
SINGLE = frozenset(
    spec.name for spec in [*shared_specs(Limits(), 2), *interface_specs(Limits(), 2)]
    if spec.kind == ARRAY and spec.entries == 1
)  # fmt: skip
"""Arrays of one record."""
PROGRAM_MAPS = [
    spec.name for spec in [*shared_specs(Limits(), 1), *interface_specs(Limits(), 1), flow_spec(Limits()), TRACE_SPEC]
]


class Map:
    """One map, open. Arrays are the kernel's own memory, shared and live.

    What is mapped counts as this process's memory from the first moment. So only small arrays, and those that are read
    often, are mapped for good; another one is mapped for a moment (`mapped`), or read and written record by record.
    """

    def __init__(self, spec: MapSpec, fd: int) -> None:
        self.spec, self.fd = spec, fd
        self._kept = spec.kind == ARRAY and (spec.often or spec.bytes <= KEPT_BYTES)
        self._view = map_memory(spec, fd) if self._kept and spec.bytes <= SMALL_BYTES else None

    @classmethod
    def create(cls, spec: MapSpec) -> Map:
        """Raises MapFull when memory is short, naming the setting that sizes the map."""
        size = spec.value.itemsize
        inner = cls.create(spec.inner) if spec.inner else None
        try:
            fd = libbpf.map_create(
                spec.kind, spec.name, spec.key.itemsize, size, spec.entries, spec.flags, inner.fd if inner else 0
            )
        except libbpf.Refused as error:
            if error.errno not in (errno.ENOMEM, errno.E2BIG):
                raise
            hint = f"; lower the limit {spec.setting}" if spec.setting else ""
            raise MapFull(
                f"no memory for the map {spec.name}: {spec.entries} entries, {spec.bytes >> 20} MB{hint}"
            ) from error
        finally:
            if inner:
                inner.close()
        return cls(spec, fd)

    @property
    def view(self) -> View:
        """All records of an array of at most KEPT_BYTES, or that is read often, live. Keep no reference to them."""
        assert self._kept, f"{self.spec.name} is too large to be mapped for good"
        view = self._view
        if view is None:
            view = self._view = map_memory(self.spec, self.fd)
        return view

    def release(self) -> None:
        """Nobody needs it mapped, unless it is small."""
        if self.spec.bytes > SMALL_BYTES and self.fd >= 0:
            self._view = None

    @contextmanager
    def mapped(self) -> Iterator[View]:
        """All records of an array. Do not keep a reference to them."""
        view = self.view if self.spec.often else self._view
        yield map_memory(self.spec, self.fd) if view is None else view

    def read(self, at: Indexes) -> View:
        """Copies of some records of an array."""
        view = self._view
        if view is not None:
            return view[at]
        if len(at) > FEW:
            first, records = self._window(at)
            return records[at - first]
        copies = np.empty(len(at), self.spec.value)
        for position, index in enumerate(at.tolist()):
            libbpf.map_lookup(self.fd, libbpf.u32(index), copies[position : position + 1])
        return copies

    def write(self, at: Indexes, records: View) -> None:
        """Raises IndexError, and then nothing is written."""
        if len(at) and int(at.max()) >= self.spec.entries:
            raise IndexError(f"record {at.max()} of {self.spec.name}, which has {self.spec.entries}")
        view = self._view
        if view is not None:
            view[at] = records
            return
        if len(at) > FEW:
            first, live = self._window(at)
            whole = np.dtype((np.void, self.spec.value.itemsize))  # without fields, records are moved whole
            live.view(whole)[at - first] = records.view(whole)
            return
        for position, index in enumerate(at.tolist()):
            libbpf.map_update(self.fd, libbpf.u32(index), records[position : position + 1])

    def write_column(self, at: Indexes, name: str, column: int, values: View) -> None:
        """One item of a field that is an array. Raises IndexError, and then nothing is written."""
        if len(at) and int(at.max()) >= self.spec.entries:
            raise IndexError(f"record {at.max()} of {self.spec.name}, which has {self.spec.entries}")
        view = self._view
        if view is None and len(at) <= FEW:
            records = self.read(at)
            records[name][:, column] = values
            self.write(at, records)
            return
        first, live = self._window(at) if view is None else (0, view)
        live[name][at - first, column] = values

    def _window(self, at: Indexes) -> tuple[int, View]:
        """The records from the lowest to the highest index, mapped, and the lowest: the kernel sets up every page of a
        mapping at once, and the pieces of a long change are close together."""
        first, last = int(at.min()), int(at.max())
        return first, map_memory(self.spec, self.fd, first, last - first + 1)

    def close(self) -> None:
        """A reader who is at it just then finds zeros: its descriptor may mean something else a moment later."""
        self._view = np.zeros(self.spec.entries, self.spec.value) if self._kept else None
        os.close(self.fd)
        self.fd = -1


def map_memory(spec: MapSpec, fd: int, first: int = 0, count: int | None = None) -> View:
    count = spec.entries if count is None else count
    begin, end = (record * spec.value.itemsize for record in (first, first + count))
    page = begin // mmap.PAGESIZE * mmap.PAGESIZE
    length = -(-(end - page) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=page)
    return np.frombuffer(memory, spec.value, count, begin - page)
