# SPDX-License-Identifier: Apache-2.0
"""Server-sent events (HTML standard, 9.2.6) as the daemon sends them: each holds one JSON object."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from cli.client import Document

MEDIA_TYPE = "text/event-stream"


def messages(lines: Iterable[str]) -> Iterator[Document]:
    """The objects of a stream: `data:` lines up to an empty one. What is no JSON object is passed over."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            text, data = "\n".join(data), []
            try:
                message = json.loads(text)
            except ValueError:
                continue
            if isinstance(message, dict):
                yield message
