# SPDX-License-Identifier: Apache-2.0
"""Questions to the packet path itself. They change nothing, counters included, so reading is enough of a role."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Query, Request
from pydantic import AfterValidator, TypeAdapter
from starlette.responses import Response, StreamingResponse

from api.bodies import REPLAY_LIMIT, check_type, chunks, spooled
from api.deps import Service
from api.params import interface_name
from api.routing import routes
from api.schemas import ExplainBody
from xdpfw.frames.build import Description
from xdpfw.model.errors import Fault, InvalidInput
from xdpfw.model.packet_views import ReplayedPacket, ReplayView
from xdpfw.model.views import ExplainView

router = routes("explain")

CAPTURES = ("application/vnd.tcpdump.pcap", "application/x-pcapng", "application/octet-stream")
REPLAY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": f"A pcap or pcapng capture of at most {REPLAY_LIMIT} bytes",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in CAPTURES},
    }
}
LINES = {
    "content": {"application/x-ndjson": {"schema": {"$ref": "#/components/schemas/ReplayedPacket"}}},
    "model": ReplayView | ReplayedPacket,
}

_PACKET = TypeAdapter(ReplayedPacket)


@router.post("/explain", summary="What becomes of a packet, and why")
async def explain(firewall: Service, body: ExplainBody) -> ExplainView:
    """Answered by the program and the tables in force. Either a description, or `frame`: raw bytes in base64."""
    if body.frame is not None:
        return await firewall.explain_frame(_frame(body), body.interface)
    if body.source is None:
        raise InvalidInput("/source: say at least where the packet comes from", [Fault("/source", "is missing")])
    source = body.source
    destination = body.destination or type(source)(0)
    given = {name: getattr(body, name) for name in body.model_fields_set - {"frame", "source", "destination"}}
    said = {name: value for name, value in given.items() if value is not None}
    return await firewall.explain(Description(source, destination, **said))


def _frame(body: ExplainBody) -> bytes:
    others = sorted(body.model_fields_set - {"frame", "interface"})
    if others:
        detail = "a frame says this itself"
        raise InvalidInput(f"/{others[0]}: {detail}", [Fault(f"/{name}", detail) for name in others])
    try:
        return base64.b64decode(body.frame or "", validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput("/frame: this is not base64", [Fault("/frame", "this is not base64")]) from None


@router.post("/replay", summary="What would become of a capture", openapi_extra=REPLAY_BODY, responses={200: LINES})
async def replay(
    request: Request,
    firewall: Service,
    interface: Annotated[
        str | None,
        Query(description="As if it arrived there", examples=["eth0"]),
        AfterValidator(lambda text: text if text is None else interface_name(text)),
    ] = None,
    packets: Annotated[bool, Query(description="A line of JSON for each packet instead of totals")] = False,
) -> Any:
    """Judged packet by packet by the program and the tables in force, while the body arrives. Packets that are not
    Ethernet are counted as skipped; of those that were cut short in the capture, zeros take the missing place."""
    check_type(request, {*CAPTURES})
    if not packets:
        return await firewall.replay(chunks(request, REPLAY_LIMIT), interface)
    return await _stream(firewall.replay_packets(spooled(request, REPLAY_LIMIT), interface))


async def _stream(pages: AsyncIterator[list[ReplayedPacket]]) -> Response:
    """The first page is made before the answer begins, so that a body that is no capture is still a problem document;
    damage further on ends the stream with its last line."""
    first: list[ReplayedPacket] = await anext(pages, [])

    async def lines() -> AsyncIterator[bytes]:
        yield await asyncio.to_thread(_lines, first)
        async for page in pages:
            yield await asyncio.to_thread(_lines, page)

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def _lines(page: list[ReplayedPacket]) -> bytes:
    return b"".join(_PACKET.dump_json(packet) + b"\n" for packet in page)
