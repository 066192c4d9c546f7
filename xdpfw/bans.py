# SPDX-License-Identifier: Apache-2.0
"""Bans as the daemon sees them: what the packet path made, kept for the store and shown as entries of a set.

The table of the packet path is the truth. The daemon looks at it when something stirred there, takes out what has run
out, notes what came and went, and puts back at a start what the table has lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from xdpfw.clock import SECOND, Clock
from xdpfw.kernel.port import BAN, Bans, BanTable
from xdpfw.model.ban import BANNED, ORIGIN, Ban
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import FAMILIES, HOST_LENGTH, Family, Prefix
from xdpfw.policy.claims import CLAIM
from xdpfw.policy.sets import SetInfo, Sets

HITS_EVERY = 60 * SECOND
"""How often the store learns what bans have counted, if nothing else is to be stored."""

REFUSED_LATELY = 60 * SECOND

SHIFTED = SECOND
"""An expiry that moved by more is another one: the wall clock was stepped."""

COMMENT = "sources that exceeded the limit of a rule that bans"

_MAPPED = bytes(10) + b"\xff\xff"
_IPV4_BEGINS = HOST_LENGTH[6] - HOST_LENGTH[4]


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the table found. `made`: new ones; `stored`: what to write down, None to take out; `listed`:
    whether the set has other entries than before."""

    made: tuple[Ban, ...] = ()
    stored: Mapping[Prefix, Ban | None] = field(default_factory=dict)
    listed: bool = False


class BanList:
    """Methods block for some milliseconds; one writer at a time."""

    def __init__(self, table: Callable[[], BanTable], clock: Clock) -> None:
        self._table, self._clock = table, clock
        self._rows = self._stored = np.empty(0, BAN)
        self._refused, self._refused_at = 0, -REFUSED_LATELY
        self._policy: Policy | None = None
        self._made = -1
        self._hits_stored = clock.monotonic()
        self.sets = as_set(self._rows, Policy())

    def __len__(self) -> int:
        return len(self._rows)

    def restore(self, bans: Iterable[Ban], policy: Policy, step: int) -> int:
        """At a start: put back what the table does not have; answers how many found no room. `step`: of the wall clock
        since they were stored."""
        now, slots = self._clock.wall(), policy.slots.of
        bans = list(bans)
        moved = [replace(ban, expires=ban.expires + step, added=ban.added + step) for ban in bans]
        left = [ban for ban in moved if ban.expires > now and ban.rule in slots]
        # The first look finds what the store has to learn.
        self._stored = rows_of(bans, slots)
        return self._table().restore(rows_of(left, slots))

    def recheck(self) -> None:
        """There is something new, though the table does not say so."""
        self._made = -1

    def stirred(self, policy: Policy) -> bool:
        """Whether there may be anything new in the table."""
        stats = self._table().stats()
        if stats.refused != self._refused:
            self._refused, self._refused_at = stats.refused, self._clock.monotonic()
        return (
            policy is not self._policy
            or stats.banned != self._made
            or (len(self._rows) > 0 and (self._hits_due() or int(self._rows["expires"].min()) <= self._clock.wall()))
        )

    @property
    def refused_lately(self) -> bool:
        return self._clock.monotonic() - self._refused_at < REFUSED_LATELY

    def _hits_due(self) -> bool:
        return self._clock.monotonic() - self._hits_stored >= HITS_EVERY

    def look(self, policy: Policy, *, hits: bool = False) -> Look:
        """Read the table, and take out what has run out and what no rule stands for. `hits`: what bans have counted is
        to be stored too, as it is now and then."""
        made, table = self._table().stats().banned, self._table()
        rows, names = table.read(), {slot: id for id, slot in policy.slots.of.items()}
        live = (rows["expires"] > self._clock.wall()) & np.isin(rows["slot"], list(names))
        table.lift(rows[~live])
        before, rows = self._rows, rows[live]
        listed = not same(before, rows) or (len(rows) > 0 and policy is not self._policy)
        self._rows, self._made, self._policy = rows, made, policy
        if listed:
            self.sets = as_set(rows, policy)
        hits = hits or self._hits_due()
        stored = self._to_store(names, hits=hits)
        new = rows[~np.isin(keys_of(rows), keys_of(before))]
        return Look(tuple(as_ban(row, names) for row in new), stored, listed)

    def _to_store(self, names: Mapping[int, str], *, hits: bool) -> dict[Prefix, Ban | None]:
        rows, stored = self._rows, self._stored
        gone = stored[~np.isin(keys_of(stored), keys_of(rows))]
        changed = ~np.isin(keys_of(rows), keys_of(stored))
        _, at, there = np.intersect1d(keys_of(rows), keys_of(stored), assume_unique=True, return_indices=True)
        changed[at] |= (np.abs(rows["expires"][at] - stored["expires"][there]) > SHIFTED) | (
            rows["slot"][at] != stored["slot"][there]
        )
        if hits:
            changed[at] |= rows["packets"][at] != stored["packets"][there]
        found: dict[Prefix, Ban | None] = {prefix_of(row): None for row in gone}
        return found | {prefix_of(row): as_ban(row, names) for row in rows[changed]}

    def stored(self, look: Look) -> None:
        """The store has it: what it has is what was found."""
        if any(ban is not None for ban in look.stored.values()):
            self._hits_stored = self._clock.monotonic()
        self._stored = self._rows

    def lift(self, prefixes: Sequence[Prefix]) -> None:
        """Take bans of exactly these prefixes out of the table."""
        wanted = keys_of(rows_of([Ban(prefix, "", 0, 0) for prefix in prefixes], {"": 0}))
        self._table().lift(self._rows[np.isin(keys_of(self._rows), wanted)])

    def hits(self, prefixes: Sequence[Prefix]) -> list[tuple[int, int]]:
        """Packets and bytes that bans have dropped, as of now; 0 of those that are gone."""
        counted = {prefix_of(row): (int(row["packets"]), int(row["bytes"])) for row in self._those(prefixes)}
        return [counted.get(prefix, (0, 0)) for prefix in prefixes]

    def _those(self, prefixes: Sequence[Prefix]) -> Bans:
        rows = self._table().read()
        if len(prefixes) * 2 > len(rows):
            return rows
        wanted = keys_of(rows_of([Ban(prefix, "", 0, 0) for prefix in prefixes], {"": 0}))
        found: Bans = rows[np.isin(keys_of(rows), wanted)]
        return found

    def totals(self) -> tuple[int, int]:
        """The same, of all that are in force."""
        rows = self._table().read()
        return int(rows["packets"].sum()), int(rows["bytes"].sum())


def prefix_of(row: Bans) -> Prefix:
    address, length = row["address"].tobytes(), int(row["length"])
    if length >= _IPV4_BEGINS and address.startswith(_MAPPED):
        return Prefix(4, address[12:], length - _IPV4_BEGINS)
    return Prefix(6, address, length)


def as_ban(row: Bans, names: Mapping[int, str]) -> Ban:
    numbers = (int(row[name]) for name in ("expires", "added", "packets", "bytes"))
    return Ban(prefix_of(row), names[int(row["slot"])], *numbers)


def rows_of(bans: Sequence[Ban], slots: Mapping[str, int]) -> Bans:
    """In the order of prefixes, of bans whose rules have slots; those of others have the slot of no rule."""
    rows = np.zeros(len(bans), BAN)
    for row, ban in zip(rows, bans, strict=True):
        packed = _MAPPED + ban.prefix.address if ban.prefix.family == 4 else ban.prefix.address
        row["address"] = np.frombuffer(packed, np.uint8)
        row["length"] = ban.prefix.length + (_IPV4_BEGINS if ban.prefix.family == 4 else 0)
        row["slot"] = slots.get(ban.rule, np.iinfo(np.uint32).max)
        row["expires"], row["added"], row["packets"], row["bytes"] = ban.expires, ban.added, ban.packets, ban.bytes
    return rows[np.argsort(keys_of(rows))]


def keys_of(rows: Bans) -> npt.NDArray[np.void]:
    """Prefixes as single items that compare whole."""
    octets = np.empty((len(rows), 17), np.uint8)
    octets[:, :16], octets[:, 16] = rows["address"], rows["length"]
    # A number behind, so that no key ends in zeros, which numpy takes from strings.
    return np.concatenate((octets, np.ones((len(rows), 1), np.uint8)), axis=1).reshape(-1).view("S18")


def same(one: Bans, other: Bans) -> bool:
    """Whether they list the same, hits apart."""
    return len(one) == len(other) and all(
        np.array_equal(one[name], other[name]) for name in ("address", "length", "slot", "expires")
    )


def as_set(rows: Bans, policy: Policy) -> Sets:
    """Bans as entries of a set, which shows, counts and finds them like any others."""
    comments = {slot: rule.comment for rule in policy.rules if (slot := policy.slots.of.get(rule.id)) is not None}
    origins = {slot + 1: f"{ORIGIN}{id}" for id, slot in policy.slots.of.items()}
    tables = {(1, family): _claims(family, rows) for family in FAMILIES}
    texts = {slot + 1: comment for slot, comment in comments.items()}
    return Sets.restored([SetInfo(1, BANNED, COMMENT)], tables, origins, texts)


def _claims(family: Family, rows: Bans) -> Bans:
    ipv4 = (rows["address"][:, :12] == np.frombuffer(_MAPPED, np.uint8)).all(1) & (rows["length"] >= _IPV4_BEGINS)
    chosen = rows[ipv4 if family == 4 else ~ipv4]
    claims = np.zeros(len(chosen), CLAIM[family])
    first, less = (12, _IPV4_BEGINS) if family == 4 else (0, 0)
    width = claims["key"].dtype.itemsize
    keys = np.empty((len(chosen), width), np.uint8)
    keys[:, : width - 3] = chosen["address"][:, first:]
    keys[:, width - 3] = chosen["length"] - less
    number = chosen["slot"] + 1
    keys[:, width - 2], keys[:, width - 1] = number >> 8, number & 0xFF
    claims["key"] = keys.reshape(-1).view(f"S{width}")
    claims["expires"], claims["added"], claims["comment"] = chosen["expires"], chosen["added"], number
    return claims
