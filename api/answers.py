# SPDX-License-Identifier: Apache-2.0
"""Bodies of answers to writes: the resource as it is now, with what the write did beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, TypeVar

from fastapi import Response
from pydantic import TypeAdapter

from xdpfw.model.errors import Fault, InvalidInput
from xdpfw.model.ledger_views import ChangeView, ConfirmationView, StepView
from xdpfw.model.views import (
    CountersView,
    DriftView,
    EntriesWritten,
    EntryView,
    HistoryView,
    InterfaceView,
    PanicView,
    PolicyView,
    RulesWritten,
    RuleView,
    SetView,
    VerificationView,
    Written,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceAnswer(InterfaceView):
    revision: int
    changed: bool
    dry_run: bool
    confirmation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationAnswer(VerificationView):
    revision: int
    changed: bool
    dry_run: bool
    confirmation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAnswer(SetView):
    revision: int
    changed: bool
    dry_run: bool
    confirmation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAnswer(PolicyView):
    revision: int
    changed: bool
    dry_run: bool
    confirmation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryAnswer:
    """`entry` fields are absent (null) when a dry run has nothing to show yet."""

    prefix: str
    origin: str | None = None
    expires_at: datetime | None = None
    ttl: int | None = None
    comment: str | None = None
    packets: int | None = None
    bytes: int | None = None
    added_at: datetime | None = None
    revision: int
    changed: bool
    added: int
    refreshed: int
    total: int
    effective: str
    because: str
    dry_run: bool
    confirmation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PanicAnswer(PanicView):
    revision: int
    changed: bool
    dry_run: bool
    confirmation: str | None = None


@dataclass(frozen=True, slots=True)
class TokenView:
    """`secret` is there once: in the answer that made the token."""

    id: str
    name: str
    role: str
    created_at: datetime
    expires_at: datetime | None
    sources: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenAnswer(TokenView):
    secret: str | None
    revision: int
    changed: bool
    dry_run: bool
    confirmation: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleAnswer(RuleView):
    revision: int
    changed: bool
    dry_run: bool
    confirmation: str | None = None


@dataclass(frozen=True, slots=True)
class RulePage:
    items: list[RuleView]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class InterfacePage:
    items: list[InterfaceView]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class CountersPage:
    items: list[CountersView]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class HistoryPage:
    items: list[HistoryView]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class SetPage:
    items: list[SetView]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class TokenPage:
    items: list[TokenView]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class ConfirmationPage:
    items: list[ConfirmationView]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class RevisionPage:
    items: list[StepView]
    next: str | None
    total: int


@dataclass(frozen=True, slots=True)
class Health:
    status: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """`drift`: what somebody else changed in the kernel within the last hour, and what became of it."""

    status: str
    drift: list[DriftView] = field(default_factory=list)


def page(items: Sequence[T], key: str, limit: int, cursor: str | None) -> tuple[list[T], str | None, int]:
    """One page of a short list, sorted by the attribute `key`; the cursor is the key of the last item given out."""
    ordered = sorted(items, key=lambda item: str(getattr(item, key)))
    rest = [item for item in ordered if cursor is None or str(getattr(item, key)) > cursor]
    chosen = rest[:limit]
    more = str(getattr(chosen[-1], key)) if len(rest) > limit else None
    return chosen, more, len(ordered)


def page_of(items: Sequence[T], limit: int, cursor: str | None) -> tuple[list[T], str | None, int]:
    """One page of a list that has an order of its own; the cursor is a place in it. Raises InvalidInput."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit()):
        raise InvalidInput(
            "the cursor is none that was given out here", [Fault("?cursor", "is not a place in the list")]
        )
    start = int(cursor or 0)
    more = str(start + limit) if start + limit < len(items) else None
    return list(items[start : start + limit]), more, len(items)


def beside(answer: Callable[..., T], view: Any, written: Written) -> T:
    """The view's fields and the write's, in one object."""
    shown = {f.name: getattr(view, f.name) for f in fields(view)}
    return answer(**shown, **outcome(written))


def outcome(written: Written | EntriesWritten) -> dict[str, Any]:
    """What the answer to every write tells."""
    return {name: getattr(written, name) for name in ("revision", "changed", "dry_run", "confirmation")}


def entry_answer(prefix: str, view: EntryView | None, written: EntriesWritten) -> EntryAnswer:
    shown = {f.name: getattr(view, f.name) for f in fields(EntryView)} if view else {"prefix": prefix}
    shown.pop("claims", None)
    names = ("added", "refreshed", "total", "effective", "because")
    return EntryAnswer(**shown, **{name: getattr(written, name) for name in names}, **outcome(written))


def marks(
    response: Response, written: Written | EntriesWritten | RulesWritten | ChangeView, *, created: bool = True
) -> None:
    """The headers of every write; 201 where a resource of its own came to be (`created` False: never)."""
    response.headers["X-Revision"] = str(written.revision)
    response.headers["X-Changed"] = "true" if written.changed else "false"
    if isinstance(written, EntriesWritten):
        response.headers["X-Effective"] = written.effective
    if written.confirmation:
        response.headers["X-Confirmation"] = written.confirmation
    if created and isinstance(written, (Written, EntriesWritten)) and written.created and not written.dry_run:
        response.status_code = 201


def gone(written: Written | EntriesWritten) -> Response:
    """204 after a deletion; 200 after a dry run, which has something to say."""
    response = Response(status_code=204)
    if written.dry_run:
        response = Response(_WRITTEN.dump_json(written), media_type="application/json")
    marks(response, written, created=False)
    return response


_WRITTEN: TypeAdapter[Written | EntriesWritten] = TypeAdapter(Written | EntriesWritten)

DELETION: dict[str, Any] = {
    "status_code": 204,
    "response_class": Response,
    "responses": {200: {"model": Written, "description": "A dry run"}},
}
"""Of every route that deletes."""
