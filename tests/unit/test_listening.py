# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that ends by itself takes the daemon along: filters stay, and a service manager starts it again."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api.lobby import Lobby
from xdpfw.listening import listening
from xdpfw.settings import Settings

Serving = Callable[[Callable[[], None]], AbstractAsyncContextManager[Any]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of the unix socket."""
    return tmp_path / "socket"


@pytest.fixture
def serving(path: Path, monkeypatch: pytest.MonkeyPatch) -> Serving:
    """An application that nobody asks anything, told how to ask for the end."""
    monkeypatch.setattr("xdpfw.listening.create_app", lambda *_, **__: None)
    nobody: Any = SimpleNamespace(warnings=[], tokens=dict)
    return lambda end: listening(Settings(listen=None, socket=path), nobody, nobody, (), end)


class Defect(Exception):
    pass


def fail(*_: Any) -> bool:
    raise Defect


@pytest.mark.parametrize("fails", ["lets nobody in", "does not go on"])
def test_the_daemon_ends_with_its_server(fails: str, serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    if fails == "lets nobody in":
        monkeypatch.setattr(Lobby, "__init__", fail)
    else:
        monkeypatch.setattr("api.server.Server.on_tick", fail)

    async def serve() -> None:
        stop = asyncio.Event()
        async with serving(stop.set):
            await asyncio.wait_for(stop.wait(), 10)

    with pytest.raises(Defect):
        asyncio.run(serve())


def test_a_server_that_goes_on_ends_with_the_body(serving: Serving, path: Path) -> None:
    async def serve() -> bool:
        stop = asyncio.Event()
        async with serving(stop.set):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
            await asyncio.sleep(0.3)
            return stop.is_set()

    assert not asyncio.run(serve())
    assert not path.exists()
