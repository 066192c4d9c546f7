# SPDX-License-Identifier: Apache-2.0
"""The firewall host's own services, for clients to reach: TCP and UDP echo, IPv4 and IPv6, on one port."""

from __future__ import annotations

import asyncio
import socket
from typing import cast

PORT = 7007


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()


class _Echo(asyncio.DatagramProtocol):
    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own datagram transport is not an instance of the class it is documented to be.
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await asyncio.start_server(_echo, ["0.0.0.0", "::"], PORT)
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        datagrams = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        datagrams.bind((address, PORT))
        await loop.create_datagram_endpoint(_Echo, sock=datagrams)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
