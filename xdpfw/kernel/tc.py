# SPDX-License-Identifier: Apache-2.0
"""Our one filter on the way out of an interface (tc), by netlink, among whatever others are there.

It sits on a clsact qdisc under a priority, a handle and a name of its own, and is asked for by all three: nobody else's
filter is ever changed or removed. Its name says which program it runs, which netlink's own answer does not in pyroute2.

pyroute2's blocking calls run an event loop of their own: never call them on a thread that runs one already.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from xdpfw.model.errors import KernelError, NotFound

CLSACT, INGRESS_ONLY = "clsact", "ingress"
_BOX = 0xFFFFFFF1  # TC_H_CLSACT, the parent of either qdisc
_INWARD, _OUTWARD = 0xFFFFFFF2, 0xFFFFFFF3  # TC_H_MIN_INGRESS and TC_H_MIN_EGRESS of it
_ANY_PROTOCOL = 3  # ETH_P_ALL

PRIORITY = 7
"""Early: a filter that ends the walk hides packets from those behind it; ours never does."""
HANDLE = 0x78647066
NAME = "xdpfw:"


def attached(index: int) -> int | None:
    """The id of the program that our filter runs there."""
    with _netlink(index) as netlink:
        return _ours(netlink, index)


def attach(index: int, program: int, fd: int, marks: Path) -> None:
    """Run this program (an id and its descriptor) on what leaves, in place of another one of ours. A qdisc that had to
    be made for it is marked as ours to remove (`take_off`).

    Raises:
        KernelError: the kernel refused, or somebody's ingress qdisc leaves no room for filters on the way out.
        NotFound: there is no such interface.
    """
    with _netlink(index) as netlink:
        if _make_room(netlink, index):
            (marks / str(index)).mkdir(parents=True, exist_ok=True)
        netlink.tc(
            "replace-filter",
            "bpf",
            index,
            HANDLE,
            fd=fd,
            name=f"{NAME}{program}",
            parent=_OUTWARD,
            prio=PRIORITY,
            protocol=_ANY_PROTOCOL,
            direct_action=True,
        )


def take_off(name: str, marks: Path) -> None:
    """Take our filter off an interface, and the clsact that we made there (`marks` has a directory for each, by the
    interface's index), unless somebody else uses it by now. Raises KernelError."""
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        return  # it is gone, and everything on it with it
    mark = marks / str(index)
    _detach(index, qdisc=mark.is_dir())
    if mark.is_dir():
        mark.rmdir()


def _make_room(netlink: Any, index: int) -> bool:
    """Whether it had to be made."""
    kind = _box(netlink, index)
    if kind == INGRESS_ONLY:
        raise KernelError(
            "an ingress qdisc of somebody else's leaves no room for a filter on what leaves; with clsact in its place "
            "(tc qdisc replace dev … clsact) there is room for both"
        )
    if kind is None:
        netlink.tc("add", CLSACT, index)
    return kind is None


def _detach(index: int, *, qdisc: bool) -> None:
    with suppress(NotFound), _netlink(index) as netlink:
        if _ours(netlink, index) is not None:
            netlink.tc("del-filter", "bpf", index, HANDLE, parent=_OUTWARD, prio=PRIORITY, protocol=_ANY_PROTOCOL)
        if qdisc and _box(netlink, index) == CLSACT and not _in_use(netlink, index):
            netlink.tc("del", CLSACT, index)


def _box(netlink: Any, index: int) -> str | None:
    """The kind of qdisc that holds the filters: clsact, ingress or none."""
    kinds = (str(q.get_attr("TCA_KIND")) for q in netlink.get_qdiscs(index=index) if q["parent"] == _BOX)
    return next(kinds, None)


def _ours(netlink: Any, index: int) -> int | None:
    if _box(netlink, index) != CLSACT:
        return None
    for found in netlink.get_filters(index=index, parent=_OUTWARD):
        options = found.get_attr("TCA_OPTIONS")
        if found["handle"] != HANDLE or found["info"] >> 16 != PRIORITY or options is None:
            continue
        name = options.get_attr("TCA_BPF_NAME") or ""
        if name.startswith(NAME) and name.removeprefix(NAME).isdecimal():
            return int(name.removeprefix(NAME))
    return None


def _in_use(netlink: Any, index: int) -> bool:
    return any(True for side in (_INWARD, _OUTWARD) for _ in netlink.get_filters(index=index, parent=side))


@contextmanager
def _netlink(index: int) -> Iterator[Any]:
    try:
        with IPRoute() as netlink:
            yield netlink
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            raise NotFound(f"there is no interface with index {index} any more") from error
        raise KernelError(_why(error)) from error
    except OSError as error:
        raise KernelError(f"netlink does not answer: {error}") from error


def _why(error: Any) -> str:
    if error.code in (errno.ENOENT, errno.EOPNOTSUPP):
        return f"{error}; this kernel may lack the modules sch_ingress and cls_bpf"
    return f"the kernel refuses a filter on what leaves: {error}"
