# SPDX-License-Identifier: Apache-2.0
"""What is installed is what was locked: versions with hashes, as wheels, and nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from lab.network import ROOT

LOCKS = sorted(ROOT.glob("requirements*.lock"))


def entries(text: str) -> list[str]:
    """Requirements, each with its options in one line."""
    joined = re.sub(r" *\\\n *", " ", text)
    return [line for line in joined.splitlines() if line and not line.startswith((" ", "#"))]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_requirement_has_one_version_and_its_hashes(lock: Path) -> None:
    found = entries(lock.read_text())
    assert len(found) > 20
    pinned = re.compile(r"[A-Za-z0-9._-]+==[^ ;]+( ; [^-]+)?( --hash=sha256:[0-9a-f]{64})+")
    assert [entry for entry in found if not pinned.fullmatch(entry)] == []


def test_all_that_the_project_needs_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split("[><=]", each)[0] for each in project["dependencies"]}
    locked = {entry.partition("==")[0] for entry in entries((ROOT / "requirements.lock").read_text())}
    assert wanted <= locked


@pytest.mark.parametrize("script", ["install", "bootstrap"])
def test_a_lock_is_installed_by_its_hashes_and_as_wheels(script: str) -> None:
    text = re.sub(r"\\\n", " ", (ROOT / "script" / script).read_text())
    installs = [line for line in text.splitlines() if re.search(r' -r "\$root/', line)]
    assert installs
    assert [line for line in installs if "--require-hashes --only-binary :all:" not in line] == []
