# SPDX-License-Identifier: Apache-2.0
"""The daemon's log on standard error: lines of text for people, or of JSON for journald and whoever collects logs.

A line of JSON has `time`, `level`, `logger` and `message`; a security event has `event` and fields of its own (`told`).
No line holds the secret of an access token.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from xdpfw.model.secrets import hidden

_TOLD = "told"
_PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""Of syslog; journald takes them off the beginning of a line (sd-daemon(3))."""


def start(level: str, format: str) -> None:
    """`format`: `json`, `text`, or `auto`, which is JSON where standard error is the journal, else text."""
    journal = is_journal(sys.stderr, os.environ)
    as_json = format == "json" or (format == "auto" and journal)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(marked=journal) if as_json else TextLines(marked=journal))
    logging.basicConfig(level=level.upper(), handlers=[handler])


def told(event: str, **fields: Any) -> dict[str, Any]:
    """The `extra` of a security event: what happened, and what JSON can say of it."""
    return {_TOLD: {"event": event, **fields}}


def is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether what is written there goes to journald (JOURNAL_STREAM, systemd.exec(5))."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


class TextLines(logging.Formatter):
    """`marked`: every line begins with its priority."""

    def __init__(self, *, marked: bool) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._marked = marked

    def format(self, record: logging.LogRecord) -> str:
        text: str = hidden(super().format(record))
        if not self._marked:
            return text
        mark = _mark(record)
        return "\n".join(mark + line for line in text.split("\n"))


class JsonLines(logging.Formatter):
    """One line each, tracebacks too."""

    def __init__(self, *, marked: bool) -> None:
        super().__init__()
        self._marked = marked

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")[:-6] + "Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _TOLD, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        text: str = hidden(json.dumps(line, ensure_ascii=False, default=str))
        return _mark(record) + text if self._marked else text


def _mark(record: logging.LogRecord) -> str:
    return f"<{_PRIORITIES.get(record.levelname, _PRIORITIES['INFO'])}>"
