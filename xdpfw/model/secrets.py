# SPDX-License-Identifier: Apache-2.0
"""Keeps access tokens out of what is written down, wherever somebody may have put one: a path, a comment, a message."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_TOKEN = re.compile(r"(xdpfw_[0-9A-Za-z]+_)[A-Za-z0-9_-]{8,}")


def hidden(value: Any) -> Any:
    """Text, or whatever JSON can say, with the secrets of tokens taken out."""
    if isinstance(value, str):
        return _TOKEN.sub(r"\1…", value)
    if isinstance(value, Mapping):
        return {name: hidden(inner) for name, inner in value.items()}
    if isinstance(value, Sequence):
        return [hidden(inner) for inner in value]
    return value
