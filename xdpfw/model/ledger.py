# SPDX-License-Identifier: Apache-2.0
"""Who changed what: authors, differences, the audit trail, and what holds only if it is confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from xdpfw.model.interface import AttachMode

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Author:
    """Who asks: `name` as in the log (`uid:0`, `token:ID`), `label` the token's name, `source` where the request comes
    from (an address, or `unix` with the peer's `pid`); `request` is the method and the path, `number` the request's."""

    name: str = "xdpfw"
    label: str = ""
    source: str = ""
    pid: int | None = None
    request: str = ""
    number: str = ""


DAEMON = Author()
"""What the daemon does by itself."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that a change makes different: `path` as in REST, and the fields that differ. `before` None: it was not
    there; `after` None: it is there no more."""

    path: str
    before: Values | None
    after: Values | None


@dataclass(frozen=True, slots=True)
class Differences:
    """`more` were left out."""

    items: tuple[Difference, ...] = ()
    more: int = 0


NO_DIFFERENCES = Differences()


class Outcome(StrEnum):
    ACCEPTED = "accepted"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """`at`: wall clock ns. `status`: the HTTP status. `detail`: why it was refused. `entries`: it is about entries of
    sets alone. The store gives it its `id`."""

    at: int
    author: Author
    outcome: Outcome
    status: int
    revision: int
    detail: str = ""
    differences: Differences = NO_DIFFERENCES
    entries: bool = False
    id: int = 0


@dataclass(frozen=True, slots=True)
class AuditQuery:
    """The newest `limit` records older than the record `before`; of an actor (its name or label), about a resource and
    what is below it, with an outcome."""

    limit: int
    before: int | None = None
    actor: str | None = None
    resource: str | None = None
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the state that a change writes: `rules`, `policy`, `sets/NAME` (that it exists, its comment),
    `sets/NAME/entries`, `interfaces/NAME`. Of entries: all, those of an `origin`, those on a `prefix` (as text)."""

    resource: str
    prefix: str | None = None
    origin: str | None = None

    def meets(self, other: Part) -> bool:
        """Whether they have anything in common."""
        return (
            self.resource == other.resource
            and (self.prefix is None or other.prefix is None or self.prefix == other.prefix)
            and (self.origin is None or other.origin is None or self.origin == other.origin)
        )

    def __str__(self) -> str:
        where = self.resource if self.prefix is None else f"{self.resource}/{self.prefix}"
        return where if self.origin is None else f"{where}?origin={self.origin}"


RULES, POLICY = Part("rules"), Part("policy")


@dataclass(frozen=True, slots=True)
class Pending:
    """A change that is taken back unless somebody confirms it.

    `revision`: that it made. `made`: wall clock ns. `window`: ns. `deadline`: monotonic ns in boot `boot`. `parts`:
    what it wrote. What the store does not hold by itself: `interfaces` as they were wanted before, and in which mode
    they `ran`; `sets`: the comments of those that it made, described or deleted (None: there was none). `needed`: sets
    that the rules of before name.
    """

    id: str
    revision: int
    author: Author
    made: int
    window: int
    boot: str
    deadline: int
    parts: tuple[Part, ...]
    differences: Differences = NO_DIFFERENCES
    interfaces: Mapping[str, AttachMode | None] = field(default_factory=dict)
    ran: Mapping[str, AttachMode] = field(default_factory=dict)
    sets: Mapping[str, str | None] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    entries: bool = False

    def left(self, boot: str, wall: int, monotonic: int) -> int:
        """How long (ns) there is to confirm it; not above 0 when it is over. In another boot the wall clock tells, but
        never more than the whole window: a machine without a clock of its own starts in the past."""
        if boot == self.boot:
            return self.deadline - monotonic
        return min(self.made + self.window - wall, self.window)
