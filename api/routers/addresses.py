# SPDX-License-Identifier: Apache-2.0
"""Is this address blocked, by what, until when."""

from __future__ import annotations

from api.deps import Service
from api.params import PathAddress
from api.routing import routes
from xdpfw.model.views import AddressView

router = routes("addresses")


@router.get("/addresses/{ip:path}", summary="What happens to packets from an address")
async def get_address(firewall: Service, address: PathAddress) -> AddressView:
    """The verdict, the row that gives it, every entry that contains the address (the most specific first), and where
    the address was seen. `conditional`: it depends on more than the source."""
    return await firewall.address(address)
