# SPDX-License-Identifier: Apache-2.0
"""`xdpfw serve`, from the first line on: the compiler starts before anything that takes time to import."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xdpfw.kernel import memory
from xdpfw.kernel.program import PacketProgram
from xdpfw.model.errors import Conflict, Unavailable, XdpfwError
from xdpfw.settings import Settings

log = logging.getLogger("xdpfw.daemon")


def main(settings: Settings) -> int:
    """Run until SIGINT or SIGTERM. Answers the exit code: 0 done, 1 failed, 4 another daemon is in the way."""
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    memory.keep_at_hand()
    try:
        with state_dir_lock(settings.state_dir):
            program = PacketProgram.of(settings.state_dir)
            program.prepare()
            from xdpfw.life import serve

            return asyncio.run(serve(settings, program))
    except Conflict as error:
        log.error("%s", error.detail)
        return 4
    except XdpfwError as error:
        log.error("%s", error.detail)
        return 1


@contextmanager
def state_dir_lock(path: Path) -> Iterator[None]:
    """One daemon per state directory. The lock goes with the process, however it ends.

    Raises Conflict when another daemon holds it, Unavailable when the directory cannot be made.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(f"the state directory {path} cannot be used: {error.strerror}; see --state-dir") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict(
            f"another daemon runs with the state directory {path}; give this one its own --state-dir"
        ) from None
    finally:
        os.close(descriptor)
