# SPDX-License-Identifier: Apache-2.0
"""The desired state as one document, earlier revisions of it, and the way back."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse

from api.answers import RevisionPage, marks, page_of
from api.auth import Role
from api.bodies import check_type, chunks, media_type
from api.config_schema import CONFIG_ANSWER, CONFIG_BODY
from api.deps import Service, check_fresh
from api.documents import YAML, YAML_TYPES, read_json, read_yaml, write_yaml
from api.params import DEFAULT_LIMIT, Cursor, Limit, Options
from api.routing import routes
from api.schemas import RollbackBody
from api.streams import preferred
from xdpfw.model.ledger_views import ChangeView

router = routes("configuration")

JSON_LIMIT, YAML_LIMIT = 32 << 20, 8 << 20
ALL = "*"
FORMS = {"json": "application/json", "yaml": YAML} | {name: name for name in YAML_TYPES[1:]}

Filled = Annotated[
    str,
    Query(max_length=10_000, description="Sets whose entries are told: names apart by commas, or *", examples=["*"]),
]


@router.get("/config", summary="The desired state", responses={200: CONFIG_ANSWER}, response_model=None)
async def get_config(request: Request, firewall: Service, entries: Filled = "") -> Any:
    """As one document, JSON or YAML: what is put in unchanged changes nothing. Dynamic sets are not in it, nor are
    entries unless they are asked for, up to 100,000."""
    form = preferred(request.headers.get("accept"), FORMS)
    etag = firewall.config_tag()
    check_fresh(request, etag)
    names = None if entries == ALL else [name for name in entries.split(",") if name]
    document = await firewall.config(names)
    headers = {"ETag": etag, "Vary": "Accept"}
    if form == "json":
        return JSONResponse(document, headers=headers)
    return Response(await asyncio.to_thread(write_yaml, document), media_type=YAML, headers=headers)


@router.put("/config", summary="Bring about the desired state", openapi_extra=CONFIG_BODY)
async def put_config(request: Request, response: Response, firewall: Service, options: Options) -> ChangeView:
    """All of it or nothing. The document owns what it names: sections, sets and interfaces that it leaves out stay as
    they are, so do the entries of a set that it gives none for; null takes a set or an interface out; the list of rules
    is owned as a whole. Interfaces need the role admin."""
    check_type(request, {"application/json", *YAML_TYPES})
    as_yaml = media_type(request) in YAML_TYPES
    body = b"".join([chunk async for chunk in chunks(request, YAML_LIMIT if as_yaml else JSON_LIMIT)])
    document = await asyncio.to_thread(read_yaml if as_yaml else read_json, body)
    desired = await firewall.read_config(document)
    if desired.interfaces:
        request.state.caller.need(Role.ADMIN)
    view = await firewall.put_config(desired, options)
    marks(response, view)
    return view


@router.get("/revisions", summary="Revisions to go back to")
async def list_revisions(firewall: Service, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> RevisionPage:
    """The last 100 revisions of the policy, newest first, and how it was before all of them."""
    return RevisionPage(*page_of(await firewall.revisions(), limit, cursor))


@router.post("/rollback", summary="Go back to a revision")
async def roll_back(firewall: Service, response: Response, options: Options, body: RollbackBody) -> ChangeView:
    """Rules, default, mode, sets' definitions and lists that were replaced become as they were at that revision, and
    that makes a new one. Entries written one by one stay as they are, and bans too."""
    view = await firewall.roll_back(body.revision, options)
    marks(response, view)
    return view
