# SPDX-License-Identifier: Apache-2.0
"""Copying a talker table out from under the packets that write into it (bpf/talkers.h)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.layouts import BUCKET, COUNT_BITS, SLOT, offset_of
from xdpfw.kernel.maps import View
from xdpfw.kernel.port import TALLY_COLUMNS, TalkerTable, Wall

_SLOTS = BUCKET["way"].shape[0]
_CHUNK = 4096 * _SLOTS
"""Slots that are copied at a time, of whole buckets: a megabyte, so that the columns are taken from the cache."""
_TORN_RETRIES = 3
_TURN = offset_of(SLOT, "epoch") // 4
"""The word of a slot that holds its epoch and, above that, its sequence number."""
_TIMES = offset_of(SLOT, "since") // 8
"""Of words of twice that size, the one that holds `since` and `last_seen`."""
_EPOCH, _WRITTEN = np.uint32(0xFFFF), np.uint32(1 << 16)
"""Its epoch; whether an address is being written."""
_COUNTED = {name: np.uint64((1 << bits) - 1) for name, bits in COUNT_BITS.items()}


def copy_talkers(buckets: View, cpus: int, epoch: int, wall: Wall, seed: int = 0, origin: int = 0) -> TalkerTable:
    """`buckets`: (n,) BUCKET, into which addresses come by `seed`, number `origin`. A slot that changed hands while it
    was copied is read again, and at last left out. Its whole bucket is read again, because what a talker counted may
    have moved to another slot there."""
    live = buckets["way"].reshape(-1)
    table = TalkerTable.blank((cpus, len(buckets) // cpus, _SLOTS), wall, 1, seed, origin)
    torn = [_copy(table, live, slice(begin, begin + _CHUNK), epoch) for begin in range(0, len(live), _CHUNK)]
    for _ in range(_TORN_RETRIES):
        again = np.unique(np.concatenate([np.empty(0, np.intp), *torn]) // _SLOTS) * _SLOTS
        torn = [_copy(table, live, slice(first, first + _SLOTS), epoch) for first in again.tolist()]
    return table


def _copy(table: TalkerTable, live: View, at: slice, epoch: int) -> npt.NDArray[np.intp]:
    """Copy some slots. Answers those that somebody was writing an address into meanwhile; they are empty in the copy.

    The tenure is the slot's epoch and sequence number, so that it is never 0 where a talker is.
    """
    slots = live[at]
    words = slots.view("u8").reshape(len(slots), -1)
    turns, tenure = slots.view("u4").reshape(len(slots), -1)[:, _TURN], table.tenure[at]
    tenure[...] = turns
    table.address[:, at] = words[:, :2].T
    table.times.view("u8")[at, 0] = words[:, _TIMES]
    for column, name in zip(table.counts, TALLY_COLUMNS, strict=False):
        np.bitwise_and(slots[name], _COUNTED[name], out=column[at])
    torn = turns != tenure
    whole = (tenure & (_WRITTEN | _EPOCH)) == epoch
    others = np.count_nonzero(whole) < np.count_nonzero(tenure)
    if others:
        torn |= (tenure & _WRITTEN) != 0
    found: npt.NDArray[np.intp] = np.flatnonzero(torn)
    whole[found] = False
    # In a slot that nobody ever had, all is 0 as it is.
    if others or len(found):
        tenure *= whole
        for column in table.counts:
            column[at] *= whole
    found += at.start
    return found
