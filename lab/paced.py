# SPDX-License-Identifier: Apache-2.0
"""Datagrams of several sources, each at a rate of its own, from one CPU.

usage: python -m lab.paced INTERFACE MAC TARGET CPU SOURCE=RATE…      until stdin ends
Prints the longest pause between two turns in seconds, which is how evenly it could send.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lab.flow import at_end_of_input, frame
from lab.network import ROOT, Client, Network

TURN = 0.002


@contextmanager
def paced(network: Network, client: Client, rates: Mapping[str, int], cpu: int) -> Iterator[list[float]]:
    """The datagrams, from a client towards the firewall, for the length of the block; answers the longest pause when it
    has ended."""
    listing = network.firewall.run("ip", "-j", "link", "show", client.interface)
    words = ["eth0", json.loads(listing)[0]["address"], client.gateway4, str(cpu)]
    words += [f"{source}={rate}" for source, rate in rates.items()]
    command = client.space.command(sys.executable, "-m", "lab.paced", *words)
    pause: list[float] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield pause
        finally:
            pause.append(float(process.communicate(timeout=60)[0]))


def send(out: socket.socket, flows: list[tuple[bytes, int]]) -> float:
    """Until stdin ends; what is due is sent in turns."""
    ended, sent, longest = at_end_of_input(), [0] * len(flows), 0.0
    began = before = time.monotonic()
    while not ended.is_set():
        now = time.monotonic()
        longest, before = max(longest, now - before), now
        for at, (data, rate) in enumerate(flows):
            due = int((now - began) * rate) - sent[at]
            for _ in range(due):
                out.send(data)
            sent[at] += due
        ended.wait(TURN)
    return longest


def main() -> None:
    interface, mac, target, cpu, *flows = sys.argv[1:]
    os.sched_setaffinity(0, {int(cpu)})
    goal = bytes.fromhex(mac.replace(":", ""))
    pairs = [flow.split("=") for flow in flows]
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((interface, 0))
        print(send(out, [(bytes(frame(goal, source, target, 0)), int(rate)) for source, rate in pairs]))


if __name__ == "__main__":
    main()
