# SPDX-License-Identifier: Apache-2.0
"""What the service needs of a store: everything that must outlive the process, one durable transaction per change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from xdpfw.clock import ClockAnchor
from xdpfw.model.ban import Ban
from xdpfw.model.interface import AttachMode, Epoch
from xdpfw.model.ledger import AuditQuery, AuditRecord, Author, Pending
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Family, Prefix
from xdpfw.policy.delta import Delta
from xdpfw.policy.sets import Edit, Sets
from xdpfw.policy.table import Records, SortedTable

Bases = Mapping[tuple[int, bytes], tuple[int, int]]
"""Hits that the packet path's counters do not hold any more (see policy/compiler.py)."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Claims as a store keeps them: tables, by set id and family, and lists, by the identity of the array."""

    tables: Mapping[tuple[int, Family], tuple[SortedTable, bytes]] = field(default_factory=dict)
    lists: Mapping[int, tuple[Records, bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Saved:
    """The state as of the last change. An empty store answers revision 0 and the initial sets."""

    revision: int
    sets: Sets
    policy: Policy
    interfaces: dict[str, AttachMode]
    anchor: ClockAnchor | None = None
    bases: dict[tuple[int, bytes], tuple[int, int]] = field(default_factory=dict)
    epochs: dict[str, Epoch] = field(default_factory=dict)
    bans: dict[Prefix, Ban] = field(default_factory=dict)
    pending: Pending | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a change so that it can be taken back. The policy, the sets' definitions and the clock's anchor
    of before the change the store adds by itself. `policy`: it is one of the revisions of the policy to which one can
    go back; if not, it is kept only while somebody has to confirm the change."""

    author: Author
    made: int
    deltas: tuple[Delta, ...] = ()
    policy: bool = True


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is written down with a change. `settled`: the id of the pending change that is pending no more.
    `withdrawn`: the revision of which nothing stays written down, because it came to nothing."""

    audit: tuple[AuditRecord, ...] = ()
    kept: Kept | None = None
    pending: Pending | None = None
    settled: str | None = None
    withdrawn: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A change that is kept. `whole`: all that it changed in lists is; if not, those were dropped to make room."""

    revision: int
    made: int
    author: Author
    policy: bool
    whole: bool


@dataclass(frozen=True, slots=True)
class Before:
    """How things were before a step: the policy, the sets' comments by name, and what it did to claims."""

    step: Step
    policy: Policy
    sets: dict[str, str]
    deltas: tuple[Delta, ...]
    anchor: ClockAnchor | None


STEPS = 100
"""Revisions of the policy to which one can go back."""

KEPT_BYTES = 256 << 20
"""Bytes of replaced lists that are kept for going back. When they are more, the oldest are dropped first."""


@dataclass(frozen=True, slots=True)
class StoredChange:
    """What a change writes; None stays as it is. In `interfaces`, `epochs` and `bans` only what changed is named, and
    None takes out; `bases` are all of them. `packed`: what `Store.pack` answered for about the same edit."""

    revision: int
    edit: Edit | None = None
    policy: Policy | None = None
    interfaces: Mapping[str, AttachMode | None] | None = None
    anchor: ClockAnchor | None = None
    bases: Bases | None = None
    epochs: Mapping[str, Epoch | None] | None = None
    bans: Mapping[Prefix, Ban | None] | None = None
    ledger: Ledger | None = None
    packed: Packed = field(default_factory=Packed)


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """An access token: `digest` is the SHA-256 of its secret; `created` and `expires` wall clock ns (None: for ever);
    `sources` are the only prefixes it may be used from (none: from everywhere)."""

    id: str
    name: str
    role: str
    digest: bytes
    created: int
    expires: int | None = None
    sources: tuple[Prefix, ...] = ()


class Store(Protocol):
    """Methods block, and may be called from any thread."""

    def load(self) -> Saved:
        """Called once, before the first `save`. Raises StoreError."""

    def save(self, change: StoredChange) -> None:
        """Durable when it returns. Raises StoreError, and then nothing has changed."""

    def pack(self, edit: Edit) -> Packed:
        """What can be made ready of an edit that may come to be saved; beside `save`."""

    def tidy(self) -> None:
        """What a large save left to be done; beside `save`. Raises StoreError."""

    def tokens(self) -> list[TokenRecord]: ...

    def add_token(self, record: TokenRecord, audit: Sequence[AuditRecord] = ()) -> None: ...

    def remove_token(self, id: str, audit: Sequence[AuditRecord] = ()) -> None: ...

    def steps(self) -> list[Step]:
        """What is kept, newest first."""

    def before(self, revision: int) -> Before:
        """Of a step. Raises StoreError when it is not kept (any more)."""

    def note(self, records: Sequence[AuditRecord]) -> None:
        """Write down what changed nothing."""

    def audit(self, query: AuditQuery) -> tuple[list[AuditRecord], int]:
        """Newest first; and how many there are of these on all pages."""

    def close(self) -> None: ...
