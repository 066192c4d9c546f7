# SPDX-License-Identifier: Apache-2.0
"""Prefixes in plain spelling, many lines at once: numpy looks at every line, and at every number in it, together.

A line that is not taken here need not be wrong; it needs a closer look.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xdpfw.policy import keys as k
from xdpfw.policy.keys import Bytes, Flags, Index
from xdpfw.policy.ops import Keys

NEWLINE, DOT, SLASH, COLON = b"\n./:"
MAPPED = np.frombuffer(bytes(10) + b"\xff\xff", np.uint8)

Marks = npt.NDArray[np.int64]

HEX = bytes(int(chr(octet), 16) if chr(octet) in "0123456789abcdefABCDEF" else 255 for octet in range(256))
"""The value of every octet as a hexadecimal digit, 255 for what is none."""


def ipv4(octets: Bytes, ends: Index) -> tuple[Flags, Keys]:
    """Which lines are a.b.c.d or a.b.c.d/n without host bits, and their keys. `ends`: where the newlines are."""
    marks, first, count = _marks(octets, DOT, SLASH)
    fits = np.flatnonzero((count == 4) | (count == 5))
    at, has_length = first.take(fits), count.take(fits) == 5
    digits, kinds = octets - np.uint8(ord("0")), octets.take(marks)
    good = np.ones(len(at), np.bool_)
    rows = np.empty((len(at), 5), np.uint8)
    for column in range(4):
        kind = DOT if column < 3 else np.where(has_length, SLASH, NEWLINE)
        value, sizes, ok = _numbers(digits, marks, at + column, 3, 10)
        # A leading zero means octal to some, so it is refused.
        leading = (sizes > 1) & (digits.take(marks.take(at + column) - sizes) == 0)
        good &= ok & ~leading & (value <= 255) & (kinds.take(at + column) == kind)
        rows[:, column] = value
    rows[:, 4], ok = _lengths(digits, marks, at + 4, has_length, 32)
    return _taken(len(ends), fits, good & ok, rows)


def ipv6(octets: Bytes, ends: Index) -> tuple[Flags, Keys]:
    """Which lines are IPv6 prefixes, with or without a length, without host bits and without an IPv4 part."""
    marks, first, count = _marks(octets, COLON, SLASH)
    hexadecimal = np.frombuffer(octets.tobytes().translate(HEX), np.uint8)
    lines, kinds = len(ends), octets.take(marks)
    has_length = (kinds.take(np.maximum(first + count - 2, 0)) == SLASH) & (count > 1)
    groups = count - has_length
    good = (groups >= 3) & (groups <= 9)
    line = np.repeat(np.arange(lines), count)
    nth = np.arange(len(marks)) - first.take(line)
    is_group = nth < groups.take(line)
    value, sizes, ok = _numbers(hexadecimal, marks, np.arange(len(marks)), 4, 16)
    empty = is_group & (sizes == 0)
    inner = nth < groups.take(line) - 1
    wrong = np.flatnonzero(is_group & ~(ok | empty) | inner & (kinds != COLON))
    good[line.take(wrong)] = False
    gap = np.full(lines, 9)
    holes = np.flatnonzero(empty)[::-1]
    gap[line.take(holes)] = nth.take(holes)
    good &= _one_gap(np.bincount(line.take(holes), minlength=lines), gap, groups, first, empty)
    placed = np.flatnonzero(is_group & ~empty & good.take(line))
    of, place = line.take(placed), nth.take(placed)
    place += np.where(place < gap.take(of), 0, 8 - groups.take(of))
    words = np.zeros((lines, 8), ">u2")
    words.reshape(-1)[of * 8 + place] = value.take(placed)
    rows = np.empty((lines, 17), np.uint8)
    rows[:, :16] = words.view(np.uint8)
    rows[:, 16], ok = _lengths(octets - np.uint8(ord("0")), marks, first + count - 1, has_length, 128)
    good &= ok & (rows[:, :12] != MAPPED).any(axis=1)
    return _taken(lines, np.arange(lines), good, rows)


def _one_gap(holes: Index, gap: Marks, groups: Marks, first: Marks, empty: Flags) -> Flags:
    """Whether empty groups are those of one `::` or none. At either end it makes two empty groups, alone three."""
    second, last = first + 1, first + groups - 1
    at_start = (gap == 0) & empty[np.minimum(second, len(empty) - 1)]
    at_end = (gap == groups - 2) & empty[np.minimum(last, len(empty) - 1)]
    inside = (gap > 0) & (gap < groups - 1)
    none = (holes == 0) & (groups == 8)
    one = (holes == 1) & inside & (groups <= 8)
    two = (holes == 2) & (at_start | at_end) & (groups <= 9)
    taken: Flags = none | one | two | (holes == 3) & (groups == 3)
    return taken


def _marks(octets: Bytes, *kinds: int) -> tuple[Marks, Marks, Marks]:
    """Where numbers end: the octets of these kinds, and newlines; of each line, the first of its marks and how many."""
    of_interest = octets == NEWLINE
    for kind in kinds:
        of_interest |= octets == kind
    marks = np.flatnonzero(of_interest)
    last = np.flatnonzero(octets.take(marks) == NEWLINE)
    first = np.concatenate((np.zeros(1, np.int64), last[:-1] + 1))
    return marks, first, last - first + 1


def _numbers(
    digits: Bytes, marks: Marks, which: Marks, most: int, base: int
) -> tuple[npt.NDArray[np.uint16], Marks, Flags]:
    """The numbers that end at these marks, how many digits they have, and which have 1 to `most` and nothing else.
    `digits`: the value of every octet as one."""
    end = marks.take(which)
    size = end - marks.take(which - 1, mode="clip") - 1
    np.copyto(size, end, where=which == 0)
    good = (size >= 1) & (size <= most)
    value = np.zeros(len(which), np.uint16)
    for place in range(most):
        digit = digits.take(end - (1 + place), mode="clip")
        digit *= size > place
        good &= digit < base
        value += digit * np.uint16(base**place)
    return value, size, good


def _lengths(digits: Bytes, marks: Marks, which: Marks, there: Flags, width: int) -> tuple[Bytes, Flags]:
    """Prefix lengths that end at these marks, of the lines that have one: zeros in front are fine."""
    lengths, good = np.full(len(which), width, np.uint8), np.ones(len(which), np.bool_)
    at = np.flatnonzero(there)
    value, _, ok = _numbers(digits, marks, which.take(at), 3, 10)
    lengths[at], good[at] = np.minimum(value, width), ok & (value <= width)
    return lengths, good


def _taken(lines: int, at: Index, good: Flags, rows: Bytes) -> tuple[Flags, Keys]:
    """Lines taken and their keys, without those that have host bits."""
    keys = k.from_octets(rows)
    good &= ~k.has_host_bits(keys)
    taken = np.zeros(lines, np.bool_)
    taken[at] = good
    return taken, keys[good]
