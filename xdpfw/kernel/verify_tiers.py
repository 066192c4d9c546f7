# SPDX-License-Identifier: Apache-2.0
"""Whether the tiers hold what follows from the prefixes (bpf/tiers.h), and making them do so.

At each place the longest prefix of its level is held that covers it. Seen from the prefixes: what is held at their
places is no shorter than they are. Seen from the places: what is held there is one of the prefixes, of that level, and
covers it. Both together leave no other leaf, and neither needs anything sorted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xdpfw.kernel.finding import Finding
from xdpfw.kernel.gates import (
    ALL_TOPS,
    DEEP,
    FLAT,
    HOSTS,
    NOTHING,
    Addresses,
    Filter6,
    Gate4,
    Gate6,
    States,
    in_buckets,
)
from xdpfw.kernel.levels import Held, InTrie6, Roots, expanded, select
from xdpfw.kernel.lines import Flags, Index
from xdpfw.kernel.tiers import Step, Tiers, numbers
from xdpfw.model.prefix import HOST_LENGTH, Family, Prefix
from xdpfw.policy import keys as k
from xdpfw.policy.ops import Ids, Keys

SATURATED = 31
"""Where a count of a gate stays, whatever comes or goes."""

LONGEST_IN_TRIE = 124

STATES = {24: FLAT, 28: DEEP, 32: HOSTS}


@dataclass(frozen=True, slots=True)
class Universe:
    """All prefixes of a family, in order, and the leaf of each. By leaf: `length` of its prefix (-1: it has none here),
    and its address as `numbers` has it."""

    family: Family
    keys: Keys
    leaves: Ids
    length: npt.NDArray[np.int16]
    at: Addresses

    @classmethod
    def of(cls, family: Family, keys: Keys, leaves: Ids) -> Universe:
        ids = int(leaves.max(initial=0)) + 1
        length = np.full(ids, -1, np.int16)
        length[leaves] = k.lengths(keys)
        high, low = np.zeros(ids, np.uint64), np.zeros(ids, np.uint64)
        high[leaves], low[leaves] = numbers(family, keys)
        return cls(family, keys, leaves, length, (high, low))

    def name(self, leaf: int) -> str:
        if not leaf:
            return "nothing"
        if leaf >= len(self.length) or self.length[leaf] < 0:
            return f"leaf {leaf}, which is no prefix's"
        return f"the leaf of {prefix(self.family, (self.at[0][leaf], self.at[1][leaf]), int(self.length[leaf]))}"

    def covers(self, leaves: Ids, at: Addresses) -> Flags:
        """Which leaves are those of prefixes that contain these addresses."""
        known = np.minimum(leaves, len(self.length) - 1)
        lengths = self.length[known].astype(np.int64)
        in_high = np.minimum(lengths, 64) if self.family == 6 else lengths + 32
        same = _begin_alike(at[0], self.at[0][known], in_high)
        if self.family == 6:
            same &= _begin_alike(at[1], self.at[1][known], np.maximum(lengths - 64, 0))
        same &= (lengths >= 0) & (leaves == known)
        return same

    def longest(self, step: Step, at: Addresses) -> Ids:
        """The leaf of the longest prefix of a level around each place, 0 where there is none."""
        found = np.zeros(len(at[0]), np.uint32)
        rows = octets(self.family, at)
        for length in range(step.above + 1, step.length + 1):
            wanted = k.masked(rows, np.full(len(rows), length, np.uint8))
            sorting = k.order(wanted)
            there = k.member(wanted[sorting], self.keys)
            position = np.minimum(k.search(self.keys, wanted[sorting]), len(self.keys) - 1)
            found[sorting[there]] = self.leaves[position[there]]
        return found


def _begin_alike(words: npt.NDArray[np.uint64], others: npt.NDArray[np.uint64], bits: Index) -> Flags:
    """Whether the first bits of 64 are the same."""
    differ = (words ^ others) >> np.minimum(64 - bits, 63).astype(np.uint64)
    same: Flags = (differ == 0) | (bits <= 0)
    return same


def octets(family: Family, at: Addresses) -> npt.NDArray[np.uint8]:
    """(n, 4) or (n, 16)"""
    if family == 4:
        return np.ascontiguousarray(at[0].astype(">u4")).view(np.uint8).reshape(-1, 4)
    return np.ascontiguousarray(np.stack(at, 1).astype(">u8")).view(np.uint8).reshape(-1, 16)


def prefix(family: Family, at: tuple[np.uint64, np.uint64], length: int) -> Prefix:
    address = octets(family, (np.array([at[0]]), np.array([at[1]])))[0].tobytes()
    return Prefix(family, address, length)


def _prefix_of(family: Family, high: int, length: int) -> Prefix:
    return prefix(family, (np.uint64(high), np.uint64(0)), length)


def findings(tiers: Tiers, universe: Universe) -> Iterator[Finding]:
    """Places first: gates follow from what is held."""
    with tiers.working():
        lengths = k.lengths(universe.keys)
        held = list(_held(tiers))
        for step in tiers.steps:
            if isinstance(step.level, InTrie6):
                continue
            wrong = _short_places(step, universe, lengths), _strange_places(step, universe, held)
            high, low = (np.concatenate([part[half] for part in wrong]) for half in (0, 1))
            if len(high):
                yield _finding(step, universe, _distinct((high, low)))
                held = list(_held(tiers))
        if isinstance(tiers.gates, Gate4):
            yield from _gate4(tiers.gates, held)
        else:
            roots = tiers.steps[0].level
            assert isinstance(roots, Roots)
            yield from _gate6(tiers.gates, roots, [*held, _in_trie(universe, lengths)])


def _held(tiers: Tiers) -> Iterator[Held]:
    for holder in tiers.holders:
        yield from holder()


def _short_places(step: Step, universe: Universe, lengths: npt.NDArray[np.uint8]) -> Addresses:
    """Places of prefixes that hold something shorter."""
    highs, lows = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    chosen = np.flatnonzero((lengths.astype(np.int16) > step.above) & (lengths <= step.length))
    for length in np.flatnonzero(np.bincount(lengths[chosen])).tolist():
        these = chosen[lengths[chosen] == length]
        at = numbers(universe.family, universe.keys[these])
        for places, _ in expanded(universe.family, at, length, step.length):
            leaves, excused = step.level.get(places)
            shorter = universe.length[np.minimum(leaves, len(universe.length) - 1)] < length
            high, low = select(places, shorter & ~(excused & (leaves == 0)))
            highs.append(high)
            lows.append(low)
    return np.concatenate(highs), np.concatenate(lows)


def _strange_places(step: Step, universe: Universe, held: list[Held]) -> Addresses:
    """Places that hold what does not belong there, where packets would find it."""
    highs, lows = [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for at, levels, leaves in held:
        here = levels == step.length
        places, there = select(at, here), leaves[here]
        length = universe.length[np.minimum(there, len(universe.length) - 1)]
        wrong = ~universe.covers(there, places) | (length <= step.above) | (length > step.length)
        places = select(places, wrong)
        high, low = select(places, step.level.get(places)[0] == there[wrong])
        highs.append(high)
        lows.append(low)
    return np.concatenate(highs), np.concatenate(lows)


def _distinct(at: Addresses) -> Addresses:
    both = np.unique(np.stack(at, 1), axis=0)
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])


def _finding(step: Step, universe: Universe, at: Addresses) -> Finding:
    right = universe.longest(step, at)

    def tell(place: int) -> str:
        leaf = int(step.level.get((at[0][place : place + 1], at[1][place : place + 1]))[0][0])
        where = prefix(universe.family, (at[0][place], at[1][place]), step.length)
        return f"{where} holds {universe.name(leaf)}, and should hold {universe.name(int(right[place]))}"

    return Finding(
        step.level.table, len(right), tell, lambda: step.level.update(at, step.length, lambda _, of: right[of])
    )


# gates: wider than need be is slow, narrower is wrong


def _in_trie(universe: Universe, lengths: npt.NDArray[np.uint8]) -> Held:
    """What only the trie holds."""
    rows = np.flatnonzero((lengths > 64) & (lengths <= LONGEST_IN_TRIE))
    at = numbers(universe.family, universe.keys[rows])
    return at, np.full(len(rows), LONGEST_IN_TRIE), universe.leaves[rows]


def _gate4(gate: Gate4, held: list[Held]) -> Iterator[Finding]:
    needed = np.zeros(HOST_LENGTH[4] + 1, np.uint8)
    needed[list(STATES)] = list(STATES.values())
    states = np.concatenate([needed[levels] for _, levels, _ in held])
    cells = np.concatenate([at[0] for at, _, _ in held]).astype(np.int64) >> 8
    low = gate.states(cells) < states
    if low.any():
        yield _narrow_gate(gate, cells[low], states[low])
    used = np.bincount(cells[states > NOTHING] >> 8, minlength=ALL_TOPS) > 0
    tops = np.flatnonzero(used & ~gate.tops())
    if len(tops):
        yield Finding(
            "top4",
            len(tops),
            lambda at: f"{_prefix_of(4, int(tops[at]) << 16, 16)} leads past what is in it",
            lambda: gate.open(tops),
        )


def _narrow_gate(gate: Gate4, cells: Index, states: States) -> Finding:
    """Cells may come more than once."""

    def mend() -> None:
        for state in sorted(STATES.values()):
            gate.widen(cells[states == state], state)

    shown = np.unique(cells)
    return Finding(
        "gate4", len(shown), lambda at: f"{_prefix_of(4, int(shown[at]) << 8, 24)} leads past what is in it", mend
    )


def _gate6(gate: Gate6, roots: Roots, held: list[Held]) -> Iterator[Finding]:
    longer = np.zeros(len(roots.longer), np.int64)
    for level in [*range(28, 65, 4), LONGEST_IN_TRIE, 128]:
        chosen = [select(at, levels == level) for at, levels, _ in held]
        if not any(len(places[0]) for places in chosen):
            continue
        wanted = np.zeros(gate.size, np.int64)
        for places in chosen:
            wanted += np.bincount(gate.cells(level, places).astype(np.int64), minlength=gate.size)
            longer += np.bincount((places[0] >> np.uint64(48)).astype(np.int64), minlength=len(longer))
            if in_buckets(level) and not (known := gate.filter.knows(level, places)).all():
                yield _short_filter(gate.filter, level, select(places, ~known))
        cells = np.flatnonzero(gate.counts(level) < np.minimum(wanted, SATURATED))
        if len(cells):
            yield _narrow_cells(gate, level, cells, wanted[cells])
    low = np.flatnonzero(roots.longer < longer)
    if len(low):

        def mend() -> None:
            roots.longer[low] = longer[low]

        def tell(at: int) -> str:
            return f"{_prefix_of(6, int(low[at]) << 48, 16)} leads past what is in it"

        yield Finding("root6", len(low), tell, mend)


def _short_filter(filtered: Filter6, level: int, at: Addresses) -> Finding:
    return Finding(
        "filter6",
        len(at[0]),
        lambda place: f"{prefix(6, (at[0][place], at[1][place]), level)} is gone past",
        lambda: filtered.add(level, at),
    )


def _narrow_cells(gate: Gate6, level: int, cells: Index, counts: Index) -> Finding:
    return Finding(
        "gate6",
        len(cells),
        lambda at: f"cell {cells[at]} leads past prefixes of /{level}",
        lambda: gate.set_counts(level, cells, counts),
    )
