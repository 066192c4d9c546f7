# SPDX-License-Identifier: Apache-2.0
"""The policy's default verdict and its mode."""

from __future__ import annotations

from fastapi import Depends, Response

from api.answers import PolicyAnswer, beside, marks
from api.deps import Service, etag_of
from api.params import Options
from api.routing import routes
from api.schemas import PolicyPatch
from xdpfw.model.views import PolicyView

router = routes("policy")


@router.get("/policy", summary="The policy", dependencies=[Depends(etag_of("policy"))])
async def get_policy(firewall: Service) -> PolicyView:
    return await firewall.policy()


@router.patch("/policy", summary="Change default or mode")
async def patch_policy(firewall: Service, response: Response, options: Options, body: PolicyPatch) -> PolicyAnswer:
    """What the body leaves out stays. ARP and neighbour discovery pass under every default."""
    view, written = await firewall.patch_policy(body.default, body.mode, body.ethertypes, options)
    marks(response, written)
    return beside(PolicyAnswer, view, written)
