# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.canned import Canned, serving
from tests.unit.cli.given import Call


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Canned]:
    for name in ("XDPFW_URL", "XDPFW_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "socket"
    monkeypatch.setenv("XDPFW_SOCKET", str(path))
    with serving(path) as canned:
        yield canned


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    return Call(capsys)
