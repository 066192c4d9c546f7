# SPDX-License-Identifier: Apache-2.0
"""The HTTP server on listening sockets: lets clients in as long as there is room, TLS on TCP, and ends what is slow."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Generator
from typing import Any

import uvicorn

from api.connection import Connection, Patience
from api.lobby import Guest, Lobby, Room
from api.tls import Certificates
from api.transport import PEER, credentials, source_of

HANDSHAKE_SECONDS = 10
SAY_SECONDS = 0.5
"""How long, before everything closes, those who have just been let in may take to say what they want."""
FULL_SECONDS = 1.0
"""How long nobody is let in after the system could not give a descriptor."""

log = logging.getLogger("xdpfw.api")


class Server(uvicorn.Server):
    """Signals are the daemon's business: it stops the server by `should_exit`.

    It accepts connections itself: uvicorn would serve TLS on the unix socket too, and would let in everybody who
    has not even finished a handshake."""

    def __init__(self, config: uvicorn.Config, tls: Certificates | None, room: Room, patience: Patience) -> None:
        super().__init__(config)
        self._tls, self._room, self._patience = tls, room, patience
        self._doors: list[asyncio.Task[None]] = []
        self._arriving: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await self.lifespan.startup()
        self.servers = []
        self._doors = [asyncio.create_task(self._accept(sock)) for sock in sockets or ()]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        tasks = [*self._doors, *self._arriving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        loop = asyncio.get_running_loop()
        until = loop.time() + SAY_SECONDS
        while any(connection.cycle is None for connection in self._connections()) and loop.time() < until:
            await asyncio.sleep(0.01)
        await super().shutdown(sockets)

    def _connections(self) -> list[Connection]:
        return [each for each in self.server_state.connections if isinstance(each, Connection)]

    async def on_tick(self, counter: int) -> bool:
        for door in self._doors:
            if door.done():
                door.result()  # nobody would be let in any more: whoever serves shall know
        if counter % 5 == 0:
            now = asyncio.get_running_loop().time()
            for connection in self._connections():
                connection.sweep(now)
        return await super().on_tick(counter)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        lobby = Lobby(self._room)
        while True:
            try:
                sock, address = await loop.sock_accept(listener)
            except ConnectionError:  # it hung up while it was waiting
                continue
            except OSError as error:
                log.error("cannot accept connections: %s", error.strerror)
                await asyncio.sleep(FULL_SECONDS)
                continue
            arriving = asyncio.create_task(self._let_in(lobby, sock, address))
            self._arriving.add(arriving)
            arriving.add_done_callback(self._arriving.discard)

    async def _let_in(self, lobby: Lobby, sock: socket.socket, address: Any) -> None:
        """To the end of the handshake; from then on the connection lives by itself."""
        task = asyncio.current_task()
        assert task is not None
        state: dict[str, Any] = {}
        if sock.family == socket.AF_UNIX:
            state[PEER] = credentials(sock)
            guest = Guest(f"uid:{state[PEER].uid}", task.cancel)
        else:
            guest = Guest(source_of(address[0]), task.cancel)
        if not lobby.enter(guest):
            sock.close()
            return

        def connection() -> Connection:
            return Connection(self.config, self.server_state, guest, self._patience, lobby.leave, state)

        tls: dict[str, Any] = {}
        if sock.family != socket.AF_UNIX:
            _end_when_untaken(sock, self._patience.taking)
            if self._tls:
                tls = {"ssl": self._tls.current(), "ssl_handshake_timeout": HANDSHAKE_SECONDS}
        try:
            await asyncio.get_running_loop().connect_accepted_socket(connection, sock, **tls)
        except (OSError, asyncio.CancelledError):  # no TLS, too slow, gone, or shown out
            lobby.leave(guest)
            sock.close()


def server(
    app: Any, *, tls: Certificates | None = None, room: Room | None = None, patience: Patience | None = None
) -> Server:
    """`await server(app).serve(sockets=[…])`. No access log (the application writes its own), and no trust in
    X-Forwarded-For, which would let a client choose its address."""
    patience = patience or Patience()
    # What strangers send must not fill the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        http=Connection,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(patience.idle),
        timeout_graceful_shutdown=5,
    )
    return Server(config, tls, room or Room(), patience)


def _end_when_untaken(sock: socket.socket, seconds: float) -> None:
    """The kernel ends a connection whose other side acknowledges nothing, or takes nothing, for so long (tcp(7))."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))
