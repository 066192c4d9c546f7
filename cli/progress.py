# SPDX-License-Identifier: Apache-2.0
"""Progress of a long change on standard error: bytes sent, then what the daemon says about itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import BinaryIO

from cli.client import BLOCK_BYTES
from cli.errors import Failure
from cli.render import Screen, number, size
from cli.session import Session

_EVERY = 0.25
_EVERY_LINE = 2.0


class Progress:
    """A context. Quiet unless standard error is a terminal or it was asked for; on a terminal it uses one line."""

    def __init__(self, session: Session, label: str, *, wanted: bool) -> None:
        self.session = session
        self.screen: Screen = session.messages
        self.label = label
        self.active = wanted or self.screen.tty
        self._sent = threading.Event()
        self._ended = threading.Event()
        self._last = ""
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self.active:
            self._thread = threading.Thread(target=self._poll, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            # Whoever interrupts must not wait for an answer to a question about progress.
            self._thread.join(1.0)
        if self.screen.tty and self._last:
            self.screen.stream.write("\r\x1b[K")
            self.screen.stream.flush()

    def sending(self, file: BinaryIO, length: int | None) -> Iterator[bytes]:
        """The file's blocks; tells how far it has come."""
        done = 0
        while block := file.read(BLOCK_BYTES):
            yield block
            done += len(block)
            share = f" of {size(length)}, {100 * done // length} %" if length else ""
            self._show(f"sent {size(done)}{share}")
        self._sent.set()

    def sent(self) -> None:
        """Everything is with the daemon; from here it is the one to ask."""
        self._sent.set()

    def _poll(self) -> None:
        pause = _EVERY if self.screen.tty else _EVERY_LINE
        client = self.session.new_client()
        while not self._ended.wait(pause):
            if not self._sent.is_set():
                continue
            try:
                operation = client.get("/status").get("operation")
            except Failure:
                # The change itself will tell what is wrong with the daemon.
                continue
            if operation and not self._ended.is_set():
                done, total = operation["done"], operation["total"]
                share = f", {100 * done // total} %" if total else ""
                self._show(f"{operation['kind']}: {number(done)} of {number(total)}{share}")
        client.close()

    def _show(self, text: str) -> None:
        if not self.active or text == self._last:
            return
        self._last = text
        line = f"{self.label}: {text}"
        self.screen.stream.write(f"\r\x1b[K{line}" if self.screen.tty else line + "\n")
        self.screen.stream.flush()
