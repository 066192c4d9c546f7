# SPDX-License-Identifier: Apache-2.0
"""Clients of the REST interface that block one host after the other. A process of its own, so that nothing but the
daemon, and who else wants the processors, is in the way.

usage: python -m benchmarks.clients SOCKET CLIENTS REQUESTS FIRST; prints the milliseconds that each answer took.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab.network import ROOT

REQUEST = (
    "PUT /api/v1/sets/block/entries/2001:db8:ffff::{:x} HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}"
)
"""Hosts that no list of `lab.prefixes` has."""


def block(socket: Path, clients: int, requests: int, first: int) -> tuple[float, ...]:
    """Milliseconds of each of `requests` blocks, of hosts from number `first` on, by so many clients at once."""
    command = [sys.executable, "-m", __name__, str(socket), str(clients), str(requests), str(first)]
    done = subprocess.run(command, stdout=subprocess.PIPE, cwd=ROOT, check=True, timeout=120)
    return tuple(json.loads(done.stdout))


async def _client(socket: str, hosts: Sequence[int]) -> list[float]:
    reader, writer = await asyncio.open_unix_connection(socket)
    taken = []
    for host in hosts:
        began = time.perf_counter()
        writer.write(REQUEST.format(host).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        body = await reader.readexactly(int(fields[b"content-length"]))
        taken.append((time.perf_counter() - began) * 1000)
        if not head.startswith(b"HTTP/1.1 201"):
            raise SystemExit(f"{head.decode()}{body.decode()}")
    writer.close()
    return taken


async def _all(socket: str, clients: int, requests: int, first: int) -> list[float]:
    hosts = range(first, first + requests)
    shares = [_client(socket, hosts[number::clients]) for number in range(clients)]
    return [ms for taken in await asyncio.gather(*shares) for ms in taken]


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_all(sys.argv[1], *map(int, sys.argv[2:])))))
