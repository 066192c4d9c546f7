# SPDX-License-Identifier: Apache-2.0
"""A program on a pseudo-terminal: what it writes, and keys for it. It hangs up when its owner ends, in any way."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

PATIENCE = 30.0


@dataclass
class Terminal:
    """`written`: all that came so far."""

    process: subprocess.Popen[bytes]
    master: int
    written: bytearray = field(default_factory=bytearray)

    def press(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read(self, seconds: float) -> bool:
        """Take what comes within this time, if anything does. False when nothing will come any more."""
        if not select.select([self.master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.master, 1 << 16)
        except OSError:  # EIO: the other side is closed
            return False
        self.written += data
        return bool(data)

    def until(self, text: str, after: int = 0) -> int:
        """Wait until this was written; answers how much had been written then."""
        deadline = time.monotonic() + PATIENCE
        while text.encode() not in self.written[after:]:
            alive = self.read(0.05)
            assert alive and time.monotonic() < deadline, f"in vain: {text!r}\n{bytes(self.written[after:])!r}"
        return len(self.written)

    def ended(self) -> int:
        """Wait for the end; answers the exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.read(0.05):
            assert time.monotonic() < deadline, f"it does not end\n{bytes(self.written)!r}"
        return self.process.wait(PATIENCE)


@contextmanager
def terminal(
    *command: str, width: int = 80, height: int = 24, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """Start a program as the leader of a session on a terminal of its own, which hangs up at the end of the block."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm-256color", **(environment or {})},
        preexec_fn=_lead,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        os.close(master)
        if process.poll() is None:
            process.kill()
        process.wait(PATIENCE)


def _lead() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
