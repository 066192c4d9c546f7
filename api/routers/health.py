# SPDX-License-Identifier: Apache-2.0
"""Alive, ready, status."""

from __future__ import annotations

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from api.answers import Health, Readiness
from api.deps import Service
from api.errors import problem
from api.routing import routes
from xdpfw.model.errors import Fault
from xdpfw.model.views import StatusView

root = routes("health", prefix="")
router = routes("health")


@root.get("/healthz", summary="Alive")
async def healthz() -> Health:
    """The daemon answers. Needs no token."""
    return Health("ok")


@root.get("/readyz", summary="Ready to enforce", response_model=Readiness)
async def readyz(firewall: Service) -> Readiness | Response:
    """503 with the reasons when something that is wanted is not enforced."""
    problems = await firewall.problems()
    if not problems:
        return Readiness("ready", firewall.drifted())
    faults = [Fault("", text) for text in problems]
    return problem(503, "Not ready", "; ".join(problems), kind="not-ready", faults=faults)


@root.get("/openapi.json", include_in_schema=False)
@router.get("/openapi.json", include_in_schema=False)
async def get_openapi(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@router.get("/status", summary="Status")
async def get_status(firewall: Service) -> StatusView:
    """Version, revision, interfaces, map fill, the operation under way, kernel features."""
    return await firewall.status()
