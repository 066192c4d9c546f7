# SPDX-License-Identifier: Apache-2.0
"""Whom this host depends on: ssh peers, gateways, name servers; and by which interface they are reached.

pyroute2's blocking calls run an event loop of their own: never call them on a thread that runs one already.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

from pyroute2 import DiagSocket, IPRoute
from pyroute2.netlink.diag import SS_ESTABLISHED
from pyroute2.netlink.exceptions import NetlinkError

from xdpfw.model.errors import KernelError
from xdpfw.model.interface import Neighbour, Route

SSH_PORT = 22
RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""resolv.conf(5). A resolver of this host's own (systemd-resolved) keeps those that it asks in the second one."""


def found() -> list[Neighbour]:
    """Raises KernelError: netlink does not answer."""
    try:
        with DiagSocket() as diag:
            peers = [Neighbour(address, "ssh", Route(local=local)) for address, local in _ssh_peers(diag)]
        with IPRoute() as netlink:
            resolvers = [Neighbour(address, "resolver") for address in name_servers()]
            return [*_gateways(netlink), *(_routed(netlink, neighbour) for neighbour in (*peers, *resolvers))]
    except (NetlinkError, OSError) as error:
        raise KernelError(f"cannot tell whom this host depends on: {error}") from error


def route(address: str) -> Route:
    """Raises KernelError: netlink does not answer."""
    try:
        with IPRoute() as netlink:
            return _route(netlink, address)
    except OSError as error:
        raise KernelError(f"cannot read the routes: {error}") from error


def _routed(netlink: IPRoute, neighbour: Neighbour) -> Neighbour:
    way = _route(netlink, neighbour.address)
    return Neighbour(neighbour.address, neighbour.role, Route(way.interface, neighbour.route.local or way.local))


def _route(netlink: IPRoute, address: str) -> Route:
    try:
        [message] = netlink.route("get", dst=address)
    except (NetlinkError, ValueError):
        return Route()  # there is no way
    return Route(_name(message.get_attr("RTA_OIF")), message.get_attr("RTA_PREFSRC"))


def _gateways(netlink: IPRoute) -> list[Neighbour]:
    """Next hops of the default routes, both families."""
    hops: set[tuple[str, int]] = set()
    for route in netlink.get_default_routes():
        several = route.get_attr("RTA_MULTIPATH") or ()
        ways = [(route.get_attr("RTA_GATEWAY"), route.get_attr("RTA_OIF"))]
        ways += [(way.get_attr("RTA_GATEWAY"), way["oif"]) for way in several]
        hops.update((hop, index) for hop, index in ways if hop and index)
    return [Neighbour(hop, "gateway", Route(_name(index), _route(netlink, hop).local)) for hop, index in sorted(hops)]


def _name(index: int) -> str | None:
    try:
        return socket.if_indextoname(index)
    except OSError:  # it has just gone
        return None


def _ssh_peers(diag: DiagSocket) -> list[tuple[str, str]]:
    """Both ends of established TCP connections to this host's port 22, the far one first."""
    ends: set[tuple[str, str]] = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        ends.update(
            (entry["idiag_dst"], entry["idiag_src"])
            for entry in diag.get_sock_stats(family=family, states=1 << SS_ESTABLISHED)
            if entry["idiag_sport"] == SSH_PORT
        )
    return sorted(ends)


def name_servers() -> list[str]:
    """Addresses of other hosts in the first file that names any."""
    for path in RESOLVERS:
        if servers := [each for each in _named(path) if not ipaddress.ip_address(each.partition("%")[0]).is_loopback]:
            return servers
    return []


def _named(path: Path) -> Iterator[str]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return
    for words in map(str.split, lines):
        if len(words) > 1 and words[0] == "nameserver":
            try:
                ipaddress.ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            yield words[1]
