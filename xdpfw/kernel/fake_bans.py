# SPDX-License-Identifier: Apache-2.0
"""A pure model of the bans' tables. Tests say who is banned; nothing is metered here."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping

import numpy as np

from xdpfw.kernel.port import BAN, Bans, LimitStats
from xdpfw.policy.ops import Ids

SECOND = 1_000_000_000
ADDRESS_BITS = 128

Key = tuple[bytes, int]


def mapped(address: str) -> bytes:
    """IPv4 as ::ffff:a.b.c.d."""
    packed = ipaddress.ip_address(address).packed
    return packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed


class FakeBans:
    """`room`: how many bans there may be. `clock`: wall clock ns."""

    def __init__(self, room: int, clock: Callable[[], int]) -> None:
        self._room, self._clock = room, clock
        self._bans: dict[Key, Bans] = {}
        self._made = self._refused = 0

    def read(self) -> Bans:
        rows = [row for _, row in sorted(self._bans.items())]
        return np.concatenate(rows) if rows else np.empty(0, BAN)

    def restore(self, bans: Bans) -> int:
        refused = 0
        for at in range(len(bans)):
            row = bans[at : at + 1].copy()
            if _key(row) not in self._bans:
                refused += len(self._bans) >= self._room
                if len(self._bans) < self._room:
                    self._bans[_key(row)] = row
        return refused

    def lift(self, bans: Bans) -> None:
        for at in range(len(bans)):
            self._bans.pop(_key(bans[at : at + 1]), None)

    def stats(self) -> LimitStats:
        return LimitStats(self._made, self._refused, 0)

    def ban(self, address: str, slot: int, seconds: float, length: int = ADDRESS_BITS) -> None:
        """As if the source had exceeded the limit of the rule with that slot now."""
        now = self._clock()
        row = np.zeros(1, BAN)
        row["address"], row["length"] = np.frombuffer(_masked(mapped(address), length), np.uint8), length
        row["slot"], row["expires"], row["added"] = slot, now + int(seconds * SECOND), now
        there = self._bans.get(_key(row))
        if there is not None and there["expires"][0] > now:
            return
        if there is None and len(self._bans) >= self._room:
            self._refused += 1
            return
        self._bans[_key(row)] = row
        self._made += 1

    def hit(self, address: str, size: int) -> None:
        """A packet of that many bytes from a banned source."""
        for (prefix, length), row in self._bans.items():
            if _masked(mapped(address), length) == prefix:
                row["packets"] += 1
                row["bytes"] += size

    def clear(self, slots: Ids) -> None:
        self._bans = {key: row for key, row in self._bans.items() if row["slot"][0] not in slots}

    def slot_of(self, address: str, places: Mapping[int, int], row: int) -> int | None:
        """Of the rule that banned a source, if the ban stands before `row`."""
        for (prefix, length), ban in self._bans.items():
            slot = int(ban["slot"][0])
            inside = _masked(mapped(address), length) == prefix and self._clock() < ban["expires"][0]
            if inside and places.get(slot, row + 1) <= row:
                return slot
        return None


def _key(row: Bans) -> Key:
    return row["address"].tobytes(), int(row["length"][0])


def _masked(packed: bytes, length: int) -> bytes:
    kept = ADDRESS_BITS - length
    return (int.from_bytes(packed) >> kept << kept).to_bytes(len(packed))
