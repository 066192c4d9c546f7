# SPDX-License-Identifier: Apache-2.0
"""Who changed what, when, from where, to which revision; and who was refused."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Depends, Query

from api.deps import Service, need_admin
from api.params import DEFAULT_LIMIT, Cursor, Limit
from api.routing import routes
from xdpfw.model.errors import Fault, InvalidInput
from xdpfw.model.ledger import AuditQuery, Outcome
from xdpfw.model.ledger_views import AuditPage

router = routes("audit", dependencies=[Depends(need_admin)])

LAST_ID = 2**63 - 1
Actor = Annotated[
    str | None, Query(max_length=100, description="uid:0, token:ID, or a token's name", examples=["uid:0"])
]
Resource = Annotated[
    str | None, Query(max_length=200, description="A path, with all that is below it", examples=["sets/block"])
]


@router.get("/audit", summary="The audit trail")
async def list_audit(
    firewall: Service,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    actor: Actor = None,
    resource: Resource = None,
    outcome: Annotated[
        Literal["accepted", "unchanged", "refused"] | None, Query(description="Only writes with this outcome")
    ] = None,
) -> AuditPage:
    """Every accepted and refused write, newest first. Needs the role admin: it tells who does what."""
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and int(cursor[:19]) < LAST_ID):
        raise InvalidInput("the cursor is none that was given out here", [Fault("?cursor", "is not a record's id")])
    query = AuditQuery(
        limit,
        int(cursor) if cursor else None,
        actor,
        resource.strip("/") if resource else None,
        Outcome(outcome) if outcome else None,
    )
    return await firewall.audit(query)
