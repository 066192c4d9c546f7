# SPDX-License-Identifier: Apache-2.0
"""Sets and policy into the smallest list of map operations (see `ops.py` for how the tables hang together)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.model.limits import Limits
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Family, Prefix
from xdpfw.policy.ops import Ids, Keys, Op
from xdpfw.policy.sets import Sets

ReadLeaves = Callable[[Ids], npt.NDArray[np.uint64]]
"""Packets and bytes, (n, 2), of leaf ids: `Kernel.read_leaves`."""

Bases = dict[tuple[int, bytes], tuple[int, int]]
"""(set id, prefix key) -> packets and bytes to add to what the entry's leaves have counted; the key b"" stands for
entries of the set that are gone. May be negative: an entry starts at 0 over leaves that have counted before."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Operations to execute in order, then `commit` (or `abort` when they failed). One plan at a time."""

    ops: tuple[Op, ...]
    outcome: Any = field(default=None, repr=False)

    def __bool__(self) -> bool:
        return bool(self.ops)


class Compiler:
    """What the packet path's tables hold, and how to get them to hold something else."""

    def __init__(
        self, limits: Limits, started: Any, bases: Mapping[tuple[int, bytes], tuple[int, int]] | None = None
    ) -> None:
        """`started`: kernel.port.Started. `bases` as saved; they count only if the kernel's state was adopted."""

    generation: int
    bases: Bases

    def compile_all(self, sets: Sets, policy: Policy) -> Iterator[Plan]:
        """From what was adopted (or nothing) to these sets. Execute and commit each plan before asking for the next."""

    def check(self, sets: Sets, touched: Mapping[Family, Keys]) -> None:
        """Raises MapFull unless all new prefixes of a change fit; for changes that will be announced in chunks."""

    def announce(self, keys: Mapping[Family, Keys]) -> Plan:
        """Leaves for prefixes to come, holding what covers them today: no packet sees a difference."""

    def plan(
        self, sets: Sets, touched: Mapping[Family, Keys], *, policy: Policy | None = None, keep_leaves: bool = False
    ) -> Plan:
        """From the sets committed last to these, which differ in nothing but `touched`. Raises MapFull before any effect."""

    def retire(self, limit: int = 50_000) -> Plan | None:
        """Take out leaves that no set holds (left by keep_leaves or by a cancelled announce); None when none is left."""

    def settle(self) -> Plan | None:
        """Housekeeping for idle moments: grace period and clearing for deleted leaves; None when nothing waits."""

    def commit(self, plan: Plan, read_leaves: ReadLeaves) -> None:
        """The plan was executed. Counters are read only where an entry's share of them changed hands."""

    def abort(self, plan: Plan) -> None:
        """The plan failed before its flip and its inserts were undone."""

    def hits(self, sets: Sets, name: str, prefixes: list[Prefix], read_leaves: ReadLeaves) -> list[tuple[int, int]]:
        """Packets and bytes of entries (which must be in the set)."""

    def totals(self, sets: Sets, read_leaves: ReadLeaves) -> dict[str, tuple[int, int]]:
        """Packets and bytes of every set: what its entries, also those gone since, have counted."""

    @property
    def leaves(self) -> int:
        """Leaf ids in use."""
