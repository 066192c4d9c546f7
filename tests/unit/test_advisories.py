# SPDX-License-Identifier: Apache-2.0
"""What `script/audit` makes of pip-audit's report (its JSON format)."""

from __future__ import annotations

from typing import Any

import pytest

from lab.advisories import told

SOUND = {"name": "numpy", "version": "2.4.6", "vulns": []}
AFFECTED = {"name": "h11", "version": "0.15", "vulns": [{"id": "GHSA-vqfr", "fix_versions": ["0.16"], "aliases": []}]}
UNKNOWN = {"name": "idna", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "well", "line"),
    [
        ([SOUND], True, "1 of 1 packages were looked up, 0 are affected"),
        ([SOUND, AFFECTED], False, "h11 0.15: GHSA-vqfr, mended in 0.16"),
        ([SOUND, UNKNOWN], False, "idna: Dependency not found on PyPI"),
        ([UNKNOWN, SOUND, UNKNOWN], False, "1 of 3 packages were looked up, 0 are affected"),
        ([], False, "0 of 0 packages were looked up, 0 are affected"),
    ],
)
def test_only_what_was_looked_up_and_is_not_affected_is_well(
    packages: list[dict[str, Any]], well: bool, line: str
) -> None:
    lines, answer = told({"dependencies": packages, "fixes": []})
    assert (answer, line in lines) == (well, True)
