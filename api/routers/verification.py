# SPDX-License-Identifier: Apache-2.0
"""Whether the kernel holds what the policy says."""

from __future__ import annotations

from fastapi import Depends, Response

from api.answers import VerificationAnswer, beside, marks
from api.deps import Service, need_admin
from api.params import PlainOptions
from api.routing import routes
from xdpfw.model.views import VerificationView

router = routes("health")


@router.get("/verification", summary="Compare the kernel's tables with the policy")
async def verify(firewall: Service) -> VerificationView:
    """Every map, prefix by prefix; a million take a second or two of one processor. Waits for an import to end."""
    return await firewall.verify()


@router.post("/verification", summary="Write again what differs", dependencies=[Depends(need_admin)])
async def repair(firewall: Service, response: Response, options: PlainOptions) -> VerificationAnswer:
    """Answers what differed before. Only that is written; counters and all else stay. Others wait meanwhile."""
    view, written = await firewall.repair(options)
    marks(response, written)
    return beside(VerificationAnswer, view, written)
