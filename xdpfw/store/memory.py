# SPDX-License-Identifier: Apache-2.0
"""A store that forgets: for tests, and for whoever wants nothing on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from xdpfw.model.policy import Policy
from xdpfw.policy.sets import Edit, Sets
from xdpfw.store.port import Packed, Saved, StoredChange, TokenRecord

V = TypeVar("V")


class MemoryStore:
    """Everything that it keeps is immutable, so a change is one assignment."""

    def __init__(self) -> None:
        self._saved = Saved(0, Sets.initial(), Policy(), {})
        self._tokens: dict[str, TokenRecord] = {}

    def load(self) -> Saved:
        return self._saved

    def save(self, change: StoredChange) -> None:
        old = self._saved
        self._saved = replace(
            old,
            revision=change.revision,
            sets=change.edit.sets if change.edit else old.sets,
            policy=change.policy or old.policy,
            interfaces=_changed(old.interfaces, change.interfaces),
            anchor=change.anchor or old.anchor,
            bases=old.bases if change.bases is None else dict(change.bases),
            epochs=_changed(old.epochs, change.epochs),
        )

    def pack(self, edit: Edit) -> Packed:
        return {}

    def tidy(self) -> None:
        pass

    def tokens(self) -> list[TokenRecord]:
        return list(self._tokens.values())

    def add_token(self, record: TokenRecord) -> None:
        self._tokens[record.id] = record

    def remove_token(self, id: str) -> None:
        self._tokens.pop(id, None)

    def close(self) -> None:
        pass


def _changed(old: Mapping[str, V], change: Mapping[str, V | None] | None) -> dict[str, V]:
    merged: dict[str, V | None] = {**old, **(change or {})}
    return {name: value for name, value in merged.items() if value is not None}
