# SPDX-License-Identifier: Apache-2.0
"""Interfaces, their counters and talkers."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Response

from api.answers import DELETION, InterfaceAnswer, InterfacePage, beside, gone, marks, page
from api.deps import Service, etag_of, need_admin
from api.params import DEFAULT_LIMIT, Cursor, InterfaceName, Limit, Options, PlainOptions, Reasons, Talkers
from api.routing import routes
from api.schemas import InterfaceBody
from xdpfw.model.packet_views import ProgramView
from xdpfw.model.views import CountersView, InterfaceView, TalkersView

router = routes("interfaces")
ADMIN = [Depends(need_admin)]


@router.get("/interfaces", summary="List interfaces", dependencies=[Depends(etag_of("interfaces"))])
async def list_interfaces(firewall: Service, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None) -> InterfacePage:
    """Every interface of the namespace, and those that are wanted but absent, by name."""
    return InterfacePage(*page(await firewall.list_interfaces(), "name", limit, cursor))


@router.get("/interfaces/{name}", summary="One interface", dependencies=[Depends(etag_of("interfaces/{name}"))])
async def get_interface(firewall: Service, name: InterfaceName) -> InterfaceView:
    return await firewall.interface(name)


@router.put("/interfaces/{name}", summary="Attach", dependencies=ADMIN)
async def attach_interface(
    firewall: Service,
    response: Response,
    name: InterfaceName,
    options: Options,
    body: InterfaceBody | None = None,
) -> InterfaceAnswer:
    """Desired state, stored: attached again after a restart and when the interface comes back. Changing the mode of
    an attached interface is 409 unless forced; a foreign program is 409 always."""
    view, written = await firewall.attach(name, (body or InterfaceBody()).mode, options)
    marks(response, written)
    return beside(InterfaceAnswer, view, written)


@router.delete(
    "/interfaces/{name}",
    summary="Detach",
    dependencies=ADMIN,
    **DELETION,
)
async def detach_interface(firewall: Service, name: InterfaceName, options: Options) -> Response:
    """404 if it is not attached by us. Never touches a foreign program."""
    written = await firewall.detach(name, options)
    return gone(written)


@router.get("/interfaces/{name}/counters", summary="Counters by reason")
async def get_counters(firewall: Service, name: InterfaceName, reasons: Reasons = True) -> CountersView:
    """Every frame counts once: the reasons sum up to the totals. Rates span the last two seconds."""
    return await firewall.counters(name, reasons=reasons)


@router.get("/interfaces/{name}/talkers", summary="Top talkers of one interface")
async def list_interface_talkers(firewall: Service, name: InterfaceName, query: Talkers) -> TalkersView:
    """`other` is what no tracked talker sent: all tracked talkers + other = totals."""
    return await firewall.talkers(name, query)


@router.delete(
    "/interfaces/{name}/talkers",
    summary="Count afresh",
    **DELETION,
)
async def reset_talkers(firewall: Service, name: InterfaceName, options: PlainOptions) -> Response:
    """Talkers and the totals shown with them start from this moment. The interface's counters go on."""
    written = await firewall.reset_talkers(name, options)
    return gone(written)


@router.get("/talkers", summary="Top talkers of all attached interfaces", tags=["talkers"])
async def list_talkers(firewall: Service, query: Talkers) -> TalkersView:
    """Summed by address; each item names its interfaces."""
    return await firewall.talkers(None, query)


@router.get("/interfaces/{name}/program", summary="The program that runs there")
async def get_program(
    firewall: Service,
    name: InterfaceName,
    measure: Annotated[
        int, Query(ge=0, le=60, description="Count its runs for so many seconds, which slows all programs a little")
    ] = 0,
) -> ProgramView:
    """As the kernel tells it: instructions before and after the JIT, what it is compiled for, its maps and memory."""
    return await firewall.program(name, measure)
