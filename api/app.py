# SPDX-License-Identifier: Apache-2.0
"""The application: routes, errors, and the gate before them."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import FastAPI

from api import dashboard, errors, openapi
from api.auth import Tokens, Trust
from api.gate import Gate
from api.routers import (
    addresses,
    audit,
    config,
    confirmations,
    entries,
    events,
    explain,
    health,
    interfaces,
    live,
    metrics,
    panic,
    policy,
    rules,
    sets,
    tokens,
    verification,
)
from xdpfw import __version__
from xdpfw.service import Firewall

ROUTERS = [
    *(module.router for module in (entries, addresses, health, interfaces, live, sets, policy, rules, explain, events)),
    *(module.router for module in (tokens, config, confirmations, audit, panic, verification)),
    *(health.root, metrics.root, dashboard.router),
]
"""Asked in this order, and each of them takes its time: what is called most comes first."""


def create_app(firewall: Firewall, tokens_: Tokens, *, trust: Trust | None = None, names: Collection[str] = ()) -> Gate:
    """`trust`: which peers of the unix socket may call. `names`: host names, beside the loopback's, under which the
    TCP listener may be called."""
    app = FastAPI(
        title="xdpfw",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        routes=[route for router in ROUTERS for route in router.routes],
    )
    app.state.firewall = firewall
    app.state.tokens = tokens_
    errors.install(app)
    app.openapi = lambda: openapi.document(app)  # type: ignore[method-assign]
    # around all of it, so that an answer to a defect has its number too
    return Gate(app, tokens_, trust or Trust(), frozenset(names), note=lambda *said: app.state.firewall.note(*said))
