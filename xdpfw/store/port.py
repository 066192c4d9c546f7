# SPDX-License-Identifier: Apache-2.0
"""What the service needs of a store: everything that must outlive the process, one durable transaction per change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from xdpfw.clock import ClockAnchor
from xdpfw.model.interface import AttachMode, Epoch
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Family, Prefix
from xdpfw.policy.sets import Edit, Sets
from xdpfw.policy.table import SortedTable

Bases = Mapping[tuple[int, bytes], tuple[int, int]]
"""Hits that the packet path's counters do not hold any more (see policy/compiler.py)."""

Packed = Mapping[tuple[int, Family], tuple[SortedTable, bytes]]
"""Tables of claims as a store keeps them, by set id and family."""


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


@dataclass(frozen=True, slots=True)
class StoredChange:
    """What a change writes; None stays as it is. In `interfaces` and `epochs` only what changed is named, and None
    takes out; `bases` are all of them. `packed`: what `Store.pack` answered for about the same edit."""

    revision: int
    edit: Edit | None = None
    policy: Policy | None = None
    interfaces: Mapping[str, AttachMode | None] | None = None
    anchor: ClockAnchor | None = None
    bases: Bases | None = None
    epochs: Mapping[str, Epoch | None] | None = None
    packed: Packed = field(default_factory=dict)


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

    def add_token(self, record: TokenRecord) -> None: ...

    def remove_token(self, id: str) -> None: ...

    def close(self) -> None: ...
