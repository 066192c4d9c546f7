# SPDX-License-Identifier: Apache-2.0
"""Interned texts: claims carry small numbers for their origin and comment instead of the text."""

from __future__ import annotations

from collections.abc import Mapping

from xdpfw.model.errors import InvalidInput


class Strings:
    """Numbered texts. Text 0 is given at creation and always there; a number never changes its text.

    Shared by all versions of the sets and by the store, which saves what is new with every change (`items`).
    """

    __slots__ = ("_capacity", "_ids", "_next", "_texts")

    def __init__(self, zero: str, capacity: int, items: Mapping[int, str] | None = None) -> None:
        self._texts: dict[int, str] = {0: zero, **(items or {})}
        self._ids = {text: number for number, text in self._texts.items()}
        self._next = max(self._texts) + 1
        self._capacity = capacity

    def intern(self, text: str) -> int:
        """The number of a text, a new one if it has none yet. Raises InvalidInput when all numbers are taken."""
        number = self._ids.get(text)
        if number is None:
            number = self._next
            if number >= self._capacity:
                raise InvalidInput(f"more than {self._capacity - 1:,} different texts of one kind cannot be stored")
            self._texts[number] = text
            self._ids[text] = number
            self._next += 1
        return number

    def find(self, text: str) -> int | None:
        return self._ids.get(text)

    def __getitem__(self, number: int) -> str:
        return self._texts[number]

    def __len__(self) -> int:
        return len(self._texts)

    def items(self, first: int = 1) -> dict[int, str]:
        """The texts numbered `first` and up."""
        return {number: self._texts[number] for number in range(first, self._next) if number in self._texts}

    @property
    def next_number(self) -> int:
        return self._next
