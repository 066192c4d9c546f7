# SPDX-License-Identifier: Apache-2.0
"""Copying a talker table out from under the packets that write into it (bpf/talkers.h)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.layouts import BUCKET, COUNT_BITS
from xdpfw.kernel.maps import View
from xdpfw.kernel.port import TALLY_COLUMNS, TalkerTable, Wall

_SLOTS = BUCKET["way"].shape[0]
_CHUNK = 4096 * _SLOTS
"""Slots that are copied at a time, of whole buckets: a megabyte, so that the columns are taken from the cache."""
_TORN_RETRIES = 3
_COUNTED = {name: np.uint64((1 << bits) - 1) for name, bits in COUNT_BITS.items()}


def copy_talkers(buckets: View, cpus: int, epoch: int, wall: Wall, seed: int = 0) -> TalkerTable:
    """`buckets`: (n,) BUCKET, into which addresses come by `seed`. A slot that changed hands while it was copied is
    read again, and at last left out. Its whole bucket is read again, because what a talker counted may have moved to
    another slot there."""
    live = buckets["way"].reshape(-1)
    table = TalkerTable.blank((cpus, len(buckets) // cpus, _SLOTS), wall, spilled=1, seed=seed)
    torn = [_copy(table, live, slice(begin, begin + _CHUNK), epoch) for begin in range(0, len(live), _CHUNK)]
    for _ in range(_TORN_RETRIES):
        again = np.unique(np.concatenate([np.empty(0, np.intp), *torn]) // _SLOTS) * _SLOTS
        torn = [_copy(table, live, slice(first, first + _SLOTS), epoch) for first in again.tolist()]
    return table


def _copy(table: TalkerTable, live: View, at: slice, epoch: int) -> npt.NDArray[np.intp]:
    """Copy some slots. Answers those that somebody was writing an address into meanwhile; they are empty in the copy.

    The tenure is the slot's sequence number, plus one, so that it is never 0.
    """
    slots = live[at]
    words = slots.view("u8").reshape(len(slots), -1)
    sequence = slots["sequence"].copy()
    occupied = slots["epoch"] == epoch
    for half, word in zip(table.address, words.T, strict=False):
        half[at] = word
    table.since[at] = slots["since"]
    table.last_seen[at] = slots["last_seen"]
    for column, name in zip(table.counts, TALLY_COLUMNS, strict=False):
        np.bitwise_and(slots[name], _COUNTED[name], out=column[at])
    torn = (slots["sequence"] != sequence) | (sequence & 1 == 1)
    whole = occupied & ~torn
    np.add(sequence, 1, out=table.tenure[at], dtype=np.uint32)
    if not whole.all():
        table.tenure[at] *= whole
        for column in table.counts:
            column[at] *= whole
    found: npt.NDArray[np.intp] = np.flatnonzero(torn) + at.start
    return found
