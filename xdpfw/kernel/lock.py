# SPDX-License-Identifier: Apache-2.0
"""One kernel adapter for each state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from xdpfw.model.errors import Conflict, KernelError

# Not "lock", which the daemon itself holds from before its sockets open: flock(2) would refuse its own process.
NAME = "kernel.lock"


class StateLock:
    """Held until `release`, or until the process ends, however it ends."""

    def __init__(self, state_dir: Path) -> None:
        """Raises Conflict when another process holds it."""
        self._path = state_dir / NAME
        try:
            state_dir.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KernelError(f"cannot use the state directory: {error}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise Conflict(f"another daemon (process {holder or 'unknown'}) runs on {state_dir}") from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        os.close(self._fd)
