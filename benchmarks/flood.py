# SPDX-License-Identifier: Apache-2.0
"""A flood of spoofed IPv4 sources, made in the kernel: a program rewrites each frame's source and redirects it.

usage: python -m benchmarks.flood INTERFACE MAC TARGET SOURCES      as fast as one core can, until stdin ends

One frame in eight comes from 198.18.0.1, so that somebody stands out; the others from 10.0.0.0 on, at random. Run it in
the namespace of the interface. Needs Linux 5.18.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lab.flow import at_end_of_input, frame
from lab.network import ROOT, Client, Network
from xdpfw.kernel import libbpf
from xdpfw.kernel.compile import compile_source

F_TEST_XDP_LIVE_FRAMES = 1 << 1
"""The program runs on the frames as if a driver had received them (linux/bpf.h)."""
LOUD = "198.18.0.1"
BATCH = 1 << 17
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


@contextmanager
def flooding(network: Network, client: Client, sources: int) -> Iterator[None]:
    """The flood, from a client towards the firewall, for the length of the block."""
    listing = network.firewall.run("ip", "-j", "link", "show", client.interface)
    arguments = ("eth0", json.loads(listing)[0]["address"], client.gateway4, str(sources))
    command = client.space.command(sys.executable, "-m", __spec__.name, *arguments)
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT) as process:
        try:
            yield
        finally:
            process.communicate(timeout=60)


def main() -> None:
    interface, mac, target, sources = sys.argv[1:]
    flags = {
        "FIRST": int(ipaddress.ip_address("10.0.0.0")),
        "LOUD": int(ipaddress.ip_address(LOUD)),
        "SOURCES": int(sources),
        "INTERFACE": socket.if_nametoindex(interface),
    }
    cflags = [f"-D{name}={value}u" for name, value in flags.items()]
    program, _ = libbpf.prog_load("flood", compile_source(SOURCE, "flood", (), cflags).instructions, frags=False)
    one = bytes(frame(bytes.fromhex(mac.replace(":", "")), LOUD, target, 0))
    runner = libbpf.TestRunner(program, BATCH, F_TEST_XDP_LIVE_FRAMES)
    ended = at_end_of_input()
    while not ended.is_set():
        runner.run(one)


if __name__ == "__main__":
    main()
