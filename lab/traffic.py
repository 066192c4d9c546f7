# SPDX-License-Identifier: Apache-2.0
"""Modest traffic of one client, until killed: a ping a second, TCP exchanges and UDP datagrams, IPv4 and IPv6.

usage: python -m lab.traffic GATEWAY4 GATEWAY6 WEIGHT     WEIGHT scales datagrams and sizes, so that clients differ
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import suppress

from lab.services import PORT

DATAGRAMS_PER_SECOND = 20
EXCHANGES_PER_SECOND = 2
EXCHANGE_BYTES = 8_000
PATIENCE = 2.0


async def _ping(target: str) -> None:
    await (await asyncio.create_subprocess_exec("ping", "-n", "-q", "-i", "1", target)).wait()


async def _datagrams(target: str, weight: int) -> None:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        while True:
            try:
                sender.sendto(os.urandom(200), (target, PORT))
            except OSError:  # no neighbour answers while the firewall's side of the link is gone
                await asyncio.sleep(PATIENCE)
            await asyncio.sleep(1 / (DATAGRAMS_PER_SECOND * weight))


async def _exchange(target: str, size: int) -> None:
    reader, writer = await asyncio.open_connection(target, PORT)
    try:
        writer.write(os.urandom(size))
        await writer.drain()
        await reader.readexactly(size)
    finally:
        writer.close()


async def _exchanges(target: str, weight: int) -> None:
    while True:
        with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):  # blocked: that is what the lab is for
            await asyncio.wait_for(_exchange(target, EXCHANGE_BYTES * weight), PATIENCE)
        await asyncio.sleep(1 / EXCHANGES_PER_SECOND)


async def main() -> None:
    weight = int(sys.argv[3])
    async with asyncio.TaskGroup() as group:
        for target in sys.argv[1:3]:
            group.create_task(_ping(target))
            group.create_task(_datagrams(target, weight))
            group.create_task(_exchanges(target, weight))


if __name__ == "__main__":
    asyncio.run(main())
