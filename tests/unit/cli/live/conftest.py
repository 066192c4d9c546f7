# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tests.canned import Canned
from tests.unit.cli.live.screen import Talking


@pytest.fixture
def talking(daemon: Canned, monkeypatch: pytest.MonkeyPatch) -> Talking:
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Talking(daemon)
