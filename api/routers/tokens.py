# SPDX-License-Identifier: Apache-2.0
"""Access tokens for TCP."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Depends, Path, Request, Response

from api.answers import DELETION, TokenAnswer, TokenPage, TokenView, gone, marks, page
from api.auth import Role
from api.deps import Service, TokenStore, check_fresh, need_admin
from api.params import DEFAULT_LIMIT, Cursor, Limit, PlainOptions
from api.routing import routes
from api.schemas import TokenBody
from xdpfw.clock import from_datetime, to_datetime
from xdpfw.model.ledger import Difference, Differences
from xdpfw.model.views import Written
from xdpfw.service.telling import tell
from xdpfw.store.port import TokenRecord
from xdpfw.versions import check_match

router = routes("tokens", dependencies=[Depends(need_admin)])

TokenId = Annotated[str, Path(description="Id of the token", examples=["5f0c9a1e"])]


@router.get("/tokens", summary="List tokens")
async def list_tokens(
    request: Request,
    response: Response,
    tokens: TokenStore,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> TokenPage:
    """Without their secrets, which nobody has but their owners."""
    check_fresh(request, tokens.etag)
    response.headers["ETag"] = tokens.etag
    return TokenPage(*page([TokenView(**_fields(record)) for record in tokens.list()], "id", limit, cursor))


@router.post("/tokens", summary="Make a token", status_code=201)
async def create_token(
    firewall: Service, tokens: TokenStore, response: Response, options: PlainOptions, body: TokenBody
) -> TokenAnswer:
    """The secret is in this answer and never shown again."""
    check_match(options.if_match, tokens.etag)
    role = Role[body.role.upper()]
    until = from_datetime(body.expires_at) if body.expires_at else None
    record, secret = tokens.draft(body.name, role, body.ttl, until, body.sources)
    written = Written(firewall.revision, True, created=True, dry_run=options.dry_run)
    if options.dry_run:
        response.status_code = 200
    else:
        audit = firewall.accepted(options, 201, _told(record, made=True))
        await asyncio.to_thread(tokens.add, record, audit)
        tell(audit[-1])
    marks(response, written)
    return TokenAnswer(
        **_fields(record),
        secret=None if options.dry_run else secret,
        revision=written.revision,
        changed=True,
        dry_run=options.dry_run,
    )


@router.delete("/tokens/{id}", summary="Revoke a token", **DELETION)
async def revoke_token(firewall: Service, tokens: TokenStore, id: TokenId, options: PlainOptions) -> Response:
    """It is refused from now on, also on connections that are open."""
    check_match(options.if_match, tokens.etag)
    record = tokens.get(id)
    written = Written(firewall.revision, True, dry_run=options.dry_run)
    if not options.dry_run:
        audit = firewall.accepted(options, 204, _told(record, made=False))
        await asyncio.to_thread(tokens.revoke, id, audit)
        tell(audit[-1])
    return gone(written)


def _told(record: TokenRecord, *, made: bool) -> Differences:
    """For the audit trail: it came, or it goes."""
    expires = None if record.expires is None else to_datetime(record.expires).isoformat()
    said = {"name": record.name, "role": record.role, "expires_at": expires, "sources": _fields(record)["sources"]}
    path = f"tokens/{record.id}"
    return Differences((Difference(path, None, said) if made else Difference(path, said, None),))


def _fields(record: TokenRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "role": record.role,
        "created_at": to_datetime(record.created),
        "expires_at": to_datetime(record.expires) if record.expires is not None else None,
        "sources": list(map(str, record.sources)),
    }
