# SPDX-License-Identifier: Apache-2.0
"""What the log is told of records of the audit trail."""

from __future__ import annotations

import logging
from typing import Any

from xdpfw.log import told
from xdpfw.model.ban import BANNED
from xdpfw.model.ledger import AuditRecord, Difference, Outcome

log = logging.getLogger("xdpfw.audit")

_VERBS = {"block": "block", "allow": "allow", BANNED: "ban"}
_LEVELS = {Outcome.ACCEPTED: logging.INFO, Outcome.UNCHANGED: logging.INFO, Outcome.REFUSED: logging.WARNING}


def tell(record: AuditRecord) -> None:
    """Of a change that is in force, or of a write that changed nothing."""
    level = _LEVELS[record.outcome]
    if not log.isEnabledFor(level):
        return
    author, differences = record.author, record.differences
    why = ": " + " ".join(record.detail.splitlines()) if record.detail else ""
    log.log(
        level,
        "%r by %s from %s is %s (%d)%s",
        author.request,
        author.name,
        author.source or "the daemon itself",
        record.outcome.value,
        record.status,
        why,
        extra=told(
            event_of(record),
            outcome=record.outcome.value,
            status=record.status,
            actor=author.name,
            label=author.label,
            source=author.source,
            pid=author.pid,
            request=author.request,
            request_id=author.number,
            revision=record.revision,
            detail=record.detail,
            differences=[_document(each) for each in differences.items],
            more=differences.more,
        ),
    )


def event_of(record: AuditRecord) -> str:
    """Of what changed nothing: `refused` or `unchanged`. Else by the first difference: `block`, `unblock`, `allow`,
    `unallow`, `unban`, `attach`, `detach`; `change` if it is none of these."""
    if record.outcome is not Outcome.ACCEPTED:
        return record.outcome.value
    if not record.differences.items:
        return "change"
    first = record.differences.items[0]
    gone = first.after is None
    match first.path.split("/"):
        case ["interfaces", _]:
            return "detach" if gone else "attach"
        case ["sets", name, "entries", *_] if name in _VERBS:
            return f"un{_VERBS[name]}" if gone else _VERBS[name]
    return "change"


def _document(each: Difference) -> dict[str, Any]:
    return {"path": each.path, "before": each.before, "after": each.after}
