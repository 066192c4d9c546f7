# SPDX-License-Identifier: Apache-2.0
"""Lists of prefixes as text, one a line, into packed keys: plain spellings all at once, the rest one by one.

What is accepted is exactly what `Prefix.parse` accepts; whatever a fast path does not take goes there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from xdpfw.model.prefix import FAMILIES, Family, InvalidPrefix, Prefix
from xdpfw.policy import bulk_plain as plain
from xdpfw.policy import keys as k
from xdpfw.policy.keys import Index
from xdpfw.policy.ops import Keys

OnFault = Callable[[int, str], bool]
"""Takes a line's index (from 0) and what is wrong with it; answers whether to go on."""

BOM = b"\xef\xbb\xbf"
COMMENT = re.compile(rb"[#;][^\n]*")
# The look-behind keeps a long run of blanks from being tried from each of its bytes.
TRAILING_BLANKS = re.compile(rb"(?<![ \t])[ \t]++(?=\n)")
NEWLINE = ord("\n")

PIECE = 4 << 20
"""Octets read at a time: what numpy needs meanwhile is some ten times as much."""

FEW = 64
"""So many lines are read one by one."""


@dataclass(frozen=True, slots=True)
class Found:
    """Keys of one family, and the index of each one's line."""

    keys: Keys
    lines: Index


def count_lines(body: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(body, np.uint8) == NEWLINE))


def read_lines(body: bytes, on_fault: OnFault) -> dict[Family, Found]:
    """Every line's prefix, in no certain order. Comments begin with `#` or `;`; blank lines and CRLF are fine."""
    body = (body.replace(b"\r\n", b"\n") if b"\r" in body else body) + b"\n"
    if b"#" in body or b";" in body:
        body = COMMENT.sub(b"", body)
    if (b" " in body or b"\t" in body) and (b" \n" in body or b"\t\n" in body):
        body = TRAILING_BLANKS.sub(b"", body)
    pieces: dict[Family, list[Found]] = {family: [Found(k.empty(family), np.empty(0, np.int64))] for family in FAMILIES}
    begin = line = 0
    while begin < len(body):
        end = body.find(b"\n", begin + PIECE) + 1 or len(body)
        line, going = _read_piece(body[begin:end], line, pieces, on_fault)
        if not going:
            break
        begin = end
    return {
        family: Found(np.concatenate([f.keys for f in found]), np.concatenate([f.lines for f in found]))
        for family, found in pieces.items()
    }


def _read_piece(body: bytes, line: int, pieces: dict[Family, list[Found]], on_fault: OnFault) -> tuple[int, bool]:
    """Whole lines, the first of which has this index; answers the next index and whether to go on."""
    octets = np.frombuffer(body, np.uint8)
    ends = np.flatnonzero(octets == NEWLINE)
    sizes = np.diff(ends, prepend=-1)
    taken, keys4 = plain.ipv4(octets, ends)
    pieces[4].append(Found(keys4, line + np.flatnonzero(taken)))
    rest = np.flatnonzero(~taken & (sizes > 1))
    if len(rest) > FEW:
        others = octets[np.repeat(~taken & (sizes > 1), sizes)]
        also, keys6 = plain.ipv6(others, np.flatnonzero(others == NEWLINE))
        pieces[6].append(Found(keys6, line + rest[also]))
        rest = rest[~also]
    starts = ends - sizes + 1
    lines = (body[first:last] for first, last in zip(starts[rest].tolist(), ends[rest].tolist(), strict=True))
    going = _one_by_one(line + rest, lines, pieces, on_fault)
    return line + len(ends), going


def _one_by_one(indices: Index, lines: Iterable[bytes], pieces: dict[Family, list[Found]], on_fault: OnFault) -> bool:
    """Lines that need a closer look; answers whether to go on."""
    keys: dict[Family, list[bytes]] = {family: [] for family in FAMILIES}
    numbers: dict[Family, list[int]] = {family: [] for family in FAMILIES}
    going = True
    for index, line in zip(indices.tolist(), lines, strict=True):
        text = line.decode("utf-8", "replace").strip()
        if not text:
            continue
        try:
            prefix = Prefix.parse(text)
        except InvalidPrefix as error:
            going = on_fault(index, error.detail)
            if not going:
                break
            continue
        keys[prefix.family].append(k.key_of(prefix))
        numbers[prefix.family].append(index)
    for family in FAMILIES:
        found = Found(k.array_of(family, keys[family]), np.array(numbers[family], np.int64))
        pieces[family].append(found)
    return going
