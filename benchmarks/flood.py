# SPDX-License-Identifier: Apache-2.0
"""A flood of spoofed IPv4 sources, made in the kernel: a program rewrites each frame's source and redirects it.

usage: python -m benchmarks.flood INTERFACE MAC TARGET SOURCES RATE      until stdin ends; prints how many were sent

One frame in eight comes from 198.18.0.1, so that somebody stands out; the others from 10.0.0.0 on, at random. RATE is
in packets a second, 0 as fast as one core can. Run it in the namespace of the interface. Needs Linux 5.18.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
import time

from lab.flow import at_end_of_input, frame
from xdpfw.kernel import libbpf
from xdpfw.kernel.compile import compile_source

F_TEST_XDP_LIVE_FRAMES = 1 << 1
"""The program runs on the frames as if a driver had received them (linux/bpf.h)."""
LOUD = "198.18.0.1"
BATCH = 1 << 17
TICK = 0.01
SOURCE = """
#include <uapi/linux/bpf.h>
int flood(struct xdp_md *context)
{
	unsigned char *data = (void *)(long)context->data;
	if (data + 34 > (unsigned char *)(long)context->data_end)
		return XDP_ABORTED;
	u32 random = bpf_get_prandom_u32();
	u32 source = random >> 29 ? FIRST + random % SOURCES : LOUD;
	*(u32 *)(data + 26) = bpf_htonl(source);
	return bpf_redirect(INTERFACE, 0);
}
"""


def main() -> None:
    interface, mac, target, sources, rate = sys.argv[1:]
    flags = {
        "FIRST": int(ipaddress.ip_address("10.0.0.0")),
        "LOUD": int(ipaddress.ip_address(LOUD)),
        "SOURCES": int(sources),
        "INTERFACE": socket.if_nametoindex(interface),
    }
    cflags = [f"-D{name}={value}u" for name, value in flags.items()]
    program, _ = libbpf.prog_load("flood", compile_source(SOURCE, "flood", (), cflags).instructions, frags=False)
    one = bytes(frame(bytes.fromhex(mac.replace(":", "")), LOUD, target, 0))
    ended = at_end_of_input()
    sent, began = 0, time.monotonic()
    while not ended.is_set():
        due = int((time.monotonic() - began) * int(rate)) - sent if int(rate) else BATCH
        if due <= 0:
            ended.wait(TICK)
            continue
        libbpf.test_run(program, one, min(due, BATCH), F_TEST_XDP_LIVE_FRAMES)
        sent += min(due, BATCH)
    print(sent)


if __name__ == "__main__":
    main()
