# SPDX-License-Identifier: Apache-2.0
"""What a service manager is told, and what it hands over: the protocols of sd_notify(3), sd_watchdog_enabled(3) and
sd_listen_fds(3). Without a service manager nothing here does anything."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

FIRST_FD = 3


class Supervisor:
    """Takes its variables out of the environment: they are meant for this process, not for its children."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        meant_for_us = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environment.pop("WATCHDOG_USEC", "")
        self.watchdog = int(usec) / 1e6 if usec.isdigit() and int(usec) and meant_for_us else None
        """Seconds within which `alive` must be called again; None: nobody waits for it."""
        self.told_ready = False
        count = environment.pop("LISTEN_FDS", "")
        meant_for_us = environment.pop("LISTEN_PID", "") == str(os.getpid())
        self._given = int(count) if count.isdigit() and meant_for_us else 0
        environment.pop("LISTEN_FDNAMES", None)

    @property
    def there(self) -> bool:
        return bool(self._address)

    def ready(self, status: str) -> None:
        self.told_ready = True
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1")

    def alive(self, status: str) -> None:
        self._tell("WATCHDOG=1", f"STATUS={status}")

    def status(self, text: str) -> None:
        self._tell(f"STATUS={text}")

    def _tell(self, *lines: str) -> None:
        """Somebody who does not listen is no reason to stop filtering."""
        if not self._address:
            return
        text = "\n".join(line.replace("\n", " ") for line in lines)
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(text.encode(), address)

    def sockets(self) -> list[socket.socket]:
        """The listening sockets that were handed over; to be asked once."""
        given = [socket.socket(fileno=FIRST_FD + number) for number in range(self._given)]
        self._given = 0
        for sock in given:
            sock.set_inheritable(False)
        return given
