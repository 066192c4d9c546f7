# SPDX-License-Identifier: Apache-2.0
"""The daemon's life: wiring, signals, readiness. Filters come first, then the sockets; where filters take longer, the
sockets open meanwhile, so that a starting daemon says so."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from xdpfw.hold import Hold
from xdpfw.kernel import memory
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.program import PacketProgram
from xdpfw.log import told
from xdpfw.model.errors import KernelError, NotFound, XdpfwError
from xdpfw.model.interface import AttachMode
from xdpfw.model.ledger import DAEMON
from xdpfw.model.reason import Verdict
from xdpfw.model.requests import WriteOptions
from xdpfw.service import Firewall
from xdpfw.settings import DATABASE, Settings
from xdpfw.store.sqlite import SqliteStore
from xdpfw.supervisor import Supervisor

if TYPE_CHECKING:
    from api.tls import Certificates

log = logging.getLogger("xdpfw.daemon")


WATCHED = 10.0
"""Seconds between two lines of status for a service manager that keeps no watchdog."""

FILTERS_FIRST = 0.5
"""Seconds that filters have the interpreter for themselves. What takes longer waits for the compiler or the kernel."""


async def serve(settings: Settings, program: PacketProgram, supervisor: Supervisor) -> int:
    """The daemon's life, from its filters to the last signal."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    kernel = RealKernel(settings.instance_name, settings.state_dir, settings.limits, settings.bpffs, program=program)
    store = SqliteStore(settings.state_dir / DATABASE)
    firewall = Firewall(
        kernel,
        store,
        limits=settings.limits,
        management=settings.management,
        instance=settings.instance_name,
        protect_ssh=settings.protect_ssh,
        hold=Hold(settings.state_dir),
        give_back=partial(give_back, kernel),
    )
    firewall.to_attach.update({name: "about to be attached" for name, _ in settings.attach})
    loading = asyncio.create_task(load(firewall))
    await asyncio.wait({loading}, timeout=FILTERS_FIRST)
    from xdpfw.listening import listening

    http = listening(settings, firewall, store, supervisor.sockets(), stop.set)
    async with http as certificates, stopping(loading):
        await first_of(loading, stop)
        if stop.is_set():
            return 0
        loading.result()
        await attach_wanted(firewall, settings.attach)
        # What is there now stays: to look for garbage in it would stop everything for a tenth of a second now and then.
        gc.freeze()
        gc.enable()
        if settings.on_start_failure is Verdict.DROP:
            await shut_what_is_open(firewall, kernel, settings)
        if certificates or supervisor.there:  # else a terminal that closes ends the daemon, as it should
            loop.add_signal_handler(signal.SIGHUP, reload, firewall, supervisor, certificates)
        upkeep = asyncio.create_task(firewall.run_upkeep())
        async with stopping(upkeep), stopping(asyncio.create_task(report(firewall, supervisor))):
            names = sorted(firewall.interfaces.attached)
            log.info("ready: %s", summary(firewall), extra=told("ready", revision=firewall.revision, interfaces=names))
            supervisor.ready(summary(firewall))
            await first_of(upkeep, stop)
            if upkeep.done():
                upkeep.result()
        supervisor.stopping()
        firewall.end_streams()
    # Nobody asks any more: a request that met closed maps might meet descriptors that are something else by then.
    await firewall.close(detach=settings.detach_on_exit)
    log.info("stopped; %s", "nothing is left attached" if settings.detach_on_exit else "filters stay in force")
    return 0


async def load(firewall: Firewall) -> None:
    await firewall.load()
    log.info("filters agree with the database: %s", summary(firewall))


def give_back(kernel: RealKernel) -> None:
    """What is mapped and what is free."""
    kernel.verifier.release()
    memory.give_back()


def summary(firewall: Firewall) -> str:
    names = ", ".join(sorted(firewall.interfaces.attached))
    return f"revision {firewall.revision}, filtering on {names or 'no interface'}"


def reload(firewall: Firewall, supervisor: Supervisor, certificates: Certificates | None) -> None:
    """SIGHUP: files that were replaced are read again."""
    supervisor.reloading()
    if certificates:
        certificates.reload()
    supervisor.ready(summary(firewall))


async def report(firewall: Firewall, supervisor: Supervisor) -> None:
    """Tell the service manager that the loop turns and that the thread which writes does its work, until cancelled."""
    while supervisor.there:
        await firewall.writer.call(lambda: None)
        supervisor.alive(summary(firewall))
        await asyncio.sleep(supervisor.watchdog / 3 if supervisor.watchdog else WATCHED)


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
            await firewall.attach(name, mode, WriteOptions(author=replace(DAEMON, request=f"PUT /interfaces/{name}")))
        except NotFound:
            await firewall.want(name, mode)
            log.warning("there is no interface %s now; it is attached as soon as it comes", name)
            firewall.to_attach.pop(name, None)
        except KernelError as error:
            await firewall.want(name, mode)  # what the kernel or the compiler lacks may come
            firewall.to_attach.pop(name, None)
            tell_refused(name, error)
        except XdpfwError as error:
            # Not ready until somebody attaches it, or says that it need not be.
            firewall.to_attach[name] = f"not attached: {error.detail}"
            tell_refused(name, error)


def tell_refused(name: str, error: XdpfwError) -> None:
    log.error("%s is not attached: %s", name, error.detail, extra=told("refused", interface=name, detail=error.detail))


async def shut_what_is_open(firewall: Firewall, kernel: RealKernel, settings: Settings) -> None:
    """What is wanted and could not be attached: nothing passes there until it can be."""
    interfaces = firewall.interfaces
    async with firewall.writer.lock:
        wanted = dict(settings.attach) | interfaces.desired
        for name in interfaces.attached:
            wanted.pop(name, None)
        if not wanted or interfaces.held:
            return
        done = await firewall.writer.call(kernel.shut, wanted, settings.management)
        await firewall.writer.call(interfaces.refresh)
    for name, outcome in done.items():
        log.error("on_start_failure is drop: %s is %s", name, outcome)
