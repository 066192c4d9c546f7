# SPDX-License-Identifier: Apache-2.0
"""What the service needs of the kernel. `adapter.py` is the real one, `fake.py` the one for tests.

All methods may block and are called from worker threads, one writer at a time; `read_*` may run beside a
writer.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from xdpfw.model.deviation import Deviation
from xdpfw.model.feature import Features
from xdpfw.model.interface import Attachment, AttachMode, ForeignProgram, Link, Neighbour, Route
from xdpfw.model.prefix import Family
from xdpfw.policy.expected import Expected
from xdpfw.policy.ops import Ids, Keys, Op

TALLY_COLUMNS = (
    "passed_packets",
    "passed_bytes",
    "dropped_packets",
    "dropped_bytes",
    "monitored_packets",
    "monitored_bytes",
)
"""Columns of an interface's tally. What the policy would have dropped, had it not been in monitor mode, is
counted as monitored as well as passed."""

TALKER = np.dtype(
    [
        ("address", "u1", 16),  # network order; IPv4 as ::ffff:a.b.c.d
        ("since", "i8"),  # wall clock ns
        ("last_seen", "i8"),  # wall clock ns
        ("counts", "u8", 4),  # the first four TALLY_COLUMNS
    ]
)
"""What one slot of a talker table says. An address may occupy one slot per CPU: sum them."""

Wall = Callable[[npt.NDArray[np.uint32]], npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class TalkerTable:
    """A copy of an interface's talker table at one moment, column by column, n slots in all: arrays of one column are
    worked through many times faster than records, and a million of them are read every second.

    `address`: (2, n) u64, the halves as they lie in memory; `tenure`: (n,) u4, 0 where a slot is empty, and as long as
    it is the same, the same talker counts on there; `counts`: the first four TALLY_COLUMNS, (n,) u64 each, 0 where
    empty (four arrays, because the C library clears the memory of very large ones each time); `times`: (n, 2) u4, since
    when and when last seen, stamps of which `wall` makes wall clock ns. `shape`: (CPUs, buckets, slots of a bucket),
    whose product is n; an address is in the same bucket on every CPU. The last `spilled` slots of a bucket take up what
    others in it had counted: their counts grow by what packets added elsewhere. Tables with the same `seed` (other than
    0) and as many buckets have an address in the same one; those with the same `origin` (other than 0) are copies of
    one table.
    """

    address: npt.NDArray[np.uint64]
    tenure: npt.NDArray[np.uint32]
    counts: list[npt.NDArray[np.uint64]]
    times: npt.NDArray[np.uint32]
    wall: Wall
    shape: tuple[int, int, int]
    spilled: int = 0
    seed: int = 0
    origin: int = 0

    @classmethod
    def blank(
        cls, shape: tuple[int, int, int], wall: Wall, spilled: int = 0, seed: int = 0, origin: int = 0
    ) -> TalkerTable:
        """To be filled in."""
        size = math.prod(shape)
        counts = [np.empty(size, np.uint64) for _ in TALLY_COLUMNS[:4]]
        tenure, times = np.empty(size, np.uint32), np.empty((size, 2), np.uint32)
        return cls(np.empty((2, size), np.uint64), tenure, counts, times, wall, shape, spilled, seed, origin)

    @property
    def since(self) -> npt.NDArray[np.uint32]:
        return self.times[:, 0]

    @property
    def last_seen(self) -> npt.NDArray[np.uint32]:
        return self.times[:, 1]

    def rows(self, at: npt.NDArray[np.intp] | None = None) -> npt.NDArray[Any]:
        """Slots as records, dtype TALKER; all that are occupied unless said otherwise."""
        at = np.flatnonzero(self.tenure) if at is None else at
        rows = np.empty(len(at), TALKER)
        rows["address"] = np.ascontiguousarray(self.address[:, at].T).view("u1").reshape(-1, 16)
        rows["counts"] = np.stack([column[at] for column in self.counts], 1)
        rows["since"] = self.wall(self.since[at])
        rows["last_seen"] = np.maximum(self.wall(self.last_seen[at]), rows["since"])
        return rows


BAN = np.dtype(
    [
        ("address", "u1", 16),  # network order, masked; IPv4 as ::ffff:a.b.c.d
        ("length", "u4"),  # from there, so 96 more in IPv4
        ("slot", "u4"),  # of the rule that made it
        ("expires", "i8"),  # wall clock ns
        ("added", "i8"),  # wall clock ns
        ("packets", "u8"),  # dropped by it
        ("bytes", "u8"),
    ]
)
"""A banned prefix."""

Bans = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class LimitStats:
    """Since the tables were made: bans made; bans refused, once for each packet that would have made one and found the
    table full; packets whose source had no bucket of its own."""

    banned: int
    refused: int
    placeless: int


@dataclass(frozen=True, slots=True)
class Directory:
    """What the pinned tables hold when a daemon starts, per family: prefixes (keys sorted), their leaf ids, and the
    membership that each of these leaves has in the generation in force."""

    keys: dict[Family, Keys]
    leaves: dict[Family, Ids]
    memberships: dict[Family, Ids]


@dataclass(frozen=True, slots=True)
class Started:
    """Outcome of `start`. When nothing could be adopted, `directory` is empty and `generation` 0.

    Leaf ids outside the directory are free: no packet can reach them, and their counters are zero. `memberships` and
    `classes`: ids that the generation in force refers to, not to be overwritten before a flip. `reason`: why pinned
    state was not adopted ("": it was, or there was none). `features`: what the programs that run can do."""

    adopted: bool
    revision: int
    generation: int
    directory: Directory
    memberships: Ids
    classes: Ids
    reason: str = ""
    features: Features = frozenset()


@dataclass(frozen=True, slots=True)
class MapFill:
    """How full a table is. `used` is -1 where it cannot be told cheaply."""

    name: str
    used: int
    size: int


@dataclass(frozen=True, slots=True)
class Check:
    """One line of `xdpfw doctor`: what was looked at, how it is, what that means, how to mend it."""

    name: str
    ok: bool
    detail: str
    meaning: str = ""
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The packet path's answer about one frame (BPF_PROG_TEST_RUN on a twin with counters of its own)."""

    verdict: str  # pass or drop
    cause: int  # a Reason, or MAX_REASONS + the rule's slot
    monitored: bool  # passed, though the policy (in monitor mode) says drop
    leaf: int
    monitored_cause: int = 0  # MAX_REASONS + slot of the rule in monitor mode that would have decided before, or 0
    tier: str = "none"  # the table in which the source was found (`tier_of`), or none
    fields: dict[str, Any] = field(default_factory=dict)
    banned_by: int = 0  # MAX_REASONS + slot of the rule that banned the source, or 0


class BanTable(Protocol):
    """The bans of the tables in force. The packet path makes them, by what a rule's limit says, and ends them."""

    def read(self) -> Bans:
        """All in the table, also those that have run out, in the order of their prefixes; dtype BAN."""

    def restore(self, bans: Bans) -> int:
        """Put in those whose prefix is not there; answers how many found no room."""

    def lift(self, bans: Bans) -> None:
        """Take out these prefixes, as far as they are there."""

    def stats(self) -> LimitStats: ...


EVENT_FIELDS = ("time", "cause", "monitored_cause", "interface", "frame_length", "queue", "captured", "drop", "frame")
"""What every event tells (bpf/log.h): `time` in ns on the monotonic clock; `cause` as in Judgement; `interface` a
number that `Kernel.event_interfaces` names; `captured` bytes of `frame` are there."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which events the packet path writes. `sample`: of all traffic, not only of rules that log; `budget`: in a second
    on each CPU; `repeat`: a source may come more than once a second; `snap`: bytes of the frame, at most 256."""

    sample: bool = False
    budget: int = 1000
    repeat: bool = False
    snap: int = 128


@dataclass(frozen=True, slots=True)
class EventBatch:
    """`rows`: a record for each event with EVENT_FIELDS, in the order of time. By CPU, since the kernel's start: events
    that were `lost` because nobody read them in time, and offers that were `limited`."""

    rows: npt.NDArray[Any]
    lost: list[int]
    limited: list[int]


def tier_of(family: Family, length: int) -> str:
    """The table in which packets find a prefix (bpf/tiers.h)."""
    if length <= (8 if family == 4 else 16):
        return "roots"
    if family == 4:
        return "flats" if length <= 24 else "buckets"
    return "trie" if 64 < length <= 124 else "buckets"


class Brief(NamedTuple):
    """A judgement in short. `source`: 16 octets, IPv4 as ::ffff:a.b.c.d; empty when the frame has no address.
    `cause`: as in Judgement, or -1 for a frame that the kernel cannot run."""

    drop: bool
    cause: int
    monitored: bool
    source: bytes


@dataclass(frozen=True, slots=True)
class MapFacts:
    """One map of a program. `memory`: bytes that the kernel charges for it; `pin`: where it is pinned."""

    name: str
    id: int
    type: str
    key_size: int
    value_size: int
    entries: int
    memory: int
    pin: str


@dataclass(frozen=True, slots=True)
class ProgramFacts:
    """The program that runs on an interface. `loaded`: wall clock ns; `instructions` before, `machine_code` bytes after
    the JIT (0: it is interpreted); `verified`: instructions that the verifier went through. `runs` and `run_ns` were
    measured for `seconds` (0: they were not)."""

    id: int
    name: str
    tag: str
    loaded: int
    instructions: int
    machine_code: int
    verified: int
    compiler: str
    features: tuple[str, ...]
    maps: tuple[MapFacts, ...]
    seconds: float = 0.0
    runs: int = 0
    run_ns: int = 0


class Kernel(Protocol):
    # life
    def start(self) -> Started:
        """Adopt the pinned maps, or create new ones beside them. No packet is affected yet.

        Raises KernelError with the way out, MapFull when memory for the maps is short.
        """

    def activate(self) -> list[Attachment]:
        """The tables are full: bring interfaces that are attached already (pinned links) to this program and
        these maps, in place, and unpin what is old. Answers what is attached now. With adopted state of the
        same program nothing is compiled or loaded."""

    def compile(self, features: Features) -> None:
        """Have a program for exactly these features at hand. May run beside a writer. Raises KernelError."""

    def prepare(self, features: Features) -> None:
        """Have a program at hand that can do at least this, so that `use` is quick; if answers pass, begin to learn
        what is asked, and do so for a second. May run beside a writer. Raises KernelError."""

    def mend(self) -> dict[str, str]:
        """Put back what answers need on attached interfaces under a default of drop, where somebody took it away.
        Answers, for each interface where that failed, why."""

    def use(self, features: Features) -> Features:
        """From now on the program has these features, on every interface, swapped in place; or more, if such a program
        is at hand and that one would have to be compiled. Answers which. A program with too many is right, one with too
        few is not: what a policy asks for comes before it. Raises KernelError."""

    def stop(self, detach: bool) -> None:
        """Close everything. Pins, and so filtering, stay; with `detach` nothing of this instance is left."""

    # policy
    def execute(self, ops: Sequence[Op], revision: int) -> None:
        """Perform in order. If one before the Flip fails, undo inserts; raise MapFull or KernelError."""

    def verify(self, expected: Expected, *, mend: bool = False, quick: bool = False) -> list[Deviation]:
        """Where the tables do not hold what they should. With `mend` it is written again: nobody else may write
        meanwhile. `quick`: only what can be looked at in milliseconds. Raises MapFull and KernelError."""

    @property
    def bans(self) -> BanTable: ...

    # interfaces
    def interfaces(self) -> list[Link]: ...

    def foreign_program(self, name: str) -> ForeignProgram | None:
        """An XDP program on the interface that is not ours."""

    def attach(self, name: str, mode: AttachMode) -> Attachment:
        """Raises NotFound (no such interface), Conflict (foreign program: id and name), KernelError (native
        refused by the driver, with what the kernel said)."""

    def detach(self, name: str) -> None: ...

    def attachments(self) -> list[Attachment]:
        """What is attached now, read from the links; a link whose interface went away is not in it."""

    def changes(self) -> AsyncIterator[None]:
        """Yields whenever links came, went or changed (coalesced)."""

    # counters
    def read_tally(self, name: str) -> npt.NDArray[np.uint64]:
        """(MAX_REASONS + MAX_SLOTS, 6) summed over CPUs, columns as TALLY_COLUMNS.

        Raises NotFound unless attached.
        """

    def read_talkers(self, name: str) -> TalkerTable:
        """The talkers of the current epoch.

        Raises NotFound unless attached.
        """

    def reset_talkers(self, name: str) -> None:
        """Begin a new epoch: what was counted before is not read any more."""

    def read_leaves(self, leaves: Ids) -> npt.NDArray[np.uint64]:
        """(n, 2): packets and bytes per leaf id, all interfaces, summed over CPUs."""

    def read_rules(self) -> npt.NDArray[np.uint64]:
        """(MAX_SLOTS, 2): packets and bytes that rules matched first, by slot, all interfaces, summed over CPUs."""

    # events
    def wish(self, wish: Wish) -> None:
        """From now on, on all interfaces. Without the feature EVENTS, or with nothing wished, nothing is written."""

    def read_events(self) -> EventBatch:
        """What was written since the last call (at the first: nothing)."""

    def event_interfaces(self) -> dict[int, str]:
        """Names of the interfaces by the numbers in events."""

    # sight
    def fill(self) -> list[MapFill]: ...

    def features(self) -> dict[str, Any]:
        """Kernel release, BCC and libbpf versions, JIT, possible CPUs, BTF…: what `status` shows."""

    def judge(self, frame: bytes, interface: str | None = None) -> Judgement:
        """What the tables in force say about a frame that arrives on an interface (None: on one that no rule names),
        without touching any live counter."""

    def judge_all(self, frames: Sequence[bytes], interface: str | None = None) -> list[Brief]:
        """The same for many frames, some microseconds each."""

    def program_facts(self, name: str, seconds: float = 0.0) -> ProgramFacts:
        """The program on an interface. With `seconds`, its runs are counted for so long, which costs every program on
        this host some nanoseconds a run meanwhile. Raises NotFound unless attached."""

    def neighbours(self) -> list[Neighbour]:
        """Established ssh peers of this host (sock_diag, local port 22), default gateways, configured name servers."""

    def route(self, address: str) -> Route:
        """How packets to an address leave, which is how its packets arrive unless somebody has routed otherwise."""
