# SPDX-License-Identifier: Apache-2.0
"""Authors, differences and pending changes as JSON, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from xdpfw.model.interface import AttachMode
from xdpfw.model.ledger import Author, Difference, Differences, Part, Pending


def author_text(author: Author) -> str:
    return _dumped(asdict(author))


def author_of(text: str) -> Author:
    return Author(**json.loads(text))


def differences_text(differences: Differences) -> str:
    """`path` comes first in each, without blanks: a look-up of paths goes by that."""
    return _dumped([{"path": each.path, "before": each.before, "after": each.after} for each in differences.items])


def differences_of(text: str, more: int) -> Differences:
    return Differences(tuple(Difference(**each) for each in json.loads(text)), more)


def pending_text(pending: Pending) -> str:
    plain = ("id", "revision", "made", "window", "boot", "deadline", "interfaces", "ran", "sets", "needed", "entries")
    document = {name: getattr(pending, name) for name in plain}
    document["author"] = author_text(pending.author)
    document["parts"] = [[part.resource, part.prefix, part.origin] for part in pending.parts]
    document["differences"] = [differences_text(pending.differences), pending.differences.more]
    return _dumped(document)


def pending_of(text: str) -> Pending:
    document: dict[str, Any] = json.loads(text)
    document["author"] = author_of(document["author"])
    document["parts"] = tuple(Part(*each) for each in document["parts"])
    document["differences"] = differences_of(*document["differences"])
    document["needed"] = tuple(document["needed"])
    document["interfaces"] = {name: mode and AttachMode(mode) for name, mode in document["interfaces"].items()}
    document["ran"] = {name: AttachMode(mode) for name, mode in document["ran"].items()}
    return Pending(**document)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
