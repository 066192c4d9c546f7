# SPDX-License-Identifier: Apache-2.0
"""The ordered rules as bit vectors (Lakshman and Stiliadis 1998): what bpf/match.h reads.

Each dimension cuts its values into pieces that no row tells apart, and each piece has the vector of the rows that it
matches. Equal vectors are kept once. Rows are Python integers here, bit i for row i.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xdpfw.model.errors import MapFull
from xdpfw.model.limits import MAX_CLASSES
from xdpfw.model.policy import MAX_ROWS, Policy
from xdpfw.model.prefix import HOST_LENGTH, Prefix
from xdpfw.model.rule import (
    ICMPV6,
    MAX_LENGTH,
    UNTAGGED,
    Action,
    AddressMatch,
    Flags,
    Fragment,
    IcmpType,
    Mode,
    Range,
    Rule,
)
from xdpfw.policy.limits import ban_places, limited_rows
from xdpfw.policy.rows import Row, rows_of

Bits = int
Vectors = npt.NDArray[np.uint64]
Numbers = npt.NDArray[np.uint32]

WORDS = MAX_ROWS // 64

# Numbers of vectors (bpf/maps.h).
DESTINATION_CLASSES = MAX_CLASSES
ENFORCED = 2 * MAX_CLASSES
FIRST_FREE = ENFORCED + 1

# Where the values of each dimension begin (bpf/match.h). The last value of some is "the packet has none".
LINE = 32
PROTOCOL, NO_PROTOCOL = 0, 256
ICMP, NO_ICMP = 288, 512
TCP_FLAGS, NO_TCP_FLAGS = 832, 256
FRAGMENT = 1120
VLAN = 1152
LENGTH = 5280
SOURCE_PORT, DESTINATION_PORT, NO_PORT = 70816, 136384, 65536
VALUES = 201952
"""All of them together: a whole number of lines."""

MAX_LITERALS = 1 << 16
"""Prefixes that rules may name themselves (kernel/maps.py has room for as many in each generation)."""

FRAGMENTS = (Fragment.NONE, Fragment.FIRST, Fragment.LATER)


@dataclass(frozen=True, slots=True)
class Literals:
    """Prefixes that rules name themselves. `addresses`: (n, 16) octets, IPv4 as ::ffff:a.b.c.d; `lengths` count from
    there; numbers of the vectors for sources and for destinations of which this is the longest one that contains them.
    Both families' whole space is always among them."""

    addresses: npt.NDArray[np.uint8]
    lengths: npt.NDArray[np.uint8]
    source: npt.NDArray[np.uint16]
    destination: npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class RuleTables:
    """Everything of a policy but what depends on the classes of addresses.

    `values[dimension + value]`: number of the vector. `vectors[number - ENFORCED]`: (n, WORDS). `slots`, `actions`,
    `log_rates`: of each row. `limits`: the rules of rows that have one; `places`: slots to rows before which bans
    stand. `interfaces`: numbers of the vectors for interfaces that rules name, `elsewhere` for all others.
    """

    values: npt.NDArray[np.uint16]
    vectors: Vectors
    literals: Literals
    slots: Numbers
    actions: Numbers
    log_rates: Numbers
    limits: Mapping[int, Rule]
    places: Mapping[int, int]
    interfaces: Mapping[str, int]
    elsewhere: int
    sources: SideVectors
    destinations: SideVectors


ACTIONS = {Action.PASS: 0, Action.DROP: 1, Action.LIMIT: 2}
"""enum action of bpf/maps.h."""


class _Pool:
    """Distinct vectors of the rows, numbered."""

    def __init__(self, room: int) -> None:
        self._numbers: dict[Bits, int] = {}
        self._room = room

    def number(self, rows: Bits) -> int:
        found = self._numbers.get(rows)
        if found is None:
            found = self._numbers[rows] = FIRST_FREE + len(self._numbers)
            if found >= self._room:
                raise MapFull(
                    f"the table of vectors is full: it has room for {self._room:,}; let the rules name fewer distinct"
                    " ports and prefixes, or raise vectors under [limits] in the configuration file"
                )
        return found

    def array(self, enforced: Bits) -> Vectors:
        return as_vectors([enforced, *self._numbers])


def as_vectors(rows: Iterable[Bits]) -> Vectors:
    packed = b"".join(bits.to_bytes(WORDS * 8, "little") for bits in rows)
    return np.frombuffer(packed, "<u8").reshape(-1, WORDS)


def rule_tables(policy: Policy, room: int) -> RuleTables:
    """`room`: numbers of vectors there are. Raises MapFull."""
    rows = rows_of(policy)
    pool = _Pool(room)
    values = np.zeros(VALUES, np.uint16)

    def spread(start: int, size: int, asked: Callable[[Row], Iterable[Range]]) -> None:
        _spread(values[start : start + size], [list(asked(row)) for row in rows], pool)

    spread(PROTOCOL, NO_PROTOCOL + 1, lambda row: (Range(number, number) for number in row.match.protocol))
    spread(ICMP, NO_ICMP + 1, lambda row: _icmp_values(row.match.icmp_types))
    spread(TCP_FLAGS, NO_TCP_FLAGS + 1, lambda row: _flag_values(row.match.tcp_flags))
    spread(FRAGMENT, len(FRAGMENTS), lambda row: _points(FRAGMENTS.index(part) for part in row.match.fragment))
    spread(VLAN, UNTAGGED + 1, lambda row: row.match.vlan)
    spread(LENGTH, MAX_LENGTH + 1, lambda row: row.match.length)
    spread(SOURCE_PORT, NO_PORT + 1, lambda row: row.match.source_ports)
    spread(DESTINATION_PORT, NO_PORT + 1, lambda row: row.match.destination_ports)

    sources, destinations = [row.match.source for row in rows], [row.match.destination for row in rows]
    literals = _literals(sources, destinations, pool)
    named = dict.fromkeys(name for row in rows for name in row.match.interfaces)
    here = {name: _bits(not row.match.interfaces or name in row.match.interfaces for row in rows) for name in named}
    enforced = _bits(row.rule.mode is Mode.ENFORCE for row in rows)
    interfaces = {name: pool.number(bits) for name, bits in here.items()}
    elsewhere = pool.number(_bits(not row.match.interfaces for row in rows))
    return RuleTables(
        values=values,
        vectors=pool.array(enforced),
        literals=literals,
        slots=np.array([policy.slots.of[row.rule.id] for row in rows], np.uint32),
        actions=np.array([ACTIONS[row.rule.action] for row in rows], np.uint32),
        log_rates=np.array([row.rule.log_rate for row in rows], np.uint32),
        limits=limited_rows(rows),
        places=ban_places(rows, policy.slots.of),
        interfaces=interfaces,
        elsewhere=elsewhere,
        sources=SideVectors.of(sources),
        destinations=SideVectors.of(destinations),
    )


def _bits(flags: Iterable[bool]) -> Bits:
    """Bit i is the truth of flag i."""
    return int("".join("1" if flag else "0" for flag in flags)[::-1] or "0", 2)


def _points(numbers: Iterable[int]) -> list[Range]:
    return [Range(number, number) for number in numbers]


def _icmp_values(types: Sequence[IcmpType]) -> list[Range]:
    found = [kind.icmp for kind in types if kind.icmp is not None]
    found += [256 + kind.icmpv6 for kind in types if kind.icmpv6 is not None]
    return _points(found)


def icmp_value(protocol: int, icmp_type: int) -> int:
    return (protocol == ICMPV6) * 256 + icmp_type


def _flag_values(flags: Sequence[Flags]) -> list[Range]:
    return _points(n for n in range(256) if any(n & wanted.mask == wanted.value for wanted in flags)) if flags else []


def _spread(values: npt.NDArray[np.uint16], asked: Sequence[Sequence[Range]], pool: _Pool) -> None:
    """Fill in the vector's number for each value of a dimension; a row that asks for no range takes all."""
    edges: dict[int, Bits] = {}
    current = _bits(not ranges for ranges in asked)
    for number, ranges in enumerate(asked):
        if not ranges:
            continue
        bit = 1 << number
        for first, end in _merged(ranges):
            edges[first] = edges.get(first, 0) ^ bit
            edges[end] = edges.get(end, 0) ^ bit
    begin = 0
    for edge in sorted(edges):
        values[begin:edge] = pool.number(current)
        current ^= edges[edge]
        begin = edge
    if begin < len(values):
        values[begin:] = pool.number(current)


def _merged(ranges: Sequence[Range]) -> list[tuple[int, int]]:
    """Disjoint [first, end) in order."""
    if len(ranges) == 1:
        return [(ranges[0].first, ranges[0].last + 1)]
    found: list[tuple[int, int]] = []
    for part in sorted(ranges):
        if found and part.first <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], part.last + 1))
        else:
            found.append((part.first, part.last + 1))
    return found


# addresses


@dataclass(frozen=True, slots=True)
class SideVectors:
    """Which rows a source, or a destination, matches by the sets that it is in."""

    anywhere: Bits
    inside: Mapping[str, Bits]
    outside: Mapping[str, Bits]

    @classmethod
    def of(cls, sides: Sequence[AddressMatch]) -> SideVectors:
        inside: dict[str, Bits] = {}
        outside: dict[str, Bits] = {}
        for number, side in enumerate(sides):
            for wanted, names in ((inside, side.sets), (outside, side.not_sets)):
                for name in names:
                    wanted[name] = wanted.get(name, 0) | 1 << number
        return cls(_bits(not side.sets for side in sides), inside, outside)

    def rows(self, names: Iterable[str]) -> Bits:
        """Rows that an address in exactly these sets matches."""
        found, out = self.anywhere, 0
        for name in names:
            found |= self.inside.get(name, 0)
            out |= self.outside.get(name, 0)
        return found & ~out


def _literals(sources: Sequence[AddressMatch], destinations: Sequence[AddressMatch], pool: _Pool) -> Literals:
    named = {p for side in (*sources, *destinations) for p in (*side.prefixes, *side.not_prefixes)}
    spaces = {Prefix(4, bytes(4), 0), Prefix(6, bytes(16), 0)}
    ordered = sorted(named | spaces)
    if len(ordered) > MAX_LITERALS:
        raise MapFull(
            f"the table of rules' own prefixes is full: they name {len(ordered):,}, and there is room for"
            f" {MAX_LITERALS:,}; put many prefixes into a set"
        )
    numbers = [[pool.number(bits) for bits in _by_prefix(ordered, side)] for side in (sources, destinations)]
    mapped = [bytes(10) + b"\xff\xff" + p.address if p.family == 4 else p.address for p in ordered]
    return Literals(
        np.frombuffer(b"".join(mapped), np.uint8).reshape(-1, 16),
        np.array([p.length + HOST_LENGTH[6] - HOST_LENGTH[p.family] for p in ordered], np.uint8),
        np.array(numbers[0], np.uint16),
        np.array(numbers[1], np.uint16),
    )


def _by_prefix(ordered: Sequence[Prefix], sides: Sequence[AddressMatch]) -> list[Bits]:
    """For each prefix, the rows that an address matches of which it is the longest one: outer prefixes come first."""
    inside: dict[Prefix, Bits] = {}
    outside: dict[Prefix, Bits] = {}
    for number, side in enumerate(sides):
        for wanted, prefixes in ((inside, side.prefixes), (outside, side.not_prefixes)):
            for prefix in prefixes:
                wanted[prefix] = wanted.get(prefix, 0) | 1 << number
    anywhere = _bits(not side.prefixes for side in sides)
    found: list[Bits] = []
    around: list[tuple[Prefix, Bits, Bits]] = []
    for prefix in ordered:
        while around and not around[-1][0].contains(prefix):
            around.pop()
        _, within, out = around[-1] if around else (prefix, anywhere, 0)
        within, out = within | inside.get(prefix, 0), out | outside.get(prefix, 0)
        around.append((prefix, within, out))
        found.append(within & ~out)
    return found


def class_vectors(tables: RuleTables, classes: Mapping[int, Iterable[str]]) -> tuple[Numbers, Vectors]:
    """Numbers and vectors of classes, as sources and as destinations. `classes`: id to the names of its sets."""
    numbers = np.array([*classes, *(DESTINATION_CLASSES + number for number in classes)], np.uint32)
    rows = [side.rows(names) for side in (tables.sources, tables.destinations) for names in classes.values()]
    return numbers, as_vectors(rows)
