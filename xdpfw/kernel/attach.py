# SPDX-License-Identifier: Apache-2.0
"""Attaching: native if it can be had, generic with a reason, and never in somebody else's place."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection

from xdpfw.kernel import libbpf, netlink
from xdpfw.kernel.instance import Instance
from xdpfw.model.errors import Conflict, KernelError, NotFound
from xdpfw.model.interface import AttachMode, ForeignProgram, Link

GENERIC_FLAG, NATIVE_FLAG = 1 << 1, 1 << 2
FLAGS = {AttachMode.NATIVE: NATIVE_FLAG, AttachMode.GENERIC: GENERIC_FLAG}

# EBUSY: a program is there already. EEXIST: one is there in the other mode.
_TAKEN = (errno.EBUSY, errno.EEXIST)
_GONE = (errno.ENODEV, errno.ENOENT)


def foreign_program(seen: netlink.Seen, own: Collection[int]) -> ForeignProgram | None:
    """The XDP program on an interface, unless it is one of our `own`."""
    program = seen.link.xdp_program
    if program is None or program in own:
        return None
    return ForeignProgram(program, libbpf.prog_name(program))


def attach(instance: Instance, program: int, link: Link, mode: AttachMode) -> tuple[AttachMode, int]:
    """Attach a loaded program; answers the mode it runs in, and the errno with which native was refused (0: it was
    not).

    Raises:
        Conflict: another program is there, or came first.
        NotFound: the interface is gone.
        KernelError: the driver refused native mode, and native it must be; or generic mode failed.
    """
    wanted = AttachMode.GENERIC if mode is AttachMode.GENERIC else AttachMode.NATIVE
    try:
        instance.attach(program, link.index, FLAGS[wanted])
        return wanted, 0
    except libbpf.Refused as error:
        _raise_if_taken(error, link)
        if mode is not AttachMode.AUTO:
            raise KernelError(f"{link.name}: {wanted} mode was refused: {why(error.errno, link)}") from error
        refused = error.errno
    try:
        instance.attach(program, link.index, GENERIC_FLAG)
    except libbpf.Refused as error:
        _raise_if_taken(error, link)
        raise KernelError(
            f"{link.name}: neither native ({why(refused, link)}) nor generic mode works: {error.detail}"
        ) from error
    return AttachMode.GENERIC, refused


def _raise_if_taken(error: libbpf.Refused, link: Link) -> None:
    if error.errno in _GONE:
        raise NotFound(f"there is no interface {link.name!r} any more") from error
    if error.errno in _TAKEN:
        seen = netlink.find(link.name)
        other = foreign_program(seen, ()) if seen else None
        raise conflict(link.name, other) from error


def conflict(name: str, other: ForeignProgram | None) -> Conflict:
    which = f"id {other.id}, name {other.name!r}" if other else "it came and went meanwhile; try again"
    return Conflict(
        f"{name} carries an XDP program that is not ours ({which}); it is left alone. "
        f"Whoever attached it can remove it, for instance: ip link set {name} xdp off"
    )


def why(number: int, link: Link) -> str:
    """What a refusal of native mode means, for people."""
    text = f"{os.strerror(number)} ({errno.errorcode.get(number, number)})"
    driver = link.driver or "unknown"
    if number == errno.EOPNOTSUPP:
        return f"{text}; the driver {driver} has no XDP"
    if number in (errno.EINVAL, errno.ERANGE, errno.EMSGSIZE):
        return f"{text}; the driver {driver} may want a smaller MTU than {link.mtu}, or offloads such as LRO off"
    if number in (errno.ENOMEM, errno.ENOSPC, errno.EIO):
        return f"{text}; the driver {driver} may lack queues for XDP: fewer channels (ethtool -L) may help"
    return f"{text}, from the driver {driver}"


def fallback_warning(number: int, link: Link) -> str:
    return f"native mode was refused: {why(number, link)}; running in generic mode, which costs several times more"
