# SPDX-License-Identifier: Apache-2.0
"""Which sets cover an address until when, as small integers: memberships and classes.

A combination is a tuple of (set id, deadline), sorted by set. Each distinct one is a membership, with the class of its
sets, the first deadline, and the membership that remains after it. A class is a distinct combination of sets alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from xdpfw.model.errors import MapFull
from xdpfw.model.limits import MAX_CLASSES
from xdpfw.policy.ops import NEVER, Ids, WriteMemberships
from xdpfw.policy.sets import Sets

Combination = tuple[tuple[int, int], ...]

FEW = 1024
"""Distinct values."""

QUARTER = 250_000_000
"""Deadlines are rounded up to 0.25 s, so that few distinct combinations exist."""


def rounded(expires: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Expiries as deadlines: never earlier, less than a quarter of a second later."""
    up = -(-np.minimum(expires, NEVER - QUARTER) // QUARTER) * QUARTER
    return np.where(expires == NEVER, NEVER, up)


def distinct_codes(codes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sorted distinct values and where each code is among them."""
    if len(codes) and (codes[0] == codes).all():
        return codes[:1], np.zeros(len(codes), np.int64)
    # Few distinct values are found by hashing, and a search among few is faster than a sort of all.
    found = np.unique(codes)
    if len(found) > FEW:
        found, inverse = np.unique(codes, return_inverse=True)
        return found, inverse
    return found, np.searchsorted(found, codes)


def _after_first_deadline(combination: Combination) -> Combination:
    first = min(deadline for _, deadline in combination)
    return () if first == NEVER else tuple(pair for pair in combination if pair[1] != first)


class MembershipsFull(MapFull):
    """No number is left; perhaps some are not in use any more."""


class Numbers:
    """Small integers to hand out: 0 is taken, and so are those of an earlier life, until they are released."""

    def __init__(self, size: int, taken: Iterable[int], full: MapFull) -> None:
        self._taken = set(taken)
        self._free: list[int] = []
        self._next, self._size, self._full = 1, size, full

    def take(self) -> int:
        if self._free:
            return self._free.pop()
        while self._next in self._taken:
            self._next += 1
        if self._next >= self._size:
            raise self._full
        self._next += 1
        return self._next - 1

    def give_back(self, numbers: Iterable[int]) -> None:
        self._free += numbers

    def release(self) -> None:
        """What was taken in an earlier life may be handed out as well."""
        self._free += (number for number in self._taken if 0 < number < self._next)
        self._taken.clear()

    @property
    def left(self) -> int:
        return self._size - self._next + len(self._free)

    @property
    def end(self) -> int:
        """One more than any number ever handed out."""
        return self._next


class Memberships:
    """Combinations of sets and deadlines, interned. Numbers are reused only after `sweep` and a grace period."""

    def __init__(self, size: int, taken: Ids, taken_classes: Ids) -> None:
        self._numbers = Numbers(
            size,
            taken.tolist(),
            MembershipsFull(
                f"the table of memberships is full: it has room for {size - 1:,} distinct combinations of sets and"
                " expiry times; raise memberships under [limits] in the configuration file"
            ),
        )
        self._class_numbers = Numbers(
            MAX_CLASSES,
            taken_classes.tolist(),
            MembershipsFull(
                f"the table of classes is full: at most {MAX_CLASSES - 1:,} distinct combinations of sets may overlap;"
                " this size is fixed, let fewer sets overlap"
            ),
        )
        self._ids: dict[Combination, int] = {(): 0}
        self._combinations: dict[int, Combination] = {0: ()}
        self._pairs: dict[int, int] = {}
        self._unwritten: list[int] = []
        self.classes: dict[frozenset[int], int] = {frozenset(): 0}
        self.new_classes: list[int] = []

    def __len__(self) -> int:
        return len(self._ids) - 1

    @property
    def left(self) -> int:
        return self._numbers.left

    def release(self) -> None:
        """Nothing in the tables refers to the numbers of an earlier life any more."""
        self._numbers.release()
        self._class_numbers.release()

    def intern(self, combination: Combination) -> int:
        """The number of a combination. Raises MapFull."""
        found = self._ids.get(combination)
        if found is not None:
            return found
        chain = [combination]
        while chain[-1] and chain[-1] not in self._ids:
            chain.append(_after_first_deadline(chain[-1]))
        for link in reversed(chain):
            if link not in self._ids:
                self.class_of(frozenset(set_id for set_id, _ in link))
                number = self._numbers.take()
                self._ids[link], self._combinations[number] = number, link
                self._unwritten.append(number)
        return self._ids[combination]

    def class_of(self, sets: frozenset[int]) -> int:
        """The number of a class. Raises MapFull."""
        found = self.classes.get(sets)
        if found is None:
            found = self.classes[sets] = self._class_numbers.take()
            self.new_classes.append(found)
        return found

    def sets_of(self, number: int) -> frozenset[int]:
        """The sets of a membership: none of one that was swept while somebody was reading."""
        return frozenset(set_id for set_id, _ in self._combinations.get(number, ()))

    def combine(self, own: Ids, cover: Ids) -> Ids:
        """Elementwise: in what either is in, of one set the later deadline."""
        found = np.where(own == 0, cover, own)
        both = np.flatnonzero((own != 0) & (cover != 0) & (own != cover))
        if len(both):
            pairs, inverse = distinct_codes(own[both].astype(np.int64) << 32 | cover[both])
            found[both] = np.array([self._combined(pair) for pair in pairs.tolist()], np.uint32)[inverse]
        return found

    def _combined(self, pair: int) -> int:
        found = self._pairs.get(pair)
        if found is None:
            latest = dict(self._combinations[pair >> 32])
            for set_id, deadline in self._combinations[pair & 0xFFFFFFFF]:
                latest[set_id] = max(deadline, latest.get(set_id, 0))
            found = self._pairs[pair] = self.intern(tuple(sorted(latest.items())))
        return found

    def pending(self) -> WriteMemberships | None:
        """What has to be written before anything may refer to it."""
        if not self._unwritten:
            return None
        rows = []
        for number in self._unwritten:
            link = self._combinations[number]
            rest = self._ids[_after_first_deadline(link)]
            rows.append((number, self.classes[self.sets_of(number)], rest, min(deadline for _, deadline in link)))
        table = np.array(rows, np.int64)
        numbers, classes, nexts = table[:, :3].T.astype(np.uint32)
        return WriteMemberships(numbers, classes, nexts, table[:, 3])

    def written(self) -> None:
        """What was pending is in the tables now."""
        self._unwritten.clear()
        self.new_classes.clear()

    def sweep(self, used: Iterable[int]) -> None:
        """Forget what is neither in `used` nor remains of it. A grace period must pass before the next write."""
        keep: set[Combination] = {()}
        for number in used:
            link = self._combinations.get(number, ())
            while link not in keep:
                keep.add(link)
                link = _after_first_deadline(link)
        gone = [number for link, number in self._ids.items() if link not in keep]
        for number in gone:
            del self._ids[self._combinations.pop(number)]
        self._numbers.give_back(gone)
        self._unwritten = [number for number in self._unwritten if number in self._combinations]
        self._pairs.clear()
        # Classes are few and cheap to keep: the next change then has no vector to write.
        if self._class_numbers.left < MAX_CLASSES // 4:
            self._sweep_classes({frozenset(set_id for set_id, _ in link) for link in keep})

    def _sweep_classes(self, keep: set[frozenset[int]]) -> None:
        gone = {sets: number for sets, number in self.classes.items() if sets not in keep}
        for members in gone:
            del self.classes[members]
        self._class_numbers.give_back(gone.values())
        self.new_classes = [number for number in self.new_classes if number not in set(gone.values())]

    def class_names(self, sets: Sets, numbers: Iterable[int] | None = None) -> dict[int, list[str]]:
        """The names of the sets of classes (of all), by number."""
        names = {info.id: info.name for info in sets.infos()}
        wanted = None if numbers is None else set(numbers)
        return {
            number: [names[set_id] for set_id in members if set_id in names]
            for members, number in self.classes.items()
            if wanted is None or number in wanted
        }
