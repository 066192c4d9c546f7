# SPDX-License-Identifier: Apache-2.0
"""What people watch: streams of counters and talkers, and the last minutes."""

from __future__ import annotations

import gzip

from fastapi import Request, Response
from pydantic import TypeAdapter

from api.answers import CountersPage, HistoryPage
from api.deps import Service
from api.encoding import takes_gzip
from api.events import event, event_stream, stream_of
from api.params import InterfaceName, Interval, OneInterface, Reasons, Spans, Talkers
from api.routing import routes
from xdpfw.hub import together
from xdpfw.model.views import CountersView, HistoryView, StatusView, TalkersView

OFTEN, SELDOM = 1.0, 3.0
"""Seconds from one event to the next of the parts of the live stream."""

router = routes("live")

_COUNTERS, _COUNTERS_PAGE, _TALKERS = TypeAdapter(CountersView), TypeAdapter(CountersPage), TypeAdapter(TalkersView)
_STATUS = TypeAdapter(StatusView)
_HISTORY, _HISTORY_PAGE = TypeAdapter(HistoryView), TypeAdapter(HistoryPage)


@router.get("/interfaces/{name}/counters/stream", summary="Counters of one interface, live", **stream_of(CountersView))
async def stream_interface_counters(
    request: Request, firewall: Service, name: InterfaceName, interval: Interval, reasons: Reasons = True
) -> Response:
    """What `…/counters` answers, again and again. All viewers share one reading a second; a slow one skips events."""
    events = firewall.watch_counters(name, reasons, interval, _one_counters)
    return await event_stream(request, events)


@router.get("/interfaces/{name}/talkers/stream", summary="Top talkers of one interface, live", **stream_of(TalkersView))
async def stream_interface_talkers(
    request: Request, firewall: Service, name: InterfaceName, query: Talkers, interval: Interval
) -> Response:
    """What `…/talkers` answers, again and again. All viewers share one reading a second; a slow one skips events."""
    events = firewall.watch_talkers(name, query, interval, _talkers)
    return await event_stream(request, events)


@router.get("/interfaces/{name}/history", summary="The last minutes of one interface", response_model=HistoryView)
async def get_history(request: Request, firewall: Service, name: InterfaceName, spans: Spans) -> Response:
    """Mean rates within each step. What the last 15 minutes were like is kept in the daemon's memory."""
    [history] = await firewall.history(name, *spans)
    return _packed(request, _HISTORY.dump_json(history))


@router.get("/counters", summary="Counters of all attached interfaces")
async def list_counters(firewall: Service, reasons: Reasons = True) -> CountersPage:
    return _page(await firewall.all_counters(reasons=reasons))


@router.get("/counters/stream", summary="Counters of all attached interfaces, live", **stream_of(CountersPage))
async def stream_counters(request: Request, firewall: Service, interval: Interval, reasons: Reasons = True) -> Response:
    """One stream for all of them: a browser opens only a few connections to one server."""
    events = firewall.watch_counters(None, reasons, interval, _all_counters)
    return await event_stream(request, events)


@router.get("/talkers/stream", summary="Top talkers of all attached interfaces, live", **stream_of(TalkersView))
async def stream_talkers(request: Request, firewall: Service, query: Talkers, interval: Interval) -> Response:
    """What `GET /talkers` answers, again and again."""
    events = firewall.watch_talkers(None, query, interval, _talkers)
    return await event_stream(request, events)


@router.get("/status/stream", summary="Status, live", **stream_of(StatusView))
async def stream_status(request: Request, firewall: Service, interval: Interval) -> Response:
    """What `GET /status` answers, again and again."""
    return await event_stream(request, firewall.watch_status(interval, _status))


@router.get("/live/stream", summary="Status, counters and talkers in one stream", **stream_of(StatusView))
async def stream_live(request: Request, firewall: Service, query: Talkers, interface: OneInterface = None) -> Response:
    """For a page that shows it all: a browser opens six connections to a server and no more. The events have names:
    `status` and `reasons` (`GET /counters` in full) every three seconds, `counters` (without reasons) and `talkers`
    (with this call's parameters) every second."""
    parts = {
        b"event: status\n": firewall.watch_status(SELDOM, _status),
        b"event: counters\n": firewall.watch_counters(None, False, OFTEN, _all_counters),
        b"event: reasons\n": firewall.watch_counters(None, True, SELDOM, _all_counters),
        b"event: talkers\n": firewall.watch_talkers(interface, query, OFTEN, _talkers),
    }
    return await event_stream(request, together(parts))


@router.get("/history", summary="The last minutes of all attached interfaces", response_model=HistoryPage)
async def list_history(request: Request, firewall: Service, spans: Spans) -> Response:
    """What `…/history` answers, of each."""
    histories = await firewall.history(None, *spans)
    return _packed(request, _HISTORY_PAGE.dump_json(HistoryPage(histories, None, len(histories))))


def _packed(request: Request, body: bytes) -> Response:
    """Compressed where the client takes that: a quarter of an hour of one interface is 50 KB of numbers."""
    headers = {"Vary": "Accept-Encoding"}
    if takes_gzip(request):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, 4, mtime=0)
    return Response(body, headers=headers, media_type="application/json")


def _page(views: list[CountersView]) -> CountersPage:
    return CountersPage(views, None, len(views))


def _one_counters(views: list[CountersView]) -> bytes:
    return event(_COUNTERS, views[0])


def _all_counters(views: list[CountersView]) -> bytes:
    return event(_COUNTERS_PAGE, _page(views))


def _status(view: StatusView) -> bytes:
    return event(_STATUS, view)


def _talkers(view: TalkersView) -> bytes:
    return event(_TALKERS, view)
