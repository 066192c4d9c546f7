# SPDX-License-Identifier: Apache-2.0
"""Entity tags (RFC 9110, 8.8.3): one version per resource, so that a change elsewhere does not disturb a writer."""

from __future__ import annotations

import secrets
from collections import Counter

from xdpfw.model.errors import StaleMatch


class Versions:
    """Counts the changes of each resource. Tags of an earlier run of the daemon never match."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(4)
        self._counts: Counter[str] = Counter()

    def tag(self, resource: str) -> str:
        return f'"{self._run}-{self._counts[resource]}"'

    def changed(self, *resources: str) -> None:
        self._counts.update(resources)


def check_match(if_match: str | None, tag: str | None) -> None:
    """Raises StaleMatch unless the header's list holds the tag; `tag` None: the resource does not exist."""
    if if_match is None:
        return
    wanted = [part.strip() for part in if_match.split(",")]
    if tag is None or not ("*" in wanted or tag in wanted):
        raise StaleMatch("the resource has changed since it was read: read it again, then repeat the change")
