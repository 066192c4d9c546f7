# SPDX-License-Identifier: Apache-2.0
"""Lists of prefixes as text, one a line, into packed keys: IPv4 lines all at once, the rest one by one.

What is accepted is exactly what `Prefix.parse` accepts; whatever a fast path does not take goes there.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from xdpfw.model.prefix import FAMILIES, Family, InvalidPrefix, Prefix
from xdpfw.policy import keys as k
from xdpfw.policy.keys import Flags, Index
from xdpfw.policy.ops import Keys

OnFault = Callable[[int, str], bool]
"""Takes a line's index (from 0) and what is wrong with it; answers whether to go on."""

BOM = b"\xef\xbb\xbf"
COMMENT = re.compile(rb"[#;][^\n]*")
# The look-behind keeps a long run of blanks from being tried from each of its bytes.
TRAILING_BLANKS = re.compile(rb"(?<![ \t])[ \t]++(?=\n)")
NEWLINE, DOT, SLASH = b"\n./"
MAPPED = bytes(10) + b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Found:
    """Keys of one family in the order of lines, and the index of each one's line."""

    keys: Keys
    lines: Index


def read_lines(body: bytes, on_fault: OnFault) -> dict[Family, Found]:
    """Every line's prefix. Comments begin with `#` or `;`; blank lines, CRLF and a byte order mark are fine."""
    body = body.removeprefix(BOM).replace(b"\r\n", b"\n") + b"\n"
    if b"#" in body or b";" in body:
        body = COMMENT.sub(b"", body)
    if b" \n" in body or b"\t\n" in body:
        body = TRAILING_BLANKS.sub(b"", body)
    octets = np.frombuffer(body, np.uint8)
    ends = np.flatnonzero(octets == NEWLINE)
    starts = np.concatenate(([0], ends[:-1] + 1))
    plain, keys4 = _plain4(octets, ends)
    rest = np.flatnonzero(~plain & (ends > starts))
    lines = (body[first:last] for first, last in zip(starts[rest].tolist(), ends[rest].tolist(), strict=True))
    others = _one_by_one(rest, lines, on_fault)
    others[4] = _in_order(Found(keys4, np.flatnonzero(plain)), others[4])
    return others


def _in_order(first: Found, second: Found) -> Found:
    if not len(second.keys):
        return first
    lines = np.concatenate((first.lines, second.lines))
    order = np.argsort(lines, kind="stable")
    return Found(np.concatenate((first.keys, second.keys))[order], lines[order])


def _plain4(octets: npt.NDArray[np.uint8], ends: Index) -> tuple[Flags, Keys]:
    """Which lines are a.b.c.d or a.b.c.d/n and nothing else, and their keys."""
    marks = np.flatnonzero((octets == DOT) | (octets == SLASH) | (octets == NEWLINE)).astype(np.int32)
    last = np.flatnonzero(octets[marks] == NEWLINE).astype(np.int32)
    first = np.concatenate((np.zeros(1, np.int32), last[:-1] + 1))
    count = last - first + 1
    fits = (count == 4) | (count == 5)
    at, has_length = first[fits], count[fits] == 5
    good = np.ones(len(at), np.bool_)
    rows = np.empty((len(at), 5), np.uint8)
    for column in range(4):
        kind = DOT if column < 3 else np.where(has_length, SLASH, NEWLINE)
        value, ok = _numbers(octets, marks, at + column, 3)
        good &= ok & (value <= 255) & (octets[marks[at + column]] == kind)
        rows[:, column] = value
    rows[:, 4] = 32
    behind = np.flatnonzero(has_length)
    value, ok = _numbers(octets, marks, at[behind] + 4, 2)
    good[behind] &= ok & (value <= 32)
    rows[behind, 4] = np.minimum(value, 32)
    keys = k.from_octets(rows)
    good &= k.masked(rows[:, :4], rows[:, 4]) == keys
    plain = np.zeros(len(ends), np.bool_)
    plain[fits] = good
    return plain, keys[good]


def _numbers(
    octets: npt.NDArray[np.uint8], marks: npt.NDArray[np.int32], which: npt.NDArray[np.int32], digits: int
) -> tuple[npt.NDArray[np.uint16], Flags]:
    """The decimal numbers that end at these marks, and which are one: of 1 to `digits` digits, octets without a
    leading zero. (A prefix length may have one.)"""
    end = marks[which]
    size = end - np.where(which > 0, marks[which - 1], -1) - 1
    good = (size >= 1) & (size <= digits)
    value = np.zeros(len(which), np.uint16)
    for place in range(digits):
        there = size > place
        digit = octets[np.maximum(end - 1 - place, 0)] - np.uint8(48)
        good &= ~there | (digit <= 9)
        if digits == 3 and place:
            good &= ~(there & (size == place + 1) & (digit == 0))
        value += np.where(there, digit, 0).astype(np.uint16) * np.uint16(10**place)
    return value, good


def _one_by_one(indices: Index, lines: Iterable[bytes], on_fault: OnFault) -> dict[Family, Found]:
    keys: dict[Family, list[bytes]] = {family: [] for family in FAMILIES}
    numbers: dict[Family, list[int]] = {family: [] for family in FAMILIES}
    for index, line in zip(indices.tolist(), lines, strict=True):
        key = _plain6(line)
        if key is None:
            try:
                text = line.decode("utf-8", "replace").strip()
                key = k.key_of(Prefix.parse(text)) if text else b""
            except InvalidPrefix as error:
                if not on_fault(index, error.detail):
                    break
                continue
        if key:
            family: Family = 4 if len(key) == k.KEY_BYTES[4] else 6
            keys[family].append(key)
            numbers[family].append(index)
    return {family: Found(k.array_of(family, keys[family]), np.array(numbers[family], np.int64)) for family in FAMILIES}


def _plain6(line: bytes) -> bytes | None:
    """The key of an IPv6 prefix in any plain spelling; None for whatever needs a closer look."""
    address, slash, length = line.partition(b"/")
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.decode("ascii"))
    except (OSError, ValueError):
        return None
    if not slash:
        return packed + b"\x80" if not packed.startswith(MAPPED) else None
    if not (0 < len(length) <= 3 and length.isdigit()) or packed.startswith(MAPPED):
        return None
    number = int(length)
    if number > 128 or int.from_bytes(packed) & ((1 << (128 - number)) - 1):
        return None
    return packed + bytes((number,))
