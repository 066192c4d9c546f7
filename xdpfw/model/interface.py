# SPDX-License-Identifier: Apache-2.0
"""Network interfaces as the firewall sees them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class AttachMode(StrEnum):
    AUTO = "auto"
    NATIVE = "native"
    GENERIC = "generic"


class InterfaceState(StrEnum):
    ATTACHED = "attached"
    DETACHED = "detached"
    ABSENT = "absent"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class ForeignProgram:
    """An XDP program on an interface that is not ours."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Link:
    """One network interface of this namespace, as netlink tells it. `xdp_program` is whatever is attached now;
    `strips_tags`: VLAN tags travel beside the frame, where XDP does not see them."""

    name: str
    index: int
    mac: str
    mtu: int
    driver: str
    up: bool
    xdp_program: int | None
    strips_tags: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """Our program on an interface. `mode` is native or generic; `warning` tells why auto fell back, if it did.
    `closed`: it is the stand-in that drops until the packet program can be attached."""

    name: str
    index: int
    mode: AttachMode
    program_id: int
    warning: str = ""
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Epoch:
    """When the talkers of an interface were last counted afresh (wall clock ns), and its totals at that moment."""

    since: int
    totals: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Route:
    """`interface` and `local`, this host's address on the way: None where there is no way."""

    interface: str | None = None
    local: str | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Somebody whom this host depends on."""

    address: str
    role: Literal["ssh", "gateway", "resolver"]
    route: Route = Route()
