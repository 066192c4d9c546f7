# SPDX-License-Identifier: Apache-2.0
"""The daemon's life: wiring, signals, readiness. The sockets open first, so that a starting daemon says so."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from xdpfw.hold import Hold
from xdpfw.kernel import memory
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.program import PacketProgram
from xdpfw.model.errors import NotFound, XdpfwError
from xdpfw.model.interface import AttachMode
from xdpfw.model.requests import WriteOptions
from xdpfw.service import Firewall
from xdpfw.settings import Settings
from xdpfw.store.port import Store
from xdpfw.store.sqlite import SqliteStore

log = logging.getLogger("xdpfw.daemon")


async def serve(settings: Settings, program: PacketProgram) -> int:
    """The daemon's life, from sockets to the last signal."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    kernel = RealKernel(settings.instance_name, settings.state_dir, settings.limits, settings.bpffs, program=program)
    store = SqliteStore(settings.state_dir / "xdpfw.db")
    firewall = Firewall(
        kernel,
        store,
        limits=settings.limits,
        management=settings.management,
        instance=settings.instance_name,
        protect_ssh=settings.protect_ssh,
        hold=Hold(settings.state_dir),
        after_long=memory.give_back,
    )
    firewall.to_attach.update({name: "about to be attached" for name, _ in settings.attach})
    # The kernel side waits for the compiler and the disk, this side for Python imports: side by side.
    loading = asyncio.create_task(firewall.load())
    await asyncio.sleep(0)  # so that its thread is under way before the imports hold this one
    async with listening(settings, firewall, store), stopping(loading):
        await first_of(loading, stop)
        if stop.is_set():
            return 0
        loading.result()
        await attach_wanted(firewall, settings.attach)
        upkeep = asyncio.create_task(firewall.run_upkeep())
        async with stopping(upkeep):
            log.info("ready: revision %d, %d interfaces attached", firewall.revision, len(firewall.interfaces.attached))
            await first_of(upkeep, stop)
            if upkeep.done():
                upkeep.result()
        await firewall.close(detach=settings.detach_on_exit)
        log.info("stopped; %s", "nothing is left attached" if settings.detach_on_exit else "filters stay in force")
    return 0


@asynccontextmanager
async def listening(settings: Settings, firewall: Firewall, store: Store) -> AsyncIterator[None]:
    """Serve HTTP on the sockets of the settings while the body runs."""
    from api.app import create_app
    from api.auth import Tokens
    from api.server import server
    from api.tls import Certificates, TlsFiles
    from api.transport import tcp_socket, unix_socket

    certificates = None
    if settings.listen and settings.tls_cert and settings.tls_key:
        certificates = Certificates(TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca))
    sockets = [unix_socket(settings.socket)]
    if settings.listen:
        sockets.append(tcp_socket(settings.listen))
    http = server(create_app(firewall, Tokens(store), names=settings.names), tls=certificates)
    serving = asyncio.create_task(http.serve(sockets=sockets))
    log.info("listening on %s%s", settings.socket, f" and {settings.listen}" if settings.listen else "")
    try:
        yield
    finally:
        http.should_exit = True
        await serving
        settings.socket.unlink(missing_ok=True)


@asynccontextmanager
async def stopping(task: asyncio.Task[None]) -> AsyncIterator[None]:
    """End the task with the body."""
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def first_of(task: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Until the task is done or somebody says stop."""
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()


async def attach_wanted(firewall: Firewall, wanted: tuple[tuple[str, AttachMode], ...]) -> None:
    """The interfaces of the settings. One that cannot be attached now does not keep the others from it."""
    if wanted and firewall.interfaces.held:
        log.warning("everything was detached by hand: nothing attaches again until somebody says `xdpfw attach`")
        firewall.to_attach.clear()
        return
    for name, mode in wanted:
        try:
            await firewall.attach(name, mode, WriteOptions())
        except NotFound:
            await firewall.want(name, mode)
            log.warning("there is no interface %s now; it is attached as soon as it comes", name)
            firewall.to_attach.pop(name, None)
        except XdpfwError as error:
            # Not ready until somebody attaches it, or says that it need not be.
            firewall.to_attach[name] = f"not attached: {error.detail}"
            log.error("%s is not attached: %s", name, error.detail)
