# SPDX-License-Identifier: Apache-2.0
"""Panic: drop everything but what must stay reachable."""

from __future__ import annotations

from fastapi import Depends, Response

from api.answers import DELETION, PanicAnswer, beside, gone, marks
from api.deps import Service, etag_of
from api.params import Options
from api.routing import routes
from api.schemas import PanicBody
from xdpfw.model.views import PanicView

router = routes("policy")


@router.get("/panic", summary="Whether there is panic", dependencies=[Depends(etag_of("policy"))])
async def get_panic(firewall: Service) -> PanicView:
    return firewall.panic()


@router.put("/panic", summary="Drop everything but what is kept")
async def put_panic(
    firewall: Service, response: Response, options: Options, body: PanicBody | None = None
) -> PanicAnswer:
    """Kept are the prefixes that are named, ssh peers, whoever asks, and the management prefixes; and ARP and neighbour
    discovery, as always. The policy waits behind, as it is, and comes back exactly with DELETE; until then it answers
    409 to writers. Entries can be written. It outlives a restart."""
    view, written = await firewall.start_panic((body or PanicBody()).keep, options)
    marks(response, written)
    return beside(PanicAnswer, view, written)


@router.delete("/panic", summary="End the panic", **DELETION)
async def end_panic(firewall: Service, options: Options) -> Response:
    """The policy is what it was before. 404 when there is no panic."""
    return gone(await firewall.end_panic(options))
