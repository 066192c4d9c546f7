# SPDX-License-Identifier: Apache-2.0
"""Lets callers of this machine's loopback, a browser above all, reach a TCP service inside a namespace.

A socket belongs to the namespace in which it was made, so the one that listens is made here and handed to a process in
there, which makes the connections on.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

from lab.namespace import Namespace

HERE = "127.0.0.1"
PIECE = 1 << 16


def forward(space: Namespace, target: str) -> str:
    """`target`: ADDRESS:PORT inside. Answers the address out here, with the same port if that is free."""
    listener = socket.socket()
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HERE, int(target.rpartition(":")[2])))
        except OSError:
            listener.bind((HERE, 0))
        listener.listen()
        space.popen(sys.executable, "-m", __name__, str(listener.fileno()), target, keep=(listener.fileno(),))
        return f"{HERE}:{listener.getsockname()[1]}"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the one side has no more to say, and tell the other."""
    with contextlib.suppress(OSError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


async def _serve(listener: socket.socket, target: str) -> None:
    host, _, port = target.rpartition(":")

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
            with contextlib.closing(inner_writer):
                there, back = (
                    asyncio.ensure_future(_pump(reader, inner_writer)),
                    asyncio.ensure_future(_pump(inner_reader, writer)),
                )
                # Nobody waits for an answer that the caller will not read.
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
                if there.done():
                    await asyncio.wait((back,), timeout=5)
                for task in (there, back):
                    task.cancel()

    async with await asyncio.start_server(connect, sock=listener) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2]))
