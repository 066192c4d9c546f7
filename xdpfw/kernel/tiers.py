# SPDX-License-Identifier: Apache-2.0
"""The tiers before the tries (bpf/tiers.h), kept in step with them.

A prefix is expanded to its level, the next of a few fixed lengths; each place there holds the longest of the prefixes
that belong to that level and cover it. What is found in a tier must never be less specific than what hosts and tries
say, so each change here follows one there: packets see the old state or the new meanwhile, which lead to the same class
until the change is complete, as the compiler has seen to that (policy/ops.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import libbpf
from xdpfw.kernel.buckets import Buckets, Hash
from xdpfw.kernel.gates import Addresses, Filter6, Gate4, Gate6
from xdpfw.kernel.keys import as_bytes, trie_keys
from xdpfw.kernel.levels import (
    ROOT,
    Choose,
    Flats,
    Held,
    Inside4,
    Inside6,
    InTrie6,
    Level,
    Narrowing4,
    Roots,
    held4,
    held6,
)
from xdpfw.kernel.lines import Index, Line4, Line6
from xdpfw.kernel.maps import Map, View
from xdpfw.kernel.pages import Pages
from xdpfw.model.prefix import HOST_LENGTH, Family
from xdpfw.policy import keys as k
from xdpfw.policy.ops import Ids, Keys

FEW = 64
"""So many prefixes are looked up in the trie one by one, more by going through the directory."""


MANY = 4096
"""After so many deletes, tables may be too large for what is left."""


@dataclass(frozen=True, slots=True)
class Step:
    """A level: prefixes longer than `above` and up to `length` are held as prefixes of `length`."""

    above: int
    length: int
    level: Level


class Grown(Protocol):
    pages: Pages

    def leads(self) -> dict[int, int]:
        """Slots of its map of pages, and the page that each should lead to."""

    def shrink(self) -> None:
        """Give back what is not needed any more."""

    def release(self) -> None:
        """Nothing needs to stay mapped."""


Holder = Callable[[], Iterator[Held]]
Gates = Gate4 | Gate6


class Covers(Protocol):
    def __call__(self, family: Family, keys: Keys) -> Ids:
        """The leaf of the longest prefix there is, hosts apart, that contains each of these sorted keys, which are not
        there any more; 0 where there is none."""


class Tiers:
    """The tiers of one family. `lengths`: the prefix length of every leaf, for both families. `narrow` lets the gates
    know of what is not held any more. `holders` tell all that is held."""

    def __init__(
        self,
        family: Family,
        steps: list[Step],
        grown: list[Grown],
        trie: Map,
        lengths: npt.NDArray[np.uint8],
        covers: Covers,
        gates: Gates,
        holders: list[Holder],
        narrow: Callable[[], None] = lambda: None,
    ) -> None:
        self._family, self.steps, self.grown, self._trie, self._narrow = family, steps, grown, trie, narrow
        self.gates, self.holders = gates, holders
        self._lengths, self._covers = lengths, covers
        self._step_of = np.repeat(np.arange(len(steps)), [step.length - step.above for step in steps])
        self._counts = np.zeros(HOST_LENGTH[family] + 1, np.int64)

    def adopt(self, leaves: Ids, lengths: npt.NDArray[np.uint8]) -> None:
        """Prefixes of these lengths are held already."""
        self._lengths[leaves] = lengths
        self._counts += np.bincount(lengths, minlength=len(self._counts))

    def insert(self, keys: Keys, leaves: Ids, *, again: bool = False) -> None:
        """`again`: they, or parts of them, may be held already.

        Raises:
            MapFull: memory is short; `delete` takes out what is in.
        """
        lengths = k.lengths(keys)
        self._lengths[leaves] = lengths
        self._counts += np.bincount(lengths, minlength=len(self._counts))
        with self.working():
            for step, chosen in self._by_step(lengths):
                step.level.prepare(numbers(self._family, keys[chosen]), lengths[chosen])
                for length, these in _by_length(lengths, chosen):
                    at = numbers(self._family, keys[these])
                    step.level.update(at, length, self._longest(length, leaves[these]), again=again)

    def delete(self, keys: Keys, leaves: Ids, instead: Ids | None = None, *, more: bool = False) -> None:
        """Prefixes that hosts and trie hold no more, in order. `instead`: the leaves of what contains them now, if that
        is known. With `more` to follow, gates stay as wide as they are until then."""
        lengths = k.lengths(keys)
        self._counts -= np.bincount(lengths, minlength=len(self._counts))
        with self.working():
            for step, chosen in self._by_step(lengths):
                for length, these in _by_length(lengths, chosen):
                    found = None if instead is None else instead[these]
                    found = self._instead(step, length, keys[these], found)
                    step.level.update(numbers(self._family, keys[these]), length, _replaced(leaves[these], found))
            if not more:
                self._narrow()
            if len(keys) > MANY:
                for table in self.grown:
                    table.shrink()

    @contextmanager
    def working(self) -> Iterator[None]:
        try:
            yield
        finally:
            for table in self.grown:
                table.release()

    def _by_step(self, lengths: npt.NDArray[np.uint8]) -> Iterator[tuple[Step, Index]]:
        step_of = self._step_of[lengths]
        for number in np.flatnonzero(np.bincount(step_of)).tolist():
            yield self.steps[number], np.flatnonzero(step_of == number)

    def _longest(self, length: int, leaves: Ids) -> Choose:
        """These leaves of prefixes of one length, where nothing longer is held."""
        return lambda held, of: np.where((held == 0) | (self._lengths[held] < length), leaves[of], held)

    def _instead(self, step: Step, length: int, keys: Keys, found: Ids | None) -> Ids:
        """What covers deleted prefixes within their level, 0 where nothing does. `found`: what covers them at all."""
        if not self._counts[step.above + 1 : length].any():
            return np.zeros(len(keys), np.uint32)
        if found is not None:
            pass
        elif len(keys) > FEW:
            found = self._covers(self._family, keys)
        else:
            found = np.zeros(len(keys), np.uint32)
            asked = trie_keys(self._family, keys)
            asked["length"] = length - 1
            for at in range(len(keys)):
                libbpf.map_lookup(self._trie.fd, asked[at : at + 1], found[at : at + 1])
        return np.where(self._lengths[found] > step.above, found, np.uint32(0))


def tiers_of(maps: Mapping[str, Map], home: Path, leaves: int, covers: Covers) -> dict[Family, Tiers]:
    """The tiers in these maps, whose pages are pinned below `home`."""
    seeds = maps["seeds"].view[0]
    lengths = np.zeros(leaves, np.uint8)
    pages = {name: Pages(maps[name], home / f"{name}-pages") for name in ("flats4", "buckets4", "buckets6")}
    buckets4, buckets6 = (
        Buckets(pages["buckets4"], Line4(), seeds), Buckets(pages["buckets6"], Line6(), seeds)
    )  # fmt: skip
    roots4, roots6 = Roots(4, maps["root4"]), Roots(6, maps["root6"])
    gate4, gate6 = (
        Gate4(maps["gate4"], maps["top4"]),
        Gate6(maps["gate6"], roots6.count_longer, np.uint64(seeds["odd"]), Filter6(maps["filter6"], Hash(seeds))),
    )
    flats = Flats(pages["flats4"], gate4)
    narrowing = Narrowing4(buckets4, gate4, flats)
    steps4 = [
        Step(-1, ROOT, roots4),
        Step(ROOT, 24, flats),
        *(Step(level - 4, level, Inside4(buckets4, level, gate4, narrowing)) for level in (28, 32)),
    ]
    steps6 = [
        Step(-1, ROOT, roots6),
        Step(ROOT, 28, Inside6(buckets6, 28, gate6)),
        *(Step(level - 4, level, Inside6(buckets6, level, gate6)) for level in range(32, 65, 4)),
        Step(64, 124, InTrie6(gate6)),
        Step(124, 128, Inside6(buckets6, 128, gate6)),
    ]
    return {
        4: Tiers(
            4,
            steps4,
            [flats, buckets4],
            maps["trie4"],
            lengths,
            covers,
            gate4,
            [roots4.held, flats.held, partial(held4, buckets4)],
            narrowing,
        ),
        6: Tiers(
            6,
            steps6,
            [buckets6],
            maps["trie6"],
            lengths,
            covers,
            gate6,
            [roots6.held, partial(held6, buckets6)],
            partial(_narrow6, gate6, buckets6),
        ),
    }


def _narrow6(gate: Gate6, buckets: Buckets) -> None:
    """What is not complete is asked for also where it is not held."""
    if buckets.complete:
        gate.filter.narrow(buckets.held(), buckets.count)


def sow(seeds: View) -> None:
    """Secret seeds for new tables."""
    seeds[0]["keys"] = [secrets.randbits(64) for _ in range(4)]
    seeds[0]["odd"] = secrets.randbits(64) | 1


def numbers(family: Family, keys: Keys) -> Addresses:
    rows = as_bytes(family, keys)[:, :-1]
    if family == 4:
        return np.ascontiguousarray(rows).view(">u4").reshape(-1).astype(np.uint64), np.zeros(len(keys), np.uint64)
    halves = np.ascontiguousarray(rows).view(">u8").astype(np.uint64)
    return halves[:, 0], halves[:, 1]


def _by_length(lengths: npt.NDArray[np.uint8], chosen: Index) -> Iterator[tuple[int, Index]]:
    """The shortest first."""
    for length in np.flatnonzero(np.bincount(lengths[chosen])).tolist():
        yield length, chosen[lengths[chosen] == length]


def _replaced(leaves: Ids, instead: Ids) -> Choose:
    return lambda held, of: np.where(held == leaves[of], instead[of], held)
