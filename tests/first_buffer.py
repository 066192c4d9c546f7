# SPDX-License-Identifier: Apache-2.0
"""BPF_PROG_TEST_RUN with a frame whose first buffer ends where the test says, as Linux 6.18 and newer allow."""

from __future__ import annotations

import ctypes
import errno
import struct

from tests.conftest import lacks
from xdpfw.kernel import libbpf, libbpf_records


def run_split(prog_fd: int, frame: bytes, repeat: int = 1, *, first_buffer: int) -> tuple[int, int]:
    """Stands in for `libbpf.test_run`: only so many bytes of the frame lie between `data` and `data_end`."""
    # struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
    context = ctypes.create_string_buffer(struct.pack("=6I", 0, first_buffer, 0, 0, 0, 0), 24)
    options = libbpf_records.TestRun(
        data_in=ctypes.cast(ctypes.c_char_p(frame), ctypes.c_void_p),
        data_size_in=len(frame),
        ctx_in=ctypes.addressof(context),
        ctx_size_in=24,
        repeat=repeat,
    )
    try:
        libbpf._call("running the program", "bpf_prog_test_run_opts", prog_fd, libbpf._sized(options))
    except libbpf.Refused as error:
        if error.errno == errno.EINVAL and first_buffer < len(frame):
            lacks("this kernel's test runs cannot split a frame at will (Linux 6.18 can)")
        raise
    return options.retval, options.duration
