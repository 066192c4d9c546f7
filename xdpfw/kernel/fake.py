# SPDX-License-Identifier: Apache-2.0
"""The kernel port in memory: a pure model of the packet path's tables, for tests without a kernel.

It performs every operation exactly as the real adapter must, refuses what the real tables could not hold, and
insists on the order of operations that `policy/ops.py` promises. Tests set links and counters, let frames be
`receive`d, count map operations, and inject failures.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.fake_bans import FakeBans
from xdpfw.kernel.fake_events import FakeEvents
from xdpfw.kernel.fake_judge import brief, judge
from xdpfw.kernel.fake_neighbours import FakeNeighbours
from xdpfw.kernel.fake_rules import FakeRules
from xdpfw.kernel.fake_tables import Tables, Talker, as_ids, directory_of, packed_keys, talker_table
from xdpfw.kernel.fake_verify import FakeVerify
from xdpfw.kernel.port import (
    TALLY_COLUMNS,
    Brief,
    Judgement,
    MapFill,
    ProgramFacts,
    Started,
    TalkerTable,
)
from xdpfw.model.errors import Conflict, KernelError, MapFull, NotFound
from xdpfw.model.feature import Feature, Features
from xdpfw.model.interface import Attachment, AttachMode, ForeignProgram, Link
from xdpfw.model.limits import Limits
from xdpfw.model.policy import MAX_SLOTS
from xdpfw.model.prefix import FAMILIES, HOST_LENGTH, Family
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict
from xdpfw.policy.ops import (
    ClearLeaves,
    ClearRules,
    DeletePrefixes,
    Flip,
    Grace,
    Ids,
    InsertPrefixes,
    Keys,
    Op,
    WriteLeaves,
    WriteMemberships,
    WritePolicy,
    WriteVectors,
)


def fake_link(name: str, index: int = 2, *, mtu: int = 1500, driver: str = "veth") -> Link:
    return Link(name, index, f"02:00:00:00:00:{index:02x}", mtu, driver, True, None)


class FakeKernel(FakeNeighbours, FakeEvents, FakeVerify):
    """`operations` lists every op performed; `map_operations` counts them: one per key inserted or deleted,
    one for any other op, however many records it writes. `graces` counts waits."""

    def __init__(
        self,
        links: Sequence[Link] = (),
        limits: Limits | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        FakeNeighbours.__init__(self)
        FakeEvents.__init__(self)
        self.links: dict[str, Link] = {link.name: link for link in links}
        self.limits = limits or Limits()
        self.clock = clock
        self.tables = Tables()
        self.bans = FakeBans(self.limits.bans, lambda: self.clock())
        self.operations: list[Op] = []
        self.map_operations = 0
        self.graces = 0
        self.foreign: dict[str, ForeignProgram] = {}
        self.native_refused: dict[str, str] = {}
        self.unmended: dict[str, str] = {}
        self.leaf_counts: dict[int, list[int]] = {}
        self.rule_counts = np.zeros((MAX_SLOTS, 2), np.uint64)
        self.features_used: Features = frozenset()
        self._attached: dict[str, Attachment] = {}
        self._tallies: dict[str, npt.NDArray[np.uint64]] = {}
        self._talkers: dict[str, dict[bytes, Talker]] = {}
        self._tenures = itertools.count(1)
        self._moments: list[int] = []
        self._failures: dict[type[Any], list[Exception]] = {}
        self._watchers: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._lock = threading.Lock()

    # life

    def start(self) -> Started:
        self._maybe_fail(Started)
        tables = self.tables
        if not tables.applied:
            return Started(False, 0, 0, directory_of(Tables()), as_ids(()), as_ids(()))
        in_force = tables.leaf[tables.generation]
        held = {leaf for family in FAMILIES for leaf in tables.prefixes[family].values()}
        self.leaf_counts = {leaf: counts for leaf, counts in self.leaf_counts.items() if leaf in held}
        used, pending = set[int](), {0, *(in_force[leaf] for leaf in held)}
        while pending:
            used |= pending
            pending = {tables.memberships[member][1] for member in pending} - used
        classes = {tables.memberships[member][0] for member in used}
        return Started(
            True, tables.revision, tables.generation, directory_of(tables), as_ids(sorted(used)),
            as_ids(sorted(classes)), features=self.features_used,
        )  # fmt: skip

    def activate(self) -> list[Attachment]:
        return self.attachments()

    def stop(self, detach: bool) -> None:
        if detach:
            self._attached.clear()
            self.tables, self.bans = Tables(), FakeBans(self.limits.bans, lambda: self.clock())

    def compile(self, features: Features) -> None:
        self._maybe_fail(Feature)

    def prepare(self, features: Features) -> None:
        self._maybe_fail(Feature)

    def mend(self) -> dict[str, str]:
        return self.unmended if Feature.ESTABLISHED in self.features_used else {}

    def use(self, features: Features) -> Features:
        self._maybe_fail(Feature)
        self.features_used = features
        return features

    # policy

    def execute(self, ops: Sequence[Op], revision: int) -> None:
        inserted: list[InsertPrefixes] = []
        flipped = False
        try:
            for op in ops:
                self._maybe_fail(type(op))
                self._perform(op)
                self.operations.append(op)
                flipped = flipped or isinstance(op, Flip)
                if isinstance(op, InsertPrefixes):
                    inserted.append(op)
        except (MapFull, KernelError):
            if not flipped:
                for undo in reversed(inserted):
                    self._delete(undo.family, undo.keys, undo.leaves)
            raise
        self.tables.revision, self.tables.applied = revision, True

    def fail_next(self, op_type: type[Any], error: Exception) -> None:
        """The next such op raises `error`; `Started` is the next start, `Attachment` the next attach, `Feature` the
        next compile."""
        self._failures.setdefault(op_type, []).append(error)

    def _maybe_fail(self, kind: type[Any]) -> None:
        if errors := self._failures.get(kind):
            raise errors.pop(0)

    def _perform(self, op: Op) -> None:
        tables = self.tables
        match op:
            case InsertPrefixes(family, keys, leaves):
                self._insert(family, keys, leaves)
                self.map_operations += len(keys)
                return
            case DeletePrefixes(family, keys, leaves):
                self._delete(family, keys, leaves)
                self.map_operations += len(keys)
                return
            case WriteMemberships(ids, classes, nexts, deadlines):
                records = zip(classes.tolist(), nexts.tolist(), deadlines.tolist(), strict=True)
                tables.memberships.update(zip(ids.tolist(), records, strict=True))
            case WriteLeaves(generation, ids, memberships):
                assert set(memberships.tolist()) <= tables.memberships.keys(), "a leaf refers to an absent membership"
                tables.leaf[generation].update(zip(ids.tolist(), memberships.tolist(), strict=True))
            case WritePolicy(generation, policy, rules):
                tables.rules[generation] = FakeRules(policy, rules, self.limits.vectors)
                tables.rules[generation].write(op.numbers, op.vectors)
            case WriteVectors(generation, numbers, vectors):
                tables.rules[generation].write(numbers, vectors)
            case Flip(generation):
                tables.generation = generation
            case Grace():
                self.graces += 1
                return
            case ClearLeaves(ids):
                for leaf in ids.tolist():
                    self.leaf_counts.pop(leaf, None)
            case ClearRules(slots):
                self.rule_counts[slots] = 0
                self.bans.clear(slots)
                for tally in self._tallies.values():
                    tally[Reason.RULE] += tally[MAX_REASONS + slots].sum(axis=0, dtype=np.uint64)
                    tally[MAX_REASONS + slots] = 0
        self.map_operations += 1

    def _insert(self, family: Family, keys: Keys, leaves: Ids) -> None:
        packed, table = packed_keys(family, keys), self.tables.prefixes[family]
        assert packed == sorted(set(packed)), "keys must be sorted and unique"
        assert not any(key in table for key in packed), "a key is inserted twice"
        current = self.tables.leaf[self.tables.generation]
        assert all(leaf in current for leaf in leaves.tolist()), "a leaf is inserted before it is written"
        added = Counter(key[-1] for key in packed)
        hosts = added[HOST_LENGTH[family]]
        self._must_fit(f"hosts{family}", hosts, "hosts4" if family == 4 else "hosts6")
        self._must_fit(f"trie{family}", added.total() - hosts, "leaves")
        table.update(zip(packed, leaves.tolist(), strict=True))
        self.lengths_of(family).update(added)

    def _must_fit(self, table: str, more: int, setting: str) -> None:
        fill = next(fill for fill in self.fill() if fill.name == table)
        if fill.used + more > fill.size:
            raise MapFull(f"{table} is full ({fill.size} entries); raise the limit {setting}")

    def _delete(self, family: Family, keys: Keys, leaves: Ids) -> None:
        for key, leaf in zip(packed_keys(family, keys), leaves.tolist(), strict=True):
            assert self.tables.prefixes[family].pop(key, None) == leaf, "a deleted key held another leaf"
            self.lengths_of(family)[key[-1]] -= 1

    def lengths_of(self, family: Family) -> Counter[int]:
        return self.tables.lengths[family]

    # interfaces

    def interfaces(self) -> list[Link]:
        return list(self.links.values())

    def set_links(self, links: Sequence[Link]) -> None:
        """Interfaces come and go. A link that vanishes loses its attachment; its counters stay."""
        self.links = {link.name: link for link in links}
        self._attached = {name: a for name, a in self._attached.items() if name in self.links}
        for loop, event in list(self._watchers):
            loop.call_soon_threadsafe(event.set)

    def foreign_program(self, name: str) -> ForeignProgram | None:
        return self.foreign.get(name)

    def attach(self, name: str, mode: AttachMode) -> Attachment:
        self._maybe_fail(Attachment)
        link = self.links.get(name)
        if link is None:
            raise NotFound(f"there is no interface {name!r}")
        if foreign := self.foreign.get(name):
            raise Conflict(f"{name} carries another XDP program: id {foreign.id}, {foreign.name!r}")
        refused, warning = self.native_refused.get(name), ""
        if refused and mode is AttachMode.NATIVE:
            raise KernelError(f"{name}: {refused}")
        if refused and mode is AttachMode.AUTO:
            warning = f"native mode was refused ({refused}); running in generic mode"
        real = AttachMode.GENERIC if mode is AttachMode.GENERIC or refused else AttachMode.NATIVE
        self._attached[name] = Attachment(name, link.index, real, 1000 + link.index, warning)
        self._counters(name)
        return self._attached[name]

    def detach(self, name: str) -> None:
        if self._attached.pop(name, None) is None:
            raise NotFound(f"{name} is not attached")
        self._tallies.pop(name, None)
        self._talkers.pop(name, None)

    def attachments(self) -> list[Attachment]:
        return list(self._attached.values())

    async def changes(self) -> AsyncIterator[None]:
        event = asyncio.Event()
        watcher = (asyncio.get_running_loop(), event)
        self._watchers.append(watcher)
        try:
            while True:
                await event.wait()
                event.clear()
                yield
        finally:
            self._watchers.remove(watcher)

    # counters

    def read_tally(self, name: str) -> npt.NDArray[np.uint64]:
        self._must_be_attached(name)
        return self._tallies[name].copy()

    def read_talkers(self, name: str) -> TalkerTable:
        self._must_be_attached(name)
        with self._lock:
            return talker_table(self._talkers[name], self._moments)

    def reset_talkers(self, name: str) -> None:
        self._must_be_attached(name)
        with self._lock:
            self._talkers[name].clear()

    def read_rules(self) -> npt.NDArray[np.uint64]:
        return self.rule_counts.copy()

    def read_leaves(self, leaves: Ids) -> npt.NDArray[np.uint64]:
        counts = [self.leaf_counts.get(leaf, (0, 0)) for leaf in leaves.tolist()]
        return np.array(counts, np.uint64).reshape(-1, 2)

    def count(
        self,
        name: str,
        address: str | None,
        verdict: str,
        packets: int = 1,
        size: int = 64,
        *,
        cause: int = 0,
        monitored: bool = False,
    ) -> None:
        """Pretend that packets were seen: `size` bytes each, from `address` (None: no address in them)."""
        column = TALLY_COLUMNS.index(f"{'passed' if verdict == Verdict.PASS else 'dropped'}_packets")
        tally, talkers = self._counters(name)
        if cause >= MAX_REASONS:
            self.rule_counts[cause - MAX_REASONS] += np.array([packets, packets * size], np.uint64)
        for at in (column, 4) if monitored else (column,):
            tally[cause, at] += np.uint64(packets)
            tally[cause, at + 1] += np.uint64(packets * size)
        if address is None:
            return
        packed = ipaddress.ip_address(address).packed
        full = packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed
        with self._lock:
            now = len(self._moments)
            self._moments.append(self.clock())
            slot = talkers.setdefault(full, Talker(next(self._tenures), now, now, [0, 0, 0, 0]))
            slot.last_seen = now
            slot.counts[column] += packets
            slot.counts[column + 1] += packets * size

    def receive(self, name: str, frame: bytes) -> Judgement:
        """Judge a frame and count it, as the packet path does."""
        judged = self.judge(frame, name)
        self.count(
            name, judged.fields.get("source"), judged.verdict, 1, len(frame),
            cause=judged.cause, monitored=judged.monitored,
        )  # fmt: skip
        if judged.banned_by:
            self.bans.hit(judged.fields["source"], len(frame))
        if judged.leaf:
            counts = self.leaf_counts.setdefault(judged.leaf, [0, 0])
            counts[0] += 1
            counts[1] += len(frame)
        return judged

    def _counters(self, name: str) -> tuple[npt.NDArray[np.uint64], dict[bytes, Talker]]:
        tally = self._tallies.setdefault(name, np.zeros((MAX_REASONS + MAX_SLOTS, len(TALLY_COLUMNS)), np.uint64))
        return tally, self._talkers.setdefault(name, {})

    def _must_be_attached(self, name: str) -> None:
        if name not in self._attached:
            raise NotFound(f"{name} is not attached")

    # sight

    def fill(self) -> list[MapFill]:
        hosts = {family: self.lengths_of(family)[HOST_LENGTH[family]] for family in FAMILIES}
        total = {family: self.lengths_of(family).total() for family in FAMILIES}
        return [
            MapFill("hosts4", hosts[4], self.limits.hosts4),
            MapFill("hosts6", hosts[6], self.limits.hosts6),
            MapFill("trie4", total[4] - hosts[4], self.limits.leaves),
            MapFill("trie6", total[6] - hosts[6], self.limits.leaves),
        ]

    def features(self) -> dict[str, Any]:
        return {"release": "fake"}

    def judge(self, frame: bytes, interface: str | None = None) -> Judgement:
        return judge(self.tables, self.bans, frame, interface, self.clock())

    def judge_all(self, frames: Sequence[bytes], interface: str | None = None) -> list[Brief]:
        return [brief(self.judge(frame, interface)) for frame in frames]

    def event_interfaces(self) -> dict[int, str]:
        return dict(enumerate(self.links))

    def program_facts(self, name: str, seconds: float = 0.0) -> ProgramFacts:
        self._must_be_attached(name)
        runs = int(self._tallies[name].sum()) if seconds else 0
        asked = tuple(sorted(feature.value.lower() for feature in self.features_used))
        attached = self._attached[name].program_id
        return ProgramFacts(attached, "fake", "0" * 16, 0, 0, 0, 0, "", asked, (), seconds, runs)
