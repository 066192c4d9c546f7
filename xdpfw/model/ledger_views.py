# SPDX-License-Identifier: Apache-2.0
"""What is written down of changes, shaped as the REST contract shows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class DifferenceView:
    """`path`: what differs, as in REST. `before` null: it was not there; `after` null: it is there no more."""

    path: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class AuthorView:
    """`actor` (`uid:0`, `token:ID`, or `xdpfw` for what the daemon does by itself), `label` the token's name, `source`
    an address, or `unix` with the peer's `pid`."""

    actor: str
    label: str
    source: str
    pid: int | None
    method: str
    path: str
    request_id: str


@dataclass(frozen=True, slots=True)
class AuditView:
    """One write. `more` differences, at least, are not shown."""

    id: int
    at: datetime
    author: AuthorView
    outcome: str
    status: int
    revision: int
    detail: str
    differences: list[DifferenceView]
    more: int


@dataclass(frozen=True, slots=True)
class AuditPage:
    items: list[AuditView]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class ConfirmationView:
    """A change that is taken back at `expires_at`, in `left` seconds, unless it is confirmed. `writes`: what answers
    409 to others until then."""

    id: str
    revision: int
    made_at: datetime
    expires_at: datetime
    left: int
    author: AuthorView
    writes: list[str]
    differences: list[DifferenceView]
    more: int


@dataclass(frozen=True, slots=True)
class StepView:
    """A revision of the policy: what it made is what `POST /rollback` brings back. `whole` false: lists that were
    replaced since are not kept any more."""

    revision: int
    made_at: datetime | None
    author: AuthorView | None
    whole: bool


@dataclass(frozen=True, slots=True)
class ChangeView:
    """Answer of a change of several things in one step: what it made, or would make, different."""

    revision: int
    changed: bool
    dry_run: bool
    confirmation: str | None
    differences: list[DifferenceView]
    more: int
    warnings: list[str] = field(default_factory=list)
