# SPDX-License-Identifier: Apache-2.0
"""What stands in for the packet program when the daemon cannot start and nothing shall pass until it can.

A few instructions that need no compiler, no map and no store: ARP and neighbour discovery pass, so do packets from
the management prefixes; everything else is dropped. The link is pinned where the daemon's own would be, so the next
daemon that starts swaps its program in place, and `detach --offline` takes it off.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from xdpfw.kernel import bpffs, libbpf, netlink
from xdpfw.kernel.attach import FLAGS, GENERIC_FLAG
from xdpfw.kernel.program import MULTI_BUFFER_SINCE, kernel_version
from xdpfw.model.errors import XdpfwError
from xdpfw.model.interface import AttachMode
from xdpfw.model.prefix import Prefix

NAME = "xdp_closed"
_DROP, _PASS = 1, 2  # enum xdp_action
_ETHERNET, _IPV4, _IPV6 = 14, 20, 40
_ARP, _ETH_IPV4, _ETH_IPV6 = 0x0806, 0x0800, 0x86DD
_ICMPV6, _HOP_LIMIT, _ND_FIRST, _ND_LAST = 58, 255, 133, 137  # RFC 4861, 4
_WORD = 32

# Opcodes of Documentation/bpf/standardization/instruction-set.rst.
_MOV, _MOV_K, _ADD_K, _AND32_K, _EXIT = 0xBF, 0xB7, 0x07, 0x54, 0x95
_LOAD32, _LOAD16, _LOAD8 = 0x61, 0x69, 0x71
_JUMP, _JGT, _JNE32_K, _JEQ32_K, _JLT32_K, _JGT32_K = 0x05, 0x2D, 0x56, 0x16, 0xA6, 0x26
_INSTRUCTION = struct.Struct("<BBhi")


@dataclass
class _Code:
    """Instructions; a jump names a label, which may be set later. Frame data is in r2, its end in r3, r0 is scratch."""

    made: list[tuple[int, int, int | str, int]] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def add(self, code: int, target: int = 0, source: int = 0, offset: int | str = 0, value: int = 0) -> None:
        self.made.append((code, source << 4 | target, offset, value))

    def label(self, name: str) -> None:
        self.labels[name] = len(self.made)

    def need(self, octets: int) -> None:
        """Drop a frame that is shorter."""
        self.add(_MOV, 4, 2)
        self.add(_ADD_K, 4, value=octets)
        self.add(_JGT, 4, 3, "drop")

    def end(self, verdict: int) -> None:
        self.add(_MOV_K, 0, value=verdict)
        self.add(_EXIT)

    def text(self) -> bytes:
        def distance(at: int, offset: int | str) -> int:
            return self.labels[offset] - at - 1 if isinstance(offset, str) else offset

        return b"".join(
            _INSTRUCTION.pack(code, registers, distance(at, offset), value)
            for at, (code, registers, offset, value) in enumerate(self.made)
        )


def instructions(management: Iterable[Prefix]) -> bytes:
    """The program that drops everything but what the module's text names."""
    prefixes = list(management)
    code = _Code()
    code.add(_LOAD32, 2, 1, 0)  # struct xdp_md: data, data_end
    code.add(_LOAD32, 3, 1, 4)
    code.need(_ETHERNET)
    code.add(_LOAD16, 0, 2, 12)
    for kind, goal in ((_ARP, "pass"), (_ETH_IPV4, "ipv4"), (_ETH_IPV6, "ipv6")):
        code.add(_JEQ32_K, 0, 0, goal, _number(kind.to_bytes(2)))
    code.label("drop")
    code.end(_DROP)
    code.label("ipv4")
    code.need(_ETHERNET + _IPV4)
    _compare(code, [prefix for prefix in prefixes if prefix.family == 4], _ETHERNET + 12)
    code.label("ipv6")
    code.need(_ETHERNET + _IPV6)
    _compare(code, [prefix for prefix in prefixes if prefix.family == 6], _ETHERNET + 8, last="discovery")
    code.label("discovery")
    for opcode, at, value in ((_JNE32_K, 6, _ICMPV6), (_JNE32_K, 7, _HOP_LIMIT)):
        code.add(_LOAD8, 0, 2, _ETHERNET + at)
        code.add(opcode, 0, 0, "drop", value)
    code.need(_ETHERNET + _IPV6 + 1)
    code.add(_LOAD8, 0, 2, _ETHERNET + _IPV6)
    code.add(_JLT32_K, 0, 0, "drop", _ND_FIRST)
    code.add(_JGT32_K, 0, 0, "drop", _ND_LAST)
    code.label("pass")
    code.end(_PASS)
    return code.text()


def _compare(code: _Code, prefixes: Sequence[Prefix], at: int, last: str = "drop") -> None:
    """Pass if the address at this offset is in one of them; else go to `last`."""
    for number, prefix in enumerate(prefixes):
        other = f"{prefix.family}-{number}"
        for word in range(max(1, (prefix.length + _WORD - 1) // _WORD)):
            length = min(_WORD, prefix.length - word * _WORD)
            mask = (2**length - 1) << (_WORD - length)
            code.add(_LOAD32, 0, 2, at + 4 * word)
            code.add(_AND32_K, 0, value=_number(mask.to_bytes(4)))
            code.add(_JNE32_K, 0, 0, other, _number(prefix.address[4 * word : 4 * word + 4]))
        code.add(_JUMP, offset="pass")
        code.label(other)
    code.add(_JUMP, offset=last)


def _number(octets: bytes) -> int:
    """What a load of these octets puts into a register, as a signed 32-bit immediate."""
    return int.from_bytes(octets, sys.byteorder, signed=len(octets) == 4)


def close(
    wanted: Mapping[str, AttachMode], management: Iterable[Prefix], instance: str, root: Path = bpffs.DEFAULT
) -> dict[str, str]:
    """Attach the program to the interfaces that are wanted, present and without any program. Answers, for each that
    was wanted, what became of it. Raises KernelError when none can be attached to."""
    pins = bpffs.Pins(instance, root)
    pins.prepare()
    there = {seen.link.name: seen.link for seen in netlink.interfaces()}
    code, frags = instructions(management), kernel_version() >= MULTI_BUFFER_SINCE
    done = {}
    for name, mode in wanted.items():
        link = there.get(name)
        if link is None:
            done[name] = "absent"
        elif link.xdp_program is not None:
            done[name] = "left as it is: a program is attached"
        else:
            try:
                done[name] = _attach(pins, name, link.index, mode, code, frags)
            except XdpfwError as error:
                done[name] = f"open: {error.detail}"
    return done


def _attach(pins: bpffs.Pins, name: str, index: int, mode: AttachMode, code: bytes, frags: bool) -> str:
    flags = FLAGS.get(mode, FLAGS[AttachMode.NATIVE])
    try:
        _attach_as(NAME, pins, name, index, flags, code, frags)
    except libbpf.Refused as error:
        if mode is not AttachMode.AUTO:
            raise
        # The name tells the next daemon that generic was not what was wanted, and why.
        _attach_as(f"{NAME}_{error.errno}", pins, name, index, GENERIC_FLAG, code, frags)
    return "closed"


def _attach_as(label: str, pins: bpffs.Pins, name: str, index: int, flags: int, code: bytes, frags: bool) -> None:
    program, _ = libbpf.prog_load(label, code, frags=frags)
    try:
        link = libbpf.link_create(program, index, flags)
    finally:
        os.close(program)
    try:
        pins.unpin_link(name)
        libbpf.pin(link, pins.link(name))
    finally:
        os.close(link)


def is_stand_in(program: int) -> bool:
    """Whether the program with this id is one of these."""
    return libbpf.prog_name(program).startswith(NAME)


def native_refused(program: int) -> int:
    """The errno with which native mode was refused to this program (an id), if it is one of these; else 0."""
    name = libbpf.prog_name(program)
    number = name.removeprefix(f"{NAME}_")
    return int(number) if name != number and number.isdecimal() else 0
