# SPDX-License-Identifier: Apache-2.0
"""Changes that hold only if somebody confirms them in time."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Response

from api.answers import DELETION, ConfirmationPage, gone, marks
from api.deps import Service, etag_of
from api.params import DEFAULT_LIMIT, Cursor, Limit, PlainOptions
from api.routing import routes
from xdpfw.model.views import Written

router = routes("confirmations")

Id = Annotated[str, Path(description="Id of the confirmation", examples=["5f0c9a1e"])]


@router.get("/confirmations", summary="What waits to be confirmed", dependencies=[Depends(etag_of("confirmations"))])
async def list_confirmations(
    firewall: Service, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> ConfirmationPage:
    """One change at most. While it waits, what it wrote answers 409 to others."""
    items = firewall.confirmations()
    return ConfirmationPage(items, None, len(items))


@router.post("/confirmations/{id}", summary="Keep the change")
async def confirm(firewall: Service, response: Response, id: Id, options: PlainOptions) -> Written:
    """409 when its time is over. Unless this is called, the change is taken back by itself, also across a restart."""
    written = await firewall.confirm(id, options)
    marks(response, written, created=False)
    return written


@router.delete("/confirmations/{id}", summary="Take the change back now", **DELETION)
async def take_back(firewall: Service, id: Id, options: PlainOptions) -> Response:
    """Only what the change wrote becomes as it was; what others wrote since stays."""
    return gone(await firewall.take_back(id, options))
