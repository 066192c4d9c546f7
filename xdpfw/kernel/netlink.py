# SPDX-License-Identifier: Apache-2.0
"""Interfaces and their changes, over netlink.

pyroute2's blocking calls run an event loop of their own: never call them on a thread that runs one already.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from xdpfw.kernel import ethtool
from xdpfw.model.errors import KernelError
from xdpfw.model.interface import AttachMode, Link

_UP = 1
_RTMGRP_LINK, _RTMGRP_TC = 1, 8
_RECEIVE_BYTES = 1 << 16
_COALESCE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Seen:
    """An interface as netlink tells it, with the ids of the native and the generic XDP program on it."""

    link: Link
    native: int | None
    generic: int | None

    def mode_of(self, program: int) -> AttachMode:
        return AttachMode.GENERIC if self.generic == program else AttachMode.NATIVE


def interfaces() -> list[Seen]:
    """Every interface of this network namespace.

    Raises:
        KernelError: netlink does not answer.
    """
    try:
        with IPRoute() as netlink, ethtool.control_socket() as control:
            return [_seen(message, control) for message in netlink.get_links()]
    except (NetlinkError, OSError) as error:
        raise KernelError(f"cannot list the interfaces: {error}") from error


def find(name: str) -> Seen | None:
    return next((seen for seen in interfaces() if seen.link.name == name), None)


def _seen(message: Any, control: socket.socket) -> Seen:
    name = message.get_attr("IFLA_IFNAME")
    native, generic, program = _programs(message.get_attr("IFLA_XDP"))
    kind = message.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND")
    link = Link(
        name=name,
        index=message["index"],
        mac=message.get_attr("IFLA_ADDRESS") or "",
        mtu=message.get_attr("IFLA_MTU") or 0,
        driver=ethtool.driver(name, control) or kind or "",
        up=bool(message["flags"] & _UP),
        xdp_program=program,
        strips_tags=ethtool.strips_vlan_tags(name, control),
    )
    return Seen(link, native, generic)


def _programs(xdp: Any) -> tuple[int | None, int | None, int | None]:
    """(native, generic, whichever there is)"""
    if xdp is None:
        return None, None, None
    native = xdp.get_attr("IFLA_XDP_DRV_PROG_ID")
    generic = xdp.get_attr("IFLA_XDP_SKB_PROG_ID")
    offloaded = xdp.get_attr("IFLA_XDP_HW_PROG_ID")
    return native, generic, native or generic or offloaded


async def changes() -> AsyncIterator[None]:
    """Yields after links or filters on them came, went or changed; a burst is one."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE) as feed:
        feed.bind((0, _RTMGRP_LINK | _RTMGRP_TC))
        while True:
            await _receive(loop, feed)
            await asyncio.sleep(_COALESCE_SECONDS)
            _drain(feed)
            yield


async def _receive(loop: asyncio.AbstractEventLoop, feed: socket.socket) -> None:
    try:
        await loop.sock_recv(feed, _RECEIVE_BYTES)
    except OSError:
        return  # ENOBUFS: messages were lost, which is a change as well


def _drain(feed: socket.socket) -> None:
    try:
        while feed.recv(_RECEIVE_BYTES):
            pass
    except OSError:
        return  # nothing more, or ENOBUFS
