# SPDX-License-Identifier: Apache-2.0
"""Metrics for Prometheus."""

from __future__ import annotations

from fastapi import Response
from fastapi.responses import PlainTextResponse

from api.deps import Service
from api.metrics import MEDIA_TYPE, collect
from api.routing import routes

root = routes("health", prefix="")


@root.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
async def get_metrics(firewall: Service) -> Response:
    """Counters per interface and reason, entries and hits per set, map fill."""
    return Response(await collect(firewall), media_type=MEDIA_TYPE)
