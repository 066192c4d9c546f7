# SPDX-License-Identifier: Apache-2.0
"""Sets of any size as a stream, and the choice between the forms of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, TypeVar

from pydantic import TypeAdapter
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from xdpfw.model.views import EntryView

Form = Literal["json", "text", "ndjson"]
F = TypeVar("F", bound=str)
MEDIA_TYPES: dict[Form, str] = {
    "json": "application/json",
    "text": "text/plain",
    "ndjson": "application/x-ndjson",
}

_ENTRY = TypeAdapter(EntryView)


def negotiate(accept: str | None) -> Form:
    """The form that an Accept header (RFC 9110, 12.5.1) prefers; JSON when it does not care. Raises 406."""
    return preferred(accept, MEDIA_TYPES)


def preferred(accept: str | None, media_types: Mapping[F, str]) -> F:
    """The name of the media type that an Accept header prefers, the first one when it does not care. Raises 406."""
    best: tuple[float, int, F] | None = None
    for item in (accept or "*/*").split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = _quality(parameters)
        for form, media_type in media_types.items():
            precision = _precision(media, media_type)
            if precision and quality > 0 and (best is None or (quality, precision) > best[:2]):
                best = (quality, precision, form)
    if best is None:
        raise HTTPException(406, f"this call answers {', '.join(media_types.values())}")
    return best[2]


def _quality(parameters: Sequence[str]) -> float:
    text = next((p.removeprefix("q=") for p in parameters if p.startswith("q=")), "1")
    try:
        return float(text)
    except ValueError:
        return 0.0


def _precision(media: str, media_type: str) -> int:
    """3 names the type, 2 its kind (`text/*`), 1 anything; 0 does not cover it."""
    if media == media_type:
        return 3
    if media == media_type.partition("/")[0] + "/*":
        return 2
    return 1 if media == "*/*" else 0


async def stream(pages: AsyncIterator[bytes], form: Form, etag: str, *, head: bool) -> Response:
    """The first page is fetched before the answer begins, so that an error is still a problem document. `head`: the
    body is not wanted."""
    first = await anext(pages, b"")
    headers = {"ETag": etag, "Vary": "Accept"}
    if head:
        return Response(media_type=MEDIA_TYPES[form], headers=headers)

    async def chunks() -> AsyncIterator[bytes]:
        yield first
        async for page in pages:
            yield page

    return StreamingResponse(chunks(), media_type=MEDIA_TYPES[form], headers=headers)


async def text_lines(pages: AsyncIterator[Sequence[str]]) -> AsyncIterator[bytes]:
    async for page in pages:
        yield ("\n".join(page) + "\n").encode() if page else b""


async def json_lines(pages: AsyncIterator[Sequence[EntryView]]) -> AsyncIterator[bytes]:
    async for page in pages:
        yield await asyncio.to_thread(_json_lines, page)


def _json_lines(page: Sequence[EntryView]) -> bytes:
    return b"".join(_ENTRY.dump_json(view) + b"\n" for view in page)
