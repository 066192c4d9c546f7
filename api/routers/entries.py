# SPDX-License-Identifier: Apache-2.0
"""Entries of a set: one, several, all."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request, Response
from pydantic import AfterValidator

from api.answers import DELETION, EntryAnswer, entry_answer, gone, marks
from api.bodies import (
    BULK_LIMIT,
    FORMS,
    PATCH_LIMIT,
    check_type,
    chunks,
    media_type,
    read_model,
)
from api.deps import Service, check_fresh, etag_of
from api.params import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Options,
    OriginQuery,
    PathPrefix,
    SetName,
    Within,
)
from api.routing import routes
from api.schemas import AddedEntry, EntriesPatch, EntryBody
from api.streams import MEDIA_TYPES, json_lines, negotiate, stream, text_lines
from xdpfw.clock import SECOND, from_datetime
from xdpfw.model import texts
from xdpfw.model.errors import Fault, InvalidInput
from xdpfw.model.policy import DEFAULT_ORIGIN, Claim
from xdpfw.model.views import EntriesWritten, EntryPage, EntryView

router = routes("entries")

LIST = {
    "content": {
        MEDIA_TYPES["text"]: {"schema": {"type": "string"}, "example": "192.0.2.0/24\n2001:db8::/32\n"},
        MEDIA_TYPES["ndjson"]: {"schema": {"$ref": "#/components/schemas/EntryView"}},
    }
}
PATCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/EntriesPatch"}}},
    }
}
BULK_BODY = {
    "requestBody": {
        "required": False,
        "description": f"At most {BULK_LIMIT} bytes. No body is an empty list, which needs `force` where entries are",
        "content": {
            "text/plain": {
                "schema": {"type": "string"},
                "example": "192.0.2.0/24 ; a comment\n2001:db8::/32\n",
            },
            "application/json": {"schema": {"type": "array", "items": {}}, "example": ["192.0.2.0/24"]},
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"prefix": "192.0.2.0/24", "ttl": 60}\n',
            },
        },
    }
}
Ttl = Annotated[
    str | None,
    Query(description="Seconds, or 90s, 15m, 1h, 7d; applies to all", examples=["1h"]),
    AfterValidator(lambda text: None if text is None else str(texts.duration(text))),
]
CommentQuery = Annotated[str, Query(description="Applies to all"), AfterValidator(texts.comment)]
Etag = Annotated[str, Depends(etag_of("sets/{set}/entries"))]


@router.get("/sets/{set}/entries", summary="List entries", response_model=EntryPage, responses={200: LIST})
async def list_entries(
    request: Request,
    firewall: Service,
    set: SetName,
    etag: Etag,
    within: Within,
    origin: OriginQuery = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Any:
    """In address order, IPv4 first. As JSON by pages; as text or NDJSON the whole set in one stream."""
    form = negotiate(request.headers.get("accept"))
    if form == "json":
        return await firewall.entries(set, after=cursor, limit=limit, within=within, origin=origin)
    if form == "text":
        lines = text_lines(firewall.export_prefixes(set, within=within, origin=origin))
    else:
        lines = json_lines(firewall.export(set, within=within, origin=origin))
    return await stream(lines, form, etag, head=request.state.head)


@router.patch("/sets/{set}/entries", summary="Add and remove entries", openapi_extra=PATCH_BODY)
async def patch_entries(
    request: Request,
    response: Response,
    firewall: Service,
    set: SetName,
    options: Options,
    origin: OriginQuery = None,
    ttl_policy: Annotated[
        Literal["longest", "set"],
        Query(description="longest: an entry's end only moves later; set: exactly as said"),
    ] = "longest",
    ignore_missing: Annotated[bool, Query(description="Removing what is not there is no error")] = False,
) -> EntriesWritten:
    """All or nothing. `?origin=` is that of added prefixes that name none, and removes that origin's claims only."""
    body = await read_model(request, EntriesPatch, PATCH_LIMIT)
    now = firewall.clock.wall()
    claims = [_claim(item, origin, now) for item in body.add]
    past = [n for n, claim in enumerate(claims) if claim.expires is not None and claim.expires <= now]
    if past:
        raise InvalidInput(
            "an entry would have run out already", [Fault(f"/add/{n}/expires_at", "is past") for n in past]
        )
    written = await firewall.patch_entries(
        set,
        claims,
        body.remove,
        longest=ttl_policy == "longest",
        ignore_missing=ignore_missing,
        origin=origin,
        opts=options,
    )
    marks(response, written, created=False)
    return written


def _claim(item: AddedEntry, origin: str | None, now: int) -> Claim:
    expires = None if item.ttl is None else now + item.ttl * SECOND
    if item.expires_at is not None:
        expires = from_datetime(item.expires_at)
    named = item.origin if "origin" in item.model_fields_set else origin or DEFAULT_ORIGIN
    return Claim(item.prefix, named, expires, item.comment, now)


@router.put("/sets/{set}/entries", summary="Replace all entries", openapi_extra=BULK_BODY)
async def replace_entries(
    request: Request,
    response: Response,
    firewall: Service,
    set: SetName,
    options: Options,
    origin: OriginQuery = None,
    ttl: Ttl = None,
    comment: CommentQuery = "",
    skip_invalid: Annotated[bool, Query(description="Load the rest; what was left out comes back as skipped")] = False,
) -> EntriesWritten:
    """Atomically: packets see the old set or the new one. `?origin=` replaces that origin's claims only. Counters of
    entries that stay go on."""
    firewall.check_set(set)
    with firewall.arriving(set) as since:  # before the body, which may take its time
        check_type(request, {*FORMS})
        form = FORMS.get(media_type(request), "text")
        written = await firewall.replace_entries(
            set,
            await firewall.read_list(chunks(request, BULK_LIMIT), form, skip_invalid=skip_invalid),
            origin=origin,
            ttl=None if ttl is None else int(ttl),
            comment=comment,
            since=since,
            opts=options,
        )
    marks(response, written, created=False)
    return written


@router.get("/sets/{set}/entries/{prefix:path}", summary="One entry")
async def get_entry(
    request: Request, response: Response, firewall: Service, set: SetName, prefix: PathPrefix
) -> EntryView:
    """Exactly that prefix; `GET /addresses/{ip}` tells what covers an address."""
    etag = firewall.entry_tag(set, prefix)
    if etag is not None:
        check_fresh(request, etag)
        response.headers["ETag"] = etag
    return await firewall.entry(set, prefix)


@router.put("/sets/{set}/entries/{prefix:path}", summary="Set one entry")
async def put_entry(
    firewall: Service,
    response: Response,
    set: SetName,
    prefix: PathPrefix,
    options: Options,
    body: EntryBody | None = None,
) -> EntryAnswer:
    """Exactly what it says, for its origin: without ttl and expires_at it is there for ever."""
    said = body or EntryBody()
    view, written = await firewall.put_entry(
        set,
        prefix,
        ttl=said.ttl,
        expires_at=said.expires_at,
        comment=said.comment,
        origin=said.origin,
        opts=options,
    )
    marks(response, written)
    return entry_answer(str(prefix), view, written)


@router.delete(
    "/sets/{set}/entries/{prefix:path}",
    summary="Remove one entry",
    **DELETION,
)
async def delete_entry(
    firewall: Service, set: SetName, prefix: PathPrefix, options: Options, origin: OriginQuery = None
) -> Response:
    """Exactly that prefix; with `?origin=` only that claim. What else covers it stays: see X-Effective."""
    written = await firewall.delete_entry(set, prefix, origin, options)
    return gone(written)
