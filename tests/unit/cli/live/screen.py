# SPDX-License-Identifier: Apache-2.0
"""The live view on a screen in memory, against a canned daemon."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from textual.pilot import Pilot

from cli.client import Client, Target
from cli.live.app import TopApp
from cli.live.model import Model
from cli.live.reading import Traffic
from cli.live.rows import View
from cli.live.widgets import Lines
from tests.canned import Asked, Canned, Told
from tests.unit.cli.live.values import iso, rule, talker, told, told_flow
from tests.unit.cli.test_pages import INTERFACE, STATUS

PATIENCE = 20.0


class Talking:
    """A canned daemon with two interfaces whose talkers a test changes."""

    def __init__(self, daemon: Canned) -> None:
        self.daemon = daemon
        now = time.time()
        self.talkers = [
            replace(each, since=now - 65, last_seen=now)
            for each in (
                talker("192.0.2.1", 50), talker("198.51.100.7", 10, 20, sets=("block",)), talker("2001:db8::1", 5),
            )
        ]  # fmt: skip
        both = [INTERFACE | {"name": name, "mode": "native", "warning": None} for name in ("eth0", "eth1")]
        self.status: dict[str, Any] = STATUS | {"warnings": [], "operation": None, "interfaces": both}
        self.rules = [rule("allow", "pass", source=["allow"]), rule("block", "drop", source=["block"])]
        daemon.tells["GET", "/status"] = lambda _: Told(document=self.status)
        daemon.tells["GET", "/rules"] = lambda _: Told(document={"items": self.rules, "next": None, "total": 2})
        for path in ("/talkers", "/interfaces/eth0/talkers", "/interfaces/eth1/talkers"):
            daemon.tells["GET", f"{path}/stream"] = self.stream
            daemon.tells["GET", path] = lambda _: Told(document=self.answer())

    def stream(self, asked: Asked) -> Told:
        """One event, and the stream breaks off: the view asks again."""
        return Told(text=f"retry: 1000\ndata: {json.dumps(self.answer())}\n\n".encode())

    def answer(self) -> dict[str, Any]:
        totals = Traffic()
        for each in self.talkers:
            totals = Traffic(totals.passed + each.traffic.passed, totals.dropped + each.traffic.dropped)
        return {
            "items": [told(each) for each in self.talkers],
            "next": None,
            "total": len(self.talkers),
            "other": {"passed": told_flow(Traffic().passed), "dropped": told_flow(Traffic().dropped)},
            "totals": {"passed": told_flow(totals.passed), "dropped": told_flow(totals.dropped)},
            "since": None,
            "at": iso(time.time()),
        }

    def asked(self, path: str = "/talkers/stream") -> dict[str, str]:
        """The latest question there."""
        return next((each.query for each in reversed(self.daemon.asked) if each.path == path), {})

    def writes(self) -> list[Asked]:
        return [each for each in self.daemon.asked if each.method != "GET"]


@dataclass
class Shown:
    app: TopApp
    pilot: Pilot[int]

    def lines(self, part: str = "body") -> list[str]:
        return [line.rstrip() for line in self.app.query_one(f"#{part}", Lines).text]

    @property
    def text(self) -> str:
        return "\n".join(line for part in ("head", "body", "bottom") for line in self.lines(part))

    @property
    def addresses(self) -> list[str]:
        """Of the table's rows, from the top."""
        words = [line.split() for line in self.lines()[1:]]
        return [each[1] for each in words if len(each) > 4]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def until(self, probe: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not probe():
            assert time.monotonic() < deadline, f"in vain: {what}\n{self.text}"
            await self.pilot.pause(0.01)

    async def shows(self, *texts: str) -> None:
        for text in texts:
            await self.until(lambda text=text: text in self.text, text)  # type: ignore[misc]


@asynccontextmanager
async def showing(
    daemon: Canned, view: View | None = None, size: tuple[int, int] = (80, 24), **model: Any
) -> AsyncIterator[Shown]:
    """Until the first reading is on the screen."""
    app = TopApp(Model(view or View(), **model), lambda: Client(Target(path=str(daemon.path)), 5))
    async with app.run_test(size=size) as pilot:
        shown = Shown(app, cast("Pilot[int]", pilot))
        await shown.until(lambda: app.model.reading is not None or app.model.trouble is not None, "the first answer")
        await shown.until(lambda: app.model.situation.revision or app.model.trouble, "the first status")
        app.paint()
        yield shown


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())
