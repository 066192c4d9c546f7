# SPDX-License-Identifier: Apache-2.0
"""What clients ask of a firewall in a soak, all at once, whether a daemon answers or not."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lab import prefixes
from lab.daemon import Daemon
from lab.rest import Answer
from lab.waiting import eventually

BUSY = (409, 412, 429, 503)
"""What a client that repeats itself may be told."""

SECOND = "interfaces/lan2"
FIELDS: tuple[dict[str, Any], ...] = (
    {"destination_ports": [9]},
    {"source_ports": [9]},
    {"length": ["9000-9100"]},
    {"vlan": [7]},
    {"fragment": "later"},
    {"destination": ["203.0.113.0/24"]},
)
"""Of rules that match nothing that is sent here."""
FEED = 20_000
PAUSE = 0.2


class Work:
    """Each job in a thread, again and again until `stop`. `entries`: singles that were acknowledged (True: there), and
    what became of them is known; `refused`: answers that nobody should get."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.daemon, self._chosen = daemon, random.Random(seed)
        self.entries: dict[str, bool] = {}
        self.refused: list[str] = []
        self.done: dict[str, int] = {}
        self._over, self._on = threading.Event(), threading.Event()
        self._on.set()
        self._busy: set[str] = set()
        self._threads: list[threading.Thread] = []
        self._pool = prefixes.make(2 * FEED, seed)

    def start(self) -> None:
        for job in (self.import_list, self.change_rules, self.write_singles, self.write_timed, self.attach, self.view):
            thread = threading.Thread(target=self._repeat, args=(job,), name=job.__name__, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=120)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Nothing is under way, nothing begins, and nothing is attached but what always is."""
        self._on.clear()
        try:
            eventually(lambda: not self._busy, "what is under way comes to its end", 60)
            self.ask("DELETE", SECOND)
            yield
        finally:
            self._on.set()

    def _repeat(self, job: Callable[[], None]) -> None:
        while not self._over.wait(PAUSE) and self._on.wait():
            self._busy.add(job.__name__)
            job()
            self._busy.discard(job.__name__)
            self.done[job.__name__] = self.done.get(job.__name__, 0) + 1

    def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Answer | None:
        """None: nobody knows what became of it."""
        try:
            answer = self.daemon.rest.call(method, path, body, kind=kind)
        except (OSError, http.client.HTTPException):
            return None
        if answer.status >= 400 and answer.status not in (404, *BUSY):
            self.refused.append(f"{method} {path}: {answer.status} {answer.body[:300].decode(errors='replace')}")
        return answer

    # jobs

    def import_list(self) -> None:
        chosen = self._chosen.sample(self._pool, FEED)
        self.ask("PUT", "sets/block/entries?origin=feed&force=true", prefixes.body(chosen), "text/plain")
        self._over.wait(1)

    def change_rules(self) -> None:
        """One that asks for another feature of the program each time, so that it is swapped."""
        if self._chosen.random() < 0.3:
            self.ask("DELETE", "rules/soak")
        else:
            self._put_rule(self._chosen.choice(FIELDS))

    def change_fields(self) -> None:
        """To a rule whose fields hardly any rule had together before, so that a program has to be compiled."""
        chosen = self._chosen.sample(FIELDS, 3)
        self._put_rule({name: value for field in chosen for name, value in field.items()})

    def _put_rule(self, match: dict[str, Any]) -> None:
        self.ask("PUT", "rules/soak?force=true", {"match": match, "action": "drop", "position": 1})

    def write_singles(self) -> None:
        host = f"192.0.3.{self._chosen.randrange(256)}"
        add = self._chosen.random() < 0.6
        self.entries.pop(host, None)
        answer = self.ask("PUT" if add else "DELETE", f"sets/block/entries/{host}?force=true", {} if add else None)
        if answer is not None and (answer.status < 300 or (answer.status == 404 and not add)):
            self.entries[host] = add

    def write_timed(self) -> None:
        self.ask("PUT", f"sets/block/entries/192.0.4.{self._chosen.randrange(256)}?force=true", {"ttl": 1})

    def attach(self) -> None:
        if self._chosen.random() < 0.5:
            self.ask("PUT", f"{SECOND}?force=true", {"mode": "auto"})
        else:
            self.ask("DELETE", SECOND)

    def view(self) -> None:
        """A stream that is followed for a while, and all the rest that people look at."""
        for path in ("status", "interfaces/lan1/talkers", "sets", "audit?limit=20", "history"):
            self.ask("GET", path)
        connection = self.daemon.rest.open()
        try:
            connection.request("GET", "/api/v1/live/stream")
            answer, until = connection.getresponse(), time.monotonic() + 1
            while time.monotonic() < until and answer.readline():
                pass
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
