# SPDX-License-Identifier: Apache-2.0
"""The tables of bans (bpf/ban.h). The packet path makes bans and ends them; here they are read, lifted, put back."""

from __future__ import annotations

import errno

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.limit_maps import MAPPED
from xdpfw.kernel.maps import View
from xdpfw.kernel.port import BAN, Bans, LimitStats
from xdpfw.kernel.tables import Tables
from xdpfw.model.errors import MapFull
from xdpfw.model.policy import MAX_SLOTS
from xdpfw.policy.match import RuleTables
from xdpfw.policy.ops import Ids

NO_PLACE = 0xFFFFFFFF
NO_EXIST = 1
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Length = tuple[int, int]
"""0 for IPv4 and 1 for IPv6, and the length of a prefix in 128 bits."""


class BanMaps:
    def __init__(self, tables: Tables, clock: KernelClock) -> None:
        self._maps, self._clock = tables.maps, clock
        # What the rules of a generation that an earlier daemon wrote ask for is only known by what it left.
        self._asked: dict[int, set[Length]] = dict.fromkeys((0, 1), self._lengths_in_force())

    @property
    def _control(self) -> np.void:
        record: np.void = self._maps["ban_control"].view[0]
        return record

    # rules

    def write(self, generation: int, rules: RuleTables) -> None:
        """Raises MapFull: bans of too many prefix lengths are in force."""
        limits = [rule.limit for rule in rules.limits.values() if rule.bans and rule.limit]
        asked = {(0, limit.prefix4 + MAPPED) for limit in limits} | {(1, limit.prefix6) for limit in limits}
        self._write_lengths(asked | self._asked[1 - generation])
        self._asked[generation] = asked
        places = ban_places(rules)
        self._maps["ban_place"].view["row"][generation * MAX_SLOTS : (generation + 1) * MAX_SLOTS] = places
        self._control["first"][generation] = places.min()

    def _lengths_in_force(self) -> set[Length]:
        packed = self._control["lengths"]
        return {(side, octet - 1) for side in (0, 1) for octet in int(packed[side]).to_bytes(8) if octet}

    def _write_lengths(self, asked: set[Length]) -> None:
        """What the rules of both generations ask for, and what is banned already. A packet reads those of its family at
        once."""
        lengths = asked | _lengths(self._read()[0])
        for side in (0, 1):
            wanted = sorted(length + 1 for family, length in lengths if family == side)
            if len(wanted) > layouts.BAN_LENGTHS:
                raise MapFull(
                    f"bans of more than {layouts.BAN_LENGTHS} prefix lengths would be in force at once: lift some"
                    " (`xdpfw list banned`, `xdpfw unban PREFIX`) or wait until they have run out"
                )
            self._control["lengths"][side] = int.from_bytes(bytes(wanted))

    # bans

    def read(self) -> Bans:
        """All in the table, also those that have run out, in the order of their prefixes; dtype port.BAN."""
        keys, values = self._read()
        found = np.zeros(len(keys), BAN)
        found["address"], found["length"] = keys["address"], keys["length"]
        for name in ("slot", "packets", "bytes"):
            found[name] = values[name]
        found["expires"] = self._clock.wall_deadlines(values["deadline"])
        found["added"] = self._clock.wall_times(values["since"])
        return found[np.argsort(_whole(keys))]

    def restore(self, bans: Bans) -> int:
        """Those that are not there already; answers how many found no room."""
        table = self._maps["bans"]
        values = np.zeros(len(bans), layouts.BAN)
        for name in ("slot", "packets", "bytes"):
            values[name] = bans[name]
        values["deadline"] = self._clock.deadlines(bans["expires"])
        values["since"] = self._clock.stamps(bans["added"])
        keys, refused = _keys(bans), 0
        for at in range(len(keys)):
            try:
                libbpf.map_update(table.fd, keys[at : at + 1], values[at : at + 1], NO_EXIST)
            except libbpf.Refused as error:
                if error.errno not in (errno.EEXIST, errno.E2BIG):
                    raise
                refused += error.errno == errno.E2BIG
        self._open_gate(keys)
        self._write_lengths(self._asked[0] | self._asked[1])
        return refused

    def lift(self, bans: Bans) -> None:
        """Those that are there."""
        self._delete(_keys(bans))

    def clear(self, slots: Ids) -> None:
        """The rules that had these slots are gone, and with them the bans that they made."""
        keys, values = self._read()
        self._delete(keys[np.isin(values["slot"], slots)])

    def stats(self) -> LimitStats:
        stats = self._maps["limit_stats"].view
        return LimitStats(*(int(stats[name].sum()) for name in ("banned", "refused", "placeless")))

    def adopt(self, keys: View, values: View) -> None:
        """Put in what was read from other tables of this boot."""
        libbpf.map_update_batch(self._maps["bans"].fd, keys, values)
        self._open_gate(keys)
        self._write_lengths(self._asked[0] | self._asked[1])

    def _read(self) -> tuple[View, View]:
        table = self._maps["bans"]
        return libbpf.map_read(table.fd, table.spec.entries, layouts.BAN_KEY, layouts.BAN)

    def _delete(self, keys: View) -> None:
        for at in range(len(keys)):
            try:
                libbpf.map_delete(self._maps["bans"].fd, keys[at : at + 1])
            except libbpf.Refused as error:
                if error.errno != errno.ENOENT:  # the packet path takes out what has run out, too
                    raise
        if len(keys):
            self._lower_gate()

    # gate

    def _open_gate(self, keys: View) -> None:
        self._gate[self._places(keys)] = 1

    def _lower_gate(self) -> None:
        """What is not needed any more. Bans made meanwhile are looked for again."""
        needless = np.ones(len(self._gate), np.bool_)
        needless[self._places(self._read()[0])] = False
        self._gate[needless] = 0
        self._open_gate(self._read()[0])

    @property
    def _gate(self) -> npt.NDArray[np.uint8]:
        gate: npt.NDArray[np.uint8] = self._maps["ban_gate"].view.view(np.uint8)
        return gate

    def _places(self, keys: View) -> npt.NDArray[np.uint64]:
        hashes = hash_addresses(keys["address"], np.uint64(self._control["seed"]) ^ keys["length"].astype(np.uint64))
        line = hashes >> np.uint64(40) & np.uint64(layouts.GATE_LINES - 1)
        return line * np.uint64(layouts.GATE_LINE_BYTES) + (
            hashes >> np.uint64(32) & np.uint64(layouts.GATE_LINE_BYTES - 1)
        )


def ban_places(rules: RuleTables) -> Ids:
    """For each slot, the row before which its bans stand."""
    places = np.full(MAX_SLOTS, NO_PLACE, np.uint32)
    places[list(rules.places)] = list(rules.places.values())
    return places


def hash_addresses(addresses: npt.NDArray[np.uint8], seeds: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """hash_address() of bpf/hash.h. `addresses`: (n, 16)."""
    halves = np.ascontiguousarray(addresses).view(np.uint64).reshape(-1, 2)
    hashes = (halves[:, 0] ^ seeds) * MULTIPLIER
    hashes ^= hashes >> np.uint64(32)
    hashes = (hashes ^ halves[:, 1]) * MULTIPLIER
    hashes ^= hashes >> np.uint64(29)
    hashed: npt.NDArray[np.uint64] = (hashes ^ seeds) * MULTIPLIER
    return hashed


def _keys(bans: Bans) -> View:
    keys = np.zeros(len(bans), layouts.BAN_KEY)
    keys["address"], keys["length"] = bans["address"], bans["length"]
    return keys


def _lengths(keys: View) -> set[Length]:
    mapped = (keys["address"][:, :10] == 0).all(1) & (keys["address"][:, 10:12] == 0xFF).all(1)
    sides = np.where(mapped & (keys["length"] >= MAPPED), 0, 1)
    return set(zip(sides.tolist(), keys["length"].tolist(), strict=True))


def _whole(keys: View) -> npt.NDArray[np.bytes_]:
    """In the order of addresses, then of lengths."""
    ordered = np.empty((len(keys), 17), np.uint8)
    ordered[:, :16], ordered[:, 16] = keys["address"], keys["length"]
    return ordered.reshape(-1).view("S17")
