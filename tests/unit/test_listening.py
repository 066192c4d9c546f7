# SPDX-License-Identifier: Apache-2.0
"""An HTTP server that ends by itself takes the daemon along: filters stay, and a service manager starts it again."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api.lobby import Lobby
from xdpfw.listening import listening
from xdpfw.settings import Settings


class Defect(Exception):
    pass


def fail(*_: Any) -> bool:
    raise Defect


@pytest.mark.parametrize("fails", ["lets nobody in", "does not go on"])
def test_the_daemon_ends_with_its_server(fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if fails == "lets nobody in":
        monkeypatch.setattr(Lobby, "__init__", fail)
    else:
        monkeypatch.setattr("api.server.Server.on_tick", fail)
    monkeypatch.setattr("xdpfw.listening.create_app", lambda *_, **__: None)
    settings = Settings(listen=None, socket=tmp_path / "socket")
    firewall: Any = SimpleNamespace(warnings=[], tokens=dict)

    async def serve() -> None:
        stop = asyncio.Event()
        async with listening(settings, firewall, firewall, (), stop.set):
            await asyncio.wait_for(stop.wait(), 10)

    with pytest.raises(Defect):
        asyncio.run(serve())


def test_a_server_that_goes_on_ends_with_the_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xdpfw.listening.create_app", lambda *_, **__: None)
    settings = Settings(listen=None, socket=tmp_path / "socket")
    firewall: Any = SimpleNamespace(warnings=[], tokens=dict)

    async def serve() -> bool:
        stop = asyncio.Event()
        async with listening(settings, firewall, firewall, (), stop.set):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(settings.socket))
            await asyncio.sleep(0.3)
            return stop.is_set()

    assert not asyncio.run(serve())
    assert not settings.socket.exists()
