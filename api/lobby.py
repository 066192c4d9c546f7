# SPDX-License-Identifier: Apache-2.0
"""Who may be connected at once.

A full house turns nobody away as long as somebody sits there without having said what they want: the one who has
been silent longest goes. So slow clients crowd out each other, and one that speaks up at once is served.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Room:
    """How many connections a listening socket holds: in all, and of one peer."""

    total: int = 256
    per_peer: int = 64


@dataclass(eq=False, slots=True)
class Guest:
    """One connection. `peer`: whose it is. `show_out` ends it. `silent_since` (monotonic seconds): since when it owes
    us a whole request; None while one is being answered."""

    peer: str
    show_out: Callable[[], object]
    silent_since: float | None = field(default_factory=time.monotonic)


class Lobby:
    """The connections of one listening socket."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._guests: set[Guest] = set()
        self._of_peer: Counter[str] = Counter()

    def enter(self, guest: Guest) -> bool:
        """False: all places are taken by those who are being answered."""
        if not self._make_place(guest.peer):
            return False
        self._guests.add(guest)
        self._of_peer[guest.peer] += 1
        return True

    def _make_place(self, peer: str) -> bool:
        if self._of_peer[peer] >= self._room.per_peer:
            return self._show_out(guest for guest in self._guests if guest.peer == peer)
        if len(self._guests) >= self._room.total:
            return self._show_out(self._guests)
        return True

    def _show_out(self, guests: Iterable[Guest]) -> bool:
        silent = [(guest.silent_since, guest) for guest in guests if guest.silent_since is not None]
        if not silent:
            return False
        _, longest = min(silent, key=lambda pair: pair[0])
        self.leave(longest)
        longest.show_out()
        return True

    def leave(self, guest: Guest) -> None:
        """Saying it twice does no harm."""
        if guest not in self._guests:
            return
        self._guests.remove(guest)
        self._of_peer[guest.peer] -= 1
        if not self._of_peer[guest.peer]:
            del self._of_peer[guest.peer]
