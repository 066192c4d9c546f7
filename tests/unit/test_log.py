# SPDX-License-Identifier: Apache-2.0
"""The daemon's log: a line of JSON or of text for each record, marked for journald, without secrets."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from xdpfw.log import JsonLines, TextLines, is_journal, start, told

SECRET = "xdpfw_5f0c9a1e_0123456789abcdefghij"


def record(message: str, *args: object, level: int = logging.INFO, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("xdpfw.test", level, __file__, 1, message, args, more.pop("exc_info", None))
    made.created = 1767323045.678901
    made.__dict__.update(more)
    return made


def test_a_line_of_json_with_the_fields_of_an_event() -> None:
    what = told("ban", prefix="192.0.2.1/32", rule="ssh")
    line = JsonLines(marked=False).format(record("%s is banned", "192.0.2.1/32", level=logging.WARNING, **what))
    assert json.loads(line) == {
        "time": "2026-01-02T03:04:05.678901Z", "level": "warning", "logger": "xdpfw.test",
        "message": "192.0.2.1/32 is banned", "event": "ban", "prefix": "192.0.2.1/32", "rule": "ssh",
    }  # fmt: skip


def test_a_traceback_is_one_line_of_json_and_marked_lines_of_text() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        broken = record("defect", level=logging.ERROR, exc_info=sys.exc_info())
    line = JsonLines(marked=True).format(broken)
    assert "\n" not in line
    assert line.startswith("<3>{")
    assert "ValueError: two\nlines" in json.loads(line[3:])["exception"]
    lines = TextLines(marked=True).format(broken).split("\n")
    assert len(lines) > 2
    assert all(text.startswith("<3>") for text in lines)


@pytest.mark.parametrize("lines", [TextLines(marked=False), JsonLines(marked=False)])
def test_no_line_holds_a_secret(lines: logging.Formatter) -> None:
    text = lines.format(record("PUT %r", f"/sets/{SECRET}", **told("change", differences=[{"after": SECRET}])))
    assert "0123456789" not in text
    assert "xdpfw_5f0c9a1e_…" in text


def test_the_journal_is_known_by_its_stream(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        found = os.fstat(stream.fileno())
        assert is_journal(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
        assert not is_journal(stream, {"JOURNAL_STREAM": "odd"})
        assert not is_journal(stream, {})


@pytest.mark.parametrize(
    ("format", "journal", "begin"),
    [("auto", True, '<6>{"'), ("auto", False, "INFO x"), ("json", False, '{"'), ("text", True, "<6>INFO x")],
)
def test_the_format_that_is_chosen(
    format: str, journal: bool, begin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    with (tmp_path / "log").open("w+") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}" if journal else "")
        start("info", format)
        root.info("y")
        stream.seek(0)
        assert stream.read().startswith(begin.replace("INFO x", "INFO root: y"))
