# SPDX-License-Identifier: Apache-2.0
"""`xdpfw serve`, from the first line on: the compiler starts before anything that takes time to import."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xdpfw.kernel import memory
from xdpfw.kernel.bpffs import user_name
from xdpfw.kernel.program import PacketProgram
from xdpfw.log import start as start_log
from xdpfw.model.errors import Conflict, Unavailable, XdpfwError
from xdpfw.model.reason import Verdict
from xdpfw.settings import DATABASE, Settings
from xdpfw.supervisor import Supervisor

log = logging.getLogger("xdpfw.daemon")


class AlreadyRuns(Conflict):
    """Another daemon has this state directory."""


def main(settings: Settings) -> int:
    """Run until SIGINT or SIGTERM. Answers the exit code: 0 done, 1 failed, 4 another daemon is in the way."""
    gc.disable()  # until it is ready: hardly anything of a start is garbage
    start_log(settings.log_level, settings.log_format)
    memory.keep_at_hand()
    supervisor = Supervisor(os.environ)
    try:
        with state_dir_lock(settings.state_dir):
            program = PacketProgram.of(settings.state_dir)
            program.prepare()
            from xdpfw.life import serve

            return asyncio.run(serve(settings, program, supervisor))
    except AlreadyRuns as error:
        log.error("%s", error.detail)
        return 4
    except Exception as error:
        if isinstance(error, XdpfwError):
            log.error("%s", error.detail)
        else:
            log.exception("this is a defect")
        supervisor.status(f"failed: {error}")
        if not supervisor.told_ready and settings.on_start_failure is Verdict.DROP:
            shut(settings)
        return 4 if isinstance(error, Conflict) else 1


def shut(settings: Settings) -> None:
    """The start failed, and nothing shall pass until one succeeds: close what is wanted and has no program."""
    from xdpfw.hold import Hold
    from xdpfw.kernel import closed
    from xdpfw.store.sqlite import wanted_interfaces

    if Hold(settings.state_dir).on:
        log.warning("everything was detached by hand: nothing is closed")
        return
    wanted = wanted_interfaces(settings.state_dir / DATABASE) | dict(settings.attach)
    try:
        done = closed.close(wanted, settings.management, settings.instance_name, settings.bpffs)
    except XdpfwError as error:
        log.error("nothing could be closed, packets pass: %s", error.detail)
        return
    for name, outcome in done.items():
        log.error("on_start_failure is drop: %s is %s", name, outcome)


@contextmanager
def state_dir_lock(path: Path, *, any_owner: bool = False) -> Iterator[None]:
    """One daemon per state directory. The lock goes with the process, however it ends. `any_owner`: for whoever leaves
    nothing of its own in there.

    Raises AlreadyRuns when another daemon holds it, Unavailable when the directory cannot be used.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        owner = path.stat().st_uid
        if owner != os.geteuid() and not any_owner:  # what one user writes there, the other's daemon could not open
            raise Unavailable(
                f"the state directory {path} belongs to {user_name(owner)}, and this is {user_name(os.geteuid())}: run "
                f"the daemon as its owner (the unit does: systemctl start xdpfw), or first chown -R {path}"
            )
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"the state directory {path} cannot be used: {error.strerror}; see --state-dir") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise AlreadyRuns(
            f"another daemon runs with the state directory {path}; give this one its own --state-dir"
        ) from None
    finally:
        os.close(descriptor)
