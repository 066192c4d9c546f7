# SPDX-License-Identifier: Apache-2.0
"""Sets: named collections of entries."""

from __future__ import annotations

from fastapi import Depends, Response

from api.answers import DELETION, SetAnswer, SetPage, beside, gone, marks, page
from api.deps import Service, etag_of
from api.params import DEFAULT_LIMIT, Cursor, Limit, Options, SetName
from api.routing import routes
from api.schemas import SetBody
from xdpfw.model.views import SetView

router = routes("sets")


@router.get("/sets", summary="List sets", dependencies=[Depends(etag_of("sets"))])
async def list_sets(firewall: Service, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> SetPage:
    """`allow` and `block` always exist."""
    return SetPage(*page(await firewall.list_sets(), "name", limit, cursor))


@router.get("/sets/{set}", summary="One set", dependencies=[Depends(etag_of("sets/{set}"))])
async def get_set(firewall: Service, set: SetName) -> SetView:
    return await firewall.set_view(set)


@router.put("/sets/{set}", summary="Make or describe a set")
async def put_set(
    firewall: Service, response: Response, set: SetName, options: Options, body: SetBody | None = None
) -> SetAnswer:
    """Its entries stay as they are."""
    said = body or SetBody()
    view, written = await firewall.put_set(set, said.comment, options)
    marks(response, written)
    return beside(SetAnswer, view or SetView(set, said.comment, 0, 0, 0, 0, 0), written)


@router.delete(
    "/sets/{set}",
    summary="Delete a set and its entries",
    **DELETION,
)
async def delete_set(firewall: Service, set: SetName, options: Options) -> Response:
    """409 for `allow`, `block` and a set that a rule uses."""
    written = await firewall.delete_set(set, options)
    return gone(written)
