# SPDX-License-Identifier: Apache-2.0
"""A ban: a source that exceeded a rule's limit is dropped until its time has come."""

from __future__ import annotations

from dataclasses import dataclass

from xdpfw.model.prefix import Prefix

BANNED = "banned"
"""The set whose entries are the bans. Rules fill it, by what their limits say."""

ORIGIN = "rule:"
"""Of its entries: this and the id of the rule."""


@dataclass(frozen=True, slots=True)
class Ban:
    """`rule`: the id of the one that made it. Times are wall clock, nanoseconds since 1970. `packets`, `bytes`: dropped
    by it."""

    prefix: Prefix
    rule: str
    expires: int
    added: int
    packets: int = 0
    bytes: int = 0
