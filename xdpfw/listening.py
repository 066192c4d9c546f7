# SPDX-License-Identifier: Apache-2.0
"""The sockets that the daemon serves: its own, or those that a service manager opened for it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from api.app import create_app
from api.auth import Tokens
from api.server import server
from api.tls import Certificates, TlsFiles
from api.transport import tcp_socket, unix_socket
from xdpfw.model.errors import InvalidInput, XdpfwError
from xdpfw.service import Firewall
from xdpfw.settings import Settings
from xdpfw.store.port import Store

log = logging.getLogger("xdpfw.daemon")


@asynccontextmanager
async def listening(
    settings: Settings, firewall: Firewall, store: Store, given: Sequence[socket.socket], end: Callable[[], None]
) -> AsyncIterator[Certificates | None]:
    """Serve HTTP while the body runs. `given`: listening sockets that take the place of those of the settings. `end`
    asks for the end of the body: nobody can reach the daemon any more.

    TCP that cannot be served is no reason not to filter: it is told in the log and in the status.
    Raises XdpfwError when the unix socket cannot be served; after the body, what ended the server if it was not we.
    """
    tcp: list[socket.socket] = []
    certificates = None
    try:
        certificates = _certificates(settings)
        tcp = _tcp(settings, [sock for sock in given if sock.family != socket.AF_UNIX], certificates)
    except XdpfwError as error:
        log.error("TCP is not served: %s", error.detail)
        firewall.warnings.append(f"TCP is not served: {error.detail}")
    unix = [sock for sock in given if sock.family == socket.AF_UNIX] or [unix_socket(settings.socket)]
    http = server(create_app(firewall, Tokens(store), names=settings.names), tls=certificates)
    serving = asyncio.create_task(http.serve(sockets=[*unix, *tcp]))
    serving.add_done_callback(lambda _: end())
    log.info("listening on %s", " and ".join(map(_name, (*unix, *tcp))))
    try:
        yield certificates
    finally:
        http.should_exit = True
        try:
            await serving
        finally:
            for sock in (*unix, *tcp):
                sock.close()
            if not any(sock.family == socket.AF_UNIX for sock in given):
                settings.socket.unlink(missing_ok=True)


def _certificates(settings: Settings) -> Certificates | None:
    if not (settings.listen and settings.tls_cert and settings.tls_key):
        return None
    return Certificates(TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca))


def _tcp(settings: Settings, given: list[socket.socket], certificates: Certificates | None) -> list[socket.socket]:
    for sock in given:
        host = str(sock.getsockname()[0])
        if certificates is None and not ipaddress.ip_address(host).is_loopback:
            raise InvalidInput(
                f"the socket that was handed over listens on {host}, where tokens must not travel in the clear; set "
                "tls_cert and tls_key"
            )
    if given or not settings.listen:
        return given
    return [tcp_socket(settings.listen)]


def _name(sock: socket.socket) -> str:
    name = sock.getsockname()
    if isinstance(name, str):
        return name
    host, port = name[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
