# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share: a call, its standard input, the answer of a write."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from cli.main import main

WRITTEN = {
    "revision": 7, "changed": True, "added": 1, "refreshed": 0, "removed": 0, "kept": 0, "total": 12,
    "effective": "drop", "because": "set block", "created": True, "dry_run": False, "skipped": [],
}  # fmt: skip
"""The answer of a write of entries, as the contract has it."""


class Call:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *argv: str) -> tuple[int, str, str]:
        code = main(argv)
        out, err = self.capsys.readouterr()
        return code, out, err


def entry(prefix: str, **other: Any) -> dict[str, Any]:
    return {
        "prefix": prefix, "origin": "manual", "expires_at": None, "ttl": None, "comment": "", "packets": 0,
        "bytes": 0, "added_at": "2026-01-01T00:00:00Z", "claims": None, **other,
    }  # fmt: skip


def stdin(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))
