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
_OURS = {"handle": HANDLE, "parent": _OUTWARD, "prio": PRIORITY, "protocol": _ANY_PROTOCOL}


class Filters:
    """A session with the kernel. Methods take an interface's index and raise NotFound when there is no such interface,
    and KernelError when the kernel refuses."""

    def __init__(self, netlink: Any, marks: Path) -> None:
        self._netlink, self._marks = netlink, marks

    def attached(self, index: int) -> int | None:
        """The id of the program that our filter runs there."""
        with _telling(index):
            for found in self._netlink.get_filters(index=index, parent=_OUTWARD):
                options = found.get_attr("TCA_OPTIONS")
                if found["handle"] != HANDLE or found["info"] >> 16 != PRIORITY or options is None:
                    continue
                name = options.get_attr("TCA_BPF_NAME") or ""
                if name.startswith(NAME) and name.removeprefix(NAME).isdecimal():
                    return int(name.removeprefix(NAME))
            return None

    def attach(self, index: int, program: int, fd: int) -> None:
        """Run this program (an id and its descriptor) on what leaves, in place of another one of ours. Raises
        KernelError also where somebody's ingress qdisc leaves no room for filters on the way out."""
        with _telling(index):
            self._make_room(index)
            self._netlink.tc(
                "replace-filter", "bpf", index, fd=fd, name=f"{NAME}{program}", direct_action=True, **_OURS
            )

    def detach(self, index: int) -> None:
        """Take our filter off, if it is there, and the clsact that we made, unless somebody else uses it by now."""
        with suppress(NotFound), _telling(index):
            if self.attached(index) is not None:
                self._netlink.tc("del-filter", "bpf", index, **_OURS)
            mark = self._mark(index)
            if mark.is_dir():
                if self._box(index) == CLSACT and not self._in_use(index):
                    self._netlink.tc("del", CLSACT, index)
                mark.rmdir()

    def _make_room(self, index: int) -> None:
        kind = self._box(index)
        if kind == INGRESS_ONLY:
            raise KernelError(
                "an ingress qdisc of somebody else's leaves no room for a filter on what leaves; with clsact in its "
                "place (tc qdisc replace dev … clsact) there is room for both"
            )
        if kind is None:
            self._netlink.tc("add", CLSACT, index)
            self._mark(index).mkdir(parents=True, exist_ok=True)

    def _mark(self, index: int) -> Path:
        """Says that the clsact there is ours to remove."""
        return self._marks / str(index)

    def _box(self, index: int) -> str | None:
        """The kind of qdisc that holds the filters: clsact, ingress or none."""
        kinds = (str(q.get_attr("TCA_KIND")) for q in self._netlink.get_qdiscs(index=index) if q["parent"] == _BOX)
        return next(kinds, None)

    def _in_use(self, index: int) -> bool:
        sides = (_INWARD, _OUTWARD)
        return any(True for side in sides for _ in self._netlink.get_filters(index=index, parent=side))


@contextmanager
def filters(marks: Path) -> Iterator[Filters]:
    """`marks`: the directory that has an empty one for each clsact of ours, by the interface's index."""
    try:
        with IPRoute() as netlink:
            yield Filters(netlink, marks)
    except OSError as error:
        raise KernelError(f"netlink does not answer: {error}") from error


def take_off(name: str, marks: Path) -> None:
    """Take our filter off an interface. Raises KernelError."""
    try:
        index = socket.if_nametoindex(name)
    except OSError:
        return  # it is gone, and everything on it with it
    with filters(marks) as session:
        session.detach(index)


@contextmanager
def _telling(index: int) -> Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code == errno.ENODEV:
            raise NotFound(f"there is no interface with index {index} any more") from error
        lacks = "; this kernel may lack the modules sch_ingress and cls_bpf"
        more = lacks if error.code in (errno.ENOENT, errno.EOPNOTSUPP) else ""
        raise KernelError(f"the kernel refuses a filter on what leaves: {error}{more}") from error
