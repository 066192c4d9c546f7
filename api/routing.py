# SPDX-License-Identifier: Apache-2.0
"""What the endpoints of a module have in common. Their paths are whole from the beginning, so that the application
takes them as they are: what FastAPI includes under a prefix, it builds anew."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute

from api.bodies import StrictRoute
from api.trail import BASE


def routes(tag: str, prefix: str = BASE, **options: Any) -> APIRouter:
    """For the endpoints of a module; the tag is their chapter in the OpenAPI document."""
    return APIRouter(
        tags=[tag],
        prefix=prefix,
        route_class=StrictRoute,
        generate_unique_id_function=operation_id,
        **options,
    )


def operation_id(route: APIRoute) -> str:
    """The name of the endpoint's function: stable, unique, and a good method name in a generated client."""
    return route.name
