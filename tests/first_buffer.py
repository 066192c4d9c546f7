# SPDX-License-Identifier: Apache-2.0
"""BPF_PROG_TEST_RUN with a frame whose first buffer ends where the test says, as Linux 6.18 and newer allow."""

from __future__ import annotations

import ctypes
import errno
import random
import struct

from tests.conftest import lacks
from xdpfw.kernel import libbpf, libbpf_records

SHORTEST, LONGEST = 14, 3_000
"""Bytes of a first buffer: an Ethernet header at least; a page, less what the kernel keeps there, at most."""


def run_split(prog_fd: int, frame: bytes, repeat: int = 1, *, first_buffer: int) -> tuple[int, int]:
    """Stands in for `libbpf.test_run`: only so many bytes of the frame lie between `data` and `data_end`."""
    try:
        return _run(prog_fd, frame, repeat, first_buffer)
    except libbpf.Refused as error:
        if error.errno == errno.EINVAL and first_buffer < len(frame):
            lacks("this kernel's test runs cannot split a frame at will (Linux 6.18 can)")
        raise


class SplitRunner:
    """Stands in for `libbpf.TestRunner`: first buffers are as long as chance has it."""

    def __init__(self, prog_fd: int, chance: random.Random) -> None:
        self._fd, self._chance = prog_fd, chance
        self.first_buffer = 0

    def run(self, frame: bytes) -> int:
        """Answers the program's return value, and leaves `first_buffer`. Raises Refused."""
        self.first_buffer = self._chance.randint(SHORTEST, min(len(frame), self._chance.choice((100, LONGEST))))
        return _run(self._fd, frame, 1, self.first_buffer)[0]


def splits(prog_fd: int) -> bool:
    """Whether this kernel's test runs can (Linux 6.18)."""
    try:
        _run(prog_fd, bytes(60), 1, SHORTEST)
    except libbpf.Refused:
        return False
    return True


def _run(prog_fd: int, frame: bytes, repeat: int, first_buffer: int) -> tuple[int, int]:
    # struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
    context = ctypes.create_string_buffer(struct.pack("=6I", 0, first_buffer, 0, 0, 0, 0), 24)
    options = libbpf_records.TestRun(
        data_in=ctypes.cast(ctypes.c_char_p(frame), ctypes.c_void_p),
        data_size_in=len(frame),
        ctx_in=ctypes.addressof(context),
        ctx_size_in=24,
        repeat=repeat,
    )
    libbpf._call("running the program", "bpf_prog_test_run_opts", prog_fd, libbpf._sized(options))
    return options.retval, options.duration
