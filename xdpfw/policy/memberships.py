# SPDX-License-Identifier: Apache-2.0
"""Which sets cover an address until when, as small integers: memberships and classes.

A combination is a tuple of (set id, deadline), sorted by set. Each distinct one is a membership, with the class of its
sets, the first deadline, and the membership that remains after it. A class is a distinct combination of sets alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from xdpfw.model.errors import MapFull
from xdpfw.model.limits import MAX_CLASSES
from xdpfw.policy.claims import ABSENT
from xdpfw.policy.ops import NEVER, Ids, Op, WriteMemberships, WritePolicy, WriteVectors
from xdpfw.policy.sets import Sets

Combination = tuple[tuple[int, int], ...]
Make = Callable[[], list[int]]
Call = Callable[[Make], list[int]]
"""Numbers are handed out in one thread; who works in another has them made through this."""

FEW = 8
"""So many distinct values are found one by one, which among very many codes is faster than sorting them."""

QUARTER = 250_000_000
"""Deadlines are rounded up to 0.25 s, so that few distinct combinations exist."""


def directly(make: Make) -> list[int]:
    return make()


def rounded(expires: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Expiries as deadlines: never earlier, less than a quarter of a second later."""
    up = -(-np.minimum(expires, NEVER - QUARTER) // QUARTER) * QUARTER
    return np.where(expires == NEVER, NEVER, up)


def distinct_codes(codes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sorted distinct values and where each code is among them."""
    found: list[int] = []
    rest = codes
    while len(rest) and len(found) < FEW:
        found.append(int(rest[0]))
        rest = rest[rest != rest[0]]
    if len(rest):
        return np.unique(codes, return_inverse=True)
    if len(found) < 2:
        return codes[:1], np.zeros(len(codes), np.int64)
    values = np.array(sorted(found))
    return values, np.searchsorted(values, codes)


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

    def combine(self, own: Ids, cover: Ids, call: Call = directly) -> Ids:
        """Elementwise: in what either is in, of one set the later deadline."""
        found = np.where(own == 0, cover, own)
        both = np.flatnonzero((own != 0) & (cover != 0) & (own != cover))
        if len(both):
            pairs, inverse = distinct_codes(own[both].astype(np.int64) << 32 | cover[both])
            numbers = call(lambda: [self._combined(pair) for pair in pairs.tolist()])
            found[both] = np.array(numbers, np.uint32)[inverse]
        return found

    def moved(self, own: Ids, set_id: int, until: npt.NDArray[np.int64], call: Call = directly) -> Ids:
        """Elementwise: in the same sets, but in this one until another time (wall ns; ABSENT: not at all)."""
        times, time_of = distinct_codes(np.where(until == ABSENT, ABSENT, rounded(until)))
        pairs, pair_of = distinct_codes(own.astype(np.int64) * len(times) + time_of)
        deadlines = times.tolist()

        def make() -> list[int]:
            return [self._moved(pair // len(times), set_id, deadlines[pair % len(times)]) for pair in pairs.tolist()]

        return np.array(call(make), np.uint32)[pair_of]

    def _moved(self, own: int, set_id: int, deadline: int) -> int:
        others = [pair for pair in self._combinations[own] if pair[0] != set_id]
        return self.intern(tuple(sorted([*others, *[(set_id, deadline)] * (deadline != ABSENT)])))

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
        return self._records(self._unwritten) if self._unwritten else None

    def reached(self, numbers: Iterable[int]) -> WriteMemberships:
        """The records of these memberships and of all that remain of them as time goes by."""
        found = {0}
        for number in numbers:
            while number not in found:
                found.add(number)
                number = self._ids[_after_first_deadline(self._combinations[number])]
        return self._records(sorted(found - {0}))

    def _records(self, of: Iterable[int]) -> WriteMemberships:
        rows = []
        for number in of:
            link = self._combinations[number]
            rest = self._ids[_after_first_deadline(link)]
            rows.append((number, self.classes[self.sets_of(number)], rest, min(deadline for _, deadline in link)))
        table = np.array(rows, np.int64).reshape(-1, 4)
        numbers, classes, nexts = table[:, :3].T.astype(np.uint32)
        return WriteMemberships(numbers, classes, nexts, table[:, 3])

    def written(self, ops: Iterable[Op]) -> None:
        """These operations were performed."""
        kinds = {type(op) for op in ops}
        if WriteMemberships in kinds:
            self._unwritten.clear()
        if kinds & {WritePolicy, WriteVectors}:
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
