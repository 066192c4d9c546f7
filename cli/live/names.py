# SPDX-License-Identifier: Apache-2.0
"""Reverse DNS in the background: asking for a name never waits, it may just not be known yet.

The system's resolver is asked (getnameinfo), so that /etc/hosts and nsswitch.conf count. It cannot be interrupted,
hence threads that end with the process, and few: a flood of sources must not become a flood of queries.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from cli.render import printable

THREADS = 4
WAITING = 64
"""Addresses that wait for their turn; the longest waiting are forgotten, for they have probably left the screen."""
KNOWN = 4096
KEEP, KEEP_FAILURE = 600.0, 60.0


def system_name(address: str) -> str | None:
    try:
        return socket.getnameinfo((address, 0), socket.NI_NAMEREQD)[0]
    except OSError:
        return None


class Names:
    """Names of addresses, as far as they are known."""

    def __init__(self, lookup: Callable[[str], str | None] = system_name, clock: Callable[[], float] = time.monotonic):
        # Read when a thread asks for the first time (resolv.conf(5)): an answer that is late is no answer.
        os.environ.setdefault("RES_OPTIONS", "timeout:2 attempts:1")
        self._lookup, self._clock = lookup, clock
        self._known: OrderedDict[str, tuple[str | None, float]] = OrderedDict()
        self._waiting: deque[str] = deque(maxlen=WAITING)
        self._asking: set[str] = set()
        self._change = threading.Condition()
        self._threads = 0

    def get(self, address: str) -> str | None:
        """The name, or None where there is none or it is not known yet."""
        with self._change:
            name, until = self._known.get(address, (None, 0.0))
            if self._clock() >= until and address not in self._asking and address not in self._waiting:
                self._waiting.append(address)
                self._start()
                self._change.notify()
            return name

    def _start(self) -> None:
        if self._threads < THREADS:
            self._threads += 1
            threading.Thread(target=self._run, name="xdpfw-names", daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting)
                address = self._waiting.pop()
                self._asking.add(address)
            name = self._lookup(address)
            with self._change:
                self._asking.discard(address)
                keep = KEEP if name else KEEP_FAILURE
                # Whoever owns the address chose the name: it must not steer the terminal.
                self._known[address] = (printable(name) if name else None, self._clock() + keep)
                while len(self._known) > KNOWN:
                    self._known.popitem(last=False)
