# SPDX-License-Identifier: Apache-2.0
"""Asks the packet path's own look-up (bpf/classify.h), or the tries alone, for the leaves of many addresses at once."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tests.packets import ethernet, ip, udp
from xdpfw.kernel import libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.compile import Program, compile_source
from xdpfw.kernel.maps import ARRAY, INDEX, PROGRAM_MAPS, Map, MapSpec
from xdpfw.kernel.source import find_sources, inline
from xdpfw.policy.ops import Ids

MANY = 1 << 16

TEXT = """
BPF_TABLE("array", __u32, union address, asked, 1);
BPF_TABLE("array", __u32, __u64, answers, 1);
BPF_TABLE("array", __u32, __u64, turn, 1);

int answer(struct xdp_md *ctx)
{
	__u32 zero = 0, index;
	__u64 *next = turn.lookup(&zero), *leaf;
	union address *address;

	if (!next)
		return XDP_ABORTED;
	index = (*next)++;
	address = asked.lookup(&index);
	leaf = answers.lookup(&index);
	if (address && leaf) {
		union address copy = *address;

		*leaf = find_leaf(&copy);
	}
	return XDP_PASS;
}
"""

_FRAME = ethernet(ip("192.0.2.1", udp()))
_compiled: dict[bool, Program] = {}


def _program(tries_only: bool) -> Program:
    if tries_only not in _compiled:
        source = inline(find_sources() / "classify.h") + TEXT
        maps = [name for name in PROGRAM_MAPS if f" {name}, " in source.replace("(", " ")]
        flags = ["-DTRIES_ONLY"] if tries_only else []
        _compiled[tries_only] = compile_source(source, "answer", [*maps, "asked", "answers", "turn"], flags)
    return _compiled[tries_only]


def packed(addresses: Sequence[str]) -> npt.NDArray[np.uint8]:
    """(n, 16), IPv4 as ::ffff:a.b.c.d"""
    rows = np.zeros((len(addresses), 16), np.uint8)
    for row, text in zip(rows, addresses, strict=True):
        raw = ipaddress.ip_address(text).packed
        row[10:12] = 255 if len(raw) == 4 else 0
        row[16 - len(raw) :] = np.frombuffer(raw, np.uint8)
    return rows


class LeafFinder:
    """`tries_only`: without the tiers, from hosts and tries alone."""

    def __init__(self, kernel: RealKernel, *, tries_only: bool = False) -> None:
        self._asked = Map.create(MapSpec("asked", ARRAY, INDEX, np.dtype([("octets", "u1", 16)]), MANY))
        self._answers = Map.create(MapSpec("answers", ARRAY, INDEX, np.dtype("u8"), MANY))
        self._turn = Map.create(MapSpec("turn", ARRAY, INDEX, np.dtype("u8"), 1))
        own = {"asked": self._asked.fd, "answers": self._answers.fd, "turn": self._turn.fd}
        linked = _program(tries_only).link({**kernel.tables.descriptors(), **own})
        self._fd, _ = libbpf.prog_load("leaf_finder", linked, frags=False)

    def find(self, addresses: npt.NDArray[np.uint8]) -> Ids:
        """(n, 16) to n leaves; at most MANY."""
        self._asked.view["octets"][: len(addresses)] = addresses
        self._answers.view[:] = np.iinfo(np.uint64).max
        self._turn.view[0] = 0
        # Runs of more than one install a dispatcher, which takes a grace period.
        libbpf.test_run(self._fd, _FRAME, len(addresses))
        return self._answers.view[: len(addresses)].astype(np.uint32)

    def close(self) -> None:
        os.close(self._fd)
        for each in (self._asked, self._answers, self._turn):
            each.close()
