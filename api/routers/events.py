# SPDX-License-Identifier: Apache-2.0
"""Events: frames with their verdict, as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import Depends, Query, Request
from pydantic import AfterValidator, TypeAdapter
from starlette.responses import Response, StreamingResponse

from api.auth import Tokens
from api.deps import Service
from api.events import event, event_stream, stream_of
from api.params import Within, interface_name
from api.routing import routes
from xdpfw import __version__
from xdpfw.events import Event, EventFilter
from xdpfw.frames.pcapng import MEDIA_TYPE, CaptureWriter
from xdpfw.model.packet_views import EventView
from xdpfw.model.rule_form import protocol as protocol_number
from xdpfw.model.rule_form import rule_id

router = routes("events")

_EVENT = TypeAdapter(EventView)
_ALIVE = b": nothing for a while\n\n"
SNAP_MAX = 256


async def _filter(
    within: Within,
    interface: Annotated[
        str | None,
        Query(description="Only of this interface", examples=["eth0"]),
        AfterValidator(lambda text: text if text is None else interface_name(text)),
    ] = None,
    verdict: Annotated[Literal["pass", "drop"] | None, Query(description="Only with this verdict")] = None,
    rule: Annotated[
        str | None,
        Query(description="Only what this rule decided, or would have", examples=["block"]),
        AfterValidator(lambda text: text if text is None else rule_id(text)),
    ] = None,
    protocol: Annotated[
        str | None,
        Query(description="Only of this protocol: a name or a number", examples=["tcp"]),
        AfterValidator(lambda text: text if text is None else str(protocol_number(text))),
    ] = None,
    port: Annotated[int | None, Query(ge=0, le=65535, description="Only from or to this port")] = None,
) -> EventFilter:
    number = None if protocol is None else int(protocol)
    return EventFilter(interface, verdict, within, rule, number, port)


@router.get("/events", summary="Frames with their verdict, live", **stream_of(EventView))
async def stream_events(
    request: Request,
    firewall: Service,
    wanted: Annotated[EventFilter, Depends(_filter)],
    sample: Annotated[
        bool | None,
        Query(description="Of all traffic, not only of rules that log; when nothing is said: if no rule does"),
    ] = None,
    repeat: Annotated[bool, Query(description="A source may come more than once a second")] = False,
    format: Annotated[Literal["json", "pcapng"], Query(description="Server-sent events, or a capture")] = "json",
    snap: Annotated[int, Query(ge=14, le=SNAP_MAX, description="Bytes of each frame in a capture")] = 128,
) -> Response:
    """The packet path bounds what it tells: at most one event a second for each source unless `repeat`, the rate of
    rules that log, and a budget for each CPU; `GET /status` counts what was beyond them, and what was lost. Captures
    carry verdict, queue and, as a comment, reason and rule of each packet."""
    events = firewall.watch_events(wanted, sample=sample, repeat=repeat, snap=snap)
    if format == "json":
        return await event_stream(request, _lines(events))
    if request.state.head:
        return Response(media_type=MEDIA_TYPE)
    await anext(events)
    return StreamingResponse(
        _capture(request, events, snap), media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"}
    )


async def _lines(pages: AsyncGenerator[list[Event], None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(pages):
        async for page in pages:
            yield b"".join(event(_EVENT, each.view) for each in page) or _ALIVE


async def _capture(request: Request, pages: AsyncGenerator[list[Event], None], snap: int) -> AsyncIterator[bytes]:
    """Ends when the caller's token is revoked or runs out."""
    tokens: Tokens = request.app.state.tokens
    writer = CaptureWriter(f"xdpfw {__version__}", snap)
    async with aclosing(pages):
        yield writer.begin()
        async for page in pages:
            if not tokens.holds(request.state.caller):
                return
            if page:
                yield b"".join(_packet(writer, each, snap) for each in page)


def _packet(writer: CaptureWriter, each: Event, snap: int) -> bytes:
    view = each.view
    why = f"rule {view.rule}" if view.rule else view.reason
    if view.watching:
        why += f"; rule {view.watching} would have decided"
    if view.monitored:
        why += "; monitor mode"
    drop = view.verdict == "drop"
    return writer.packet(
        view.interface, each.time, each.frame[:snap], view.length, drop=drop, queue=each.queue, comment=why
    )
