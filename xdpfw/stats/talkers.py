# SPDX-License-Identifier: Apache-2.0
"""From readings of a talker table to talkers: deltas slot by slot, CPUs summed, filtered and ranked. All vectorised."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.model.prefix import Address, Family, Prefix

Rows = npt.NDArray[Any]  # dtype kernel.port.TALKER
Counts = npt.NDArray[np.uint64]

MAPPED = bytes(10) + b"\xff\xff"
"""What precedes an IPv4 address in its IPv6 spelling (RFC 4291, 2.5.5.2)."""


@dataclass(frozen=True, slots=True)
class Talkers:
    """One row per address. `addresses`: S16, IPv4 as ::ffff:a.b.c.d; `counts`, `deltas`: (n, 4) passed packets, bytes,
    dropped packets, bytes since `since` and within the measured interval; `sources`: bit i = interface i."""

    addresses: npt.NDArray[Any]
    counts: Counts
    deltas: Counts
    since: npt.NDArray[np.int64]
    last_seen: npt.NDArray[np.int64]
    sources: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.addresses)

    def select(self, which: npt.NDArray[Any]) -> Talkers:
        return Talkers(*(getattr(self, name)[which] for name in self.__slots__))

    def address(self, index: int) -> Address:
        return unpack(bytes(self.addresses[index]))


def deltas(rows: Rows, before: Rows) -> Counts:
    """What each slot counted since the earlier reading. A slot that was given to another talker since starts at 0.

    Both readings are in slot order.
    """
    counts: Counts = rows["counts"].copy()
    if len(before) == 0 or len(rows) == 0:
        return counts
    at = np.minimum(np.searchsorted(before["slot"], rows["slot"]), len(before) - 1)
    old = before[at]
    same = (old["slot"] == rows["slot"]) & (old["since"] == rows["since"])
    same &= (old["address"] == rows["address"]).all(axis=1)
    counts[same] -= np.minimum(old["counts"][same], counts[same])
    return counts


def gather(readings: list[tuple[Rows, Counts]]) -> Talkers:
    """Sum the slots (with their deltas) of all CPUs of one or more interfaces, at most 64, into one row per address."""
    rows = np.concatenate([rows for rows, _ in readings])
    delta = np.concatenate([delta for _, delta in readings])
    sources = np.repeat(np.uint64(1) << np.arange(len(readings), dtype=np.uint64), [len(rows) for rows, _ in readings])
    packed = np.ascontiguousarray(rows["address"]).view("S16").reshape(-1)
    addresses, inverse = np.unique(packed, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    starts = np.searchsorted(inverse[order], np.arange(len(addresses)))
    if len(addresses) == 0:
        starts = np.empty(0, np.int64)
        return Talkers(addresses, delta, delta.copy(), *(np.empty(0, np.int64),) * 2, np.empty(0, np.uint64))
    return Talkers(
        addresses,
        np.add.reduceat(rows["counts"][order], starts, axis=0),
        np.add.reduceat(delta[order], starts, axis=0),
        np.minimum.reduceat(rows["since"][order], starts),
        np.maximum.reduceat(rows["last_seen"][order], starts),
        np.bitwise_or.reduceat(sources[order], starts),
    )


def within(talkers: Talkers, family: Family | None, prefix: Prefix | None) -> Talkers:
    """Only talkers of this family and inside this prefix."""
    octets = np.frombuffer(talkers.addresses.tobytes(), np.uint8).reshape(-1, 16)
    keep = np.ones(len(talkers), bool)
    if family is not None:
        keep &= is_ipv4(octets) == (family == 4)
    if prefix is not None:
        network = MAPPED + prefix.address if prefix.family == 4 else prefix.address
        length = prefix.length + (96 if prefix.family == 4 else 0)
        mask = ((1 << 128) - (1 << (128 - length))).to_bytes(16)
        wanted = np.frombuffer(network, np.uint8)
        keep &= ((octets & np.frombuffer(mask, np.uint8)) == wanted).all(axis=1)
        if prefix.family == 6:
            keep &= ~is_ipv4(octets)
    return talkers.select(keep)


def rank(talkers: Talkers, sort: str, of: str, descending: bool, limit: int) -> npt.NDArray[np.intp]:
    """Indices of the first `limit` talkers; ties are broken by address, so that a list does not flicker."""
    table = talkers.deltas if sort in ("bps", "pps") else talkers.counts
    column = 1 if sort in ("bytes", "bps") else 0
    columns = {"passed": [column], "dropped": [column + 2], "total": [column, column + 2]}[of]
    value = table[:, columns].sum(axis=1).astype(np.int64)
    if descending:
        value = -value
    candidates = np.arange(len(value))
    if limit < len(value):
        # Keep every talker that ties with the last place, so that the tie break below decides, not the partition.
        candidates = np.flatnonzero(value <= np.partition(value, limit - 1)[limit - 1])
    order = np.lexsort((talkers.addresses[candidates], value[candidates]))
    return candidates[order][:limit]


def is_ipv4(octets: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return np.asarray((octets[:, :12] == np.frombuffer(MAPPED, np.uint8)).all(axis=1))


def pack(address: Address) -> bytes:
    return MAPPED + address.packed if address.version == 4 else address.packed


def unpack(packed: bytes) -> Address:
    packed = packed.ljust(16, b"\0")
    if packed.startswith(MAPPED):
        return ipaddress.IPv4Address(packed[12:])
    return ipaddress.IPv6Address(packed)
