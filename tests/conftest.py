# SPDX-License-Identifier: Apache-2.0
"""What every test may use: the corpora's place, and skipping where a machine lacks something."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def lacks(what: str) -> None:
    """Skip because this machine lacks `what`; in CI, where everything must be there, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing in CI: {what}")
    pytest.skip(what)


@pytest.fixture(scope="session")
def corpora() -> Path:
    """Captures and prefix lists beside the checkout, or where XDPFW_CORPORA says."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "corpora"
    path = Path(os.environ.get("XDPFW_CORPORA", beside))
    if not path.is_dir():
        pytest.skip(f"no corpora in {path}")
    return path


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in ("kernel", "netns"):
        if item.get_closest_marker(mark) and os.geteuid() != 0:
            lacks("needs root")
