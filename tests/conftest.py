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


def corpora_path() -> Path | None:
    """Captures and prefix lists beside the checkout, or where XDPFW_CORPORA says; None if they are not there."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "corpora"
    path = Path(os.environ.get("XDPFW_CORPORA", beside))
    return path if path.is_dir() else None


@pytest.fixture(scope="session")
def corpora() -> Path:
    path = corpora_path()
    if path is None:
        pytest.skip("no corpora beside the checkout, nor in XDPFW_CORPORA")
    return path


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled programs, which all kernels of a run share."""
    return tmp_path_factory.mktemp("programs")


FIRST_HALF = ("unit", "api", "browser")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two halves that may run side by side. What measures times or rates comes last, when the shorter half is done."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)
    here = Path(__file__).parent
    for item in items:
        first = item.path.relative_to(here).parts[0] in FIRST_HALF and not item.get_closest_marker("alone")
        item.add_marker(pytest.mark.xdist_group("first" if first else "second"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in ("kernel", "netns"):
        if item.get_closest_marker(mark) and os.geteuid() != 0:
            lacks("needs root")
