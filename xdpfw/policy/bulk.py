# SPDX-License-Identifier: Apache-2.0
"""Bodies of bulk writes: text, JSON or NDJSON into packed columns.

Parsing needs nothing but the body, so that a large one can be read in another process; what comes back is arrays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from xdpfw.clock import SECOND, from_datetime
from xdpfw.model import texts as words
from xdpfw.model.errors import Fault, Unreadable
from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy import keys as k
from xdpfw.policy.bulk_text import BOM, count_lines, read_lines
from xdpfw.policy.ops import NEVER, Keys

UNSET = -1
"""In a column: the row does not say; the request's own value holds."""

MAX_FAULTS = 100

FIELDS = frozenset({"prefix", "ttl", "expires_at", "comment", "origin"})
READ_ONLY = frozenset({"packets", "bytes", "added_at", "claims", "set"})
"""What an export gives beside them; of no effect when it is read back."""

NOT_PREFIX = re.compile(r"[#;\n\r]")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rows:
    """One family's rows, sorted by key. `expires` (wall ns, NEVER, UNSET), `comments` and `origins` (index into
    `Bulk.texts`, UNSET) are None where no row says anything; without them no key repeats."""

    keys: Keys
    expires: npt.NDArray[np.int64] | None = None
    comments: npt.NDArray[np.int64] | None = None
    origins: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class Bulk:
    """A parsed body. `invalid` lines or items are no prefixes; `faults` tells of the first 100 of them, or `skipped`
    if the request wants them skipped."""

    rows: dict[Family, Rows]
    texts: list[str] = field(default_factory=list)
    faults: tuple[Fault, ...] = ()
    skipped: tuple[Fault, ...] = ()
    invalid: int = 0

    @property
    def count(self) -> int:
        """Rows of both families: distinct prefixes, unless rows have origins of their own."""
        return sum(len(rows.keys) for rows in self.rows.values())

    def keys(self) -> dict[Family, Keys]:
        """Distinct sorted keys per family."""
        return {family: k.unique(rows.keys) for family, rows in self.rows.items()}


@dataclass(frozen=True, slots=True)
class TextPart:
    """Some whole lines of a text: how many, the sorted prefixes in them, the first faults (line from 0, and why) and
    how many there are."""

    lines: int
    keys: dict[Family, Keys]
    faults: list[tuple[int, str]]
    invalid: int


def parse_part(lines: bytes, *, skip_invalid: bool = False) -> TextPart:
    """One prefix a line; `#` and `;` start comments, also after a prefix; blank lines and CRLF are fine."""
    faults = _Faults(skip_invalid)
    found = read_lines(lines, lambda line, why: faults.add(str(line), why))
    keys = {family: k.unique(part.keys) for family, part in found.items()}
    first = [(int(fault.pointer), fault.detail) for fault in faults.first]
    return TextPart(count_lines(lines), keys, first, faults.count)


def join_parts(parts: Sequence[TextPart], *, skip_invalid: bool = False) -> Bulk:
    """The parts of a text, in order."""
    faults, before = _Faults(skip_invalid), 0
    for part in parts:
        for line, why in part.faults:
            faults.add(f"line {before + line + 1}", why)
        faults.count += part.invalid - len(part.faults)
        before += part.lines
    faults.count = faults.count if skip_invalid else min(faults.count, MAX_FAULTS)
    rows = {family: Rows(k.union(k.empty(family), *(part.keys[family] for part in parts))) for family in FAMILIES}
    return faults.bulk(rows, [])


def parse_text(body: bytes, *, skip_invalid: bool = False) -> Bulk:
    """A whole text, which may begin with a byte order mark."""
    return join_parts([parse_part(body.removeprefix(BOM), skip_invalid=skip_invalid)], skip_invalid=skip_invalid)


def parse_json(body: bytes, *, now: int, skip_invalid: bool = False) -> Bulk:
    """A list of prefixes or of objects {prefix, ttl or expires_at, comment, origin}. `now`: wall ns, for ttl.

    Raises Unreadable when it is not JSON or not a list.
    """
    items = _loads(body)
    if not isinstance(items, list):
        raise Unreadable("a JSON list of prefixes or entries is wanted")
    return parse_items(items, now=now, skip_invalid=skip_invalid)


def parse_items(items: Sequence[Any], *, now: int, pointer: str = "", skip_invalid: bool = False) -> Bulk:
    """The same, read already, at `pointer` in its document."""
    return _collect(((f"{pointer}/{index}", item) for index, item in enumerate(items)), now, skip_invalid)


def parse_ndjson(body: bytes, *, now: int, skip_invalid: bool = False) -> Bulk:
    """The same, one JSON value a line. What an export gives can be read back."""
    lines = ((f"line {number}", line) for number, line in enumerate(body.splitlines(), 1) if line.strip())
    return _collect(((pointer, _loads_line(line)) for pointer, line in lines), now, skip_invalid)


def _loads(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"this is not JSON: {error}") from None


def _loads_line(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        return _Broken(f"this line is not JSON: {error}")


class _Refused(Exception):
    """An item that is not an entry; the text says why."""


class _Faults:
    """The first faults, and how many there are. Without `skip`, nobody wants to know of more than the first."""

    def __init__(self, skip: bool) -> None:
        self.skip = skip
        self.first: list[Fault] = []
        self.count = 0

    def add(self, pointer: str, why: str) -> bool:
        """Answers whether to go on."""
        self.count += 1
        if len(self.first) < MAX_FAULTS:
            self.first.append(Fault(pointer, why))
        return self.skip or self.count < MAX_FAULTS

    def bulk(self, rows: dict[Family, Rows], texts: list[str]) -> Bulk:
        first = tuple(self.first)
        return Bulk(rows, texts, () if self.skip else first, first if self.skip else (), self.count)


@dataclass(frozen=True, slots=True)
class _Broken:
    """An item that is not JSON."""

    why: str


def _collect(items: Iterable[tuple[str, Any]], now: int, skip_invalid: bool) -> Bulk:
    """Prefixes of all items are read together, since that is where the time goes."""
    pointers: list[str] = []
    lines: list[str] = []
    columns: list[tuple[int, int, int]] = []
    texts: dict[str, int] = {}
    faults = _Faults(skip_invalid)
    for pointer, item in items:
        try:
            line, rest = _item(item, now, texts)
        except _Refused as refused:
            if faults.add(pointer, str(refused)):
                continue
            break
        pointers.append(pointer)
        lines.append(line)
        columns.append(rest)
    body = "\n".join(lines).encode("utf-8", "replace")
    found = read_lines(body, lambda line, why: faults.add(pointers[line], why))
    rest_of = np.array(columns, np.int64).reshape(-1, 3)
    rows = {family: _rows(lines.keys, rest_of[lines.lines]) for family, lines in found.items()}
    return faults.bulk(rows, list(texts))


def _rows(keys: Keys, rest: npt.NDArray[np.int64]) -> Rows:
    if not (rest != UNSET).any():
        return Rows(k.unique(keys))
    by_key = k.order(keys)
    expires, comments, origins = rest[by_key].T
    return Rows(keys[by_key], expires, comments, origins)


def _item(item: Any, now: int, texts: dict[str, int]) -> tuple[str, tuple[int, int, int]]:
    """One prefix or entry: the prefix's text and (expires, comment, origin)."""
    if isinstance(item, _Broken):
        raise _Refused(item.why)
    if isinstance(item, str):
        return _line(item), (UNSET, UNSET, UNSET)
    if not isinstance(item, dict) or not isinstance(item.get("prefix"), str):
        raise _Refused('a prefix or an object with "prefix" is wanted')
    unknown = item.keys() - FIELDS - READ_ONLY
    if unknown:
        raise _Refused(f"unknown field {min(unknown)!r}")
    comment, origin = (_text(item, name, texts) for name in ("comment", "origin"))
    return _line(item["prefix"]), (_expiry(item, now), comment, origin)


def _line(text: str) -> str:
    """A text that is one line and no comment. Raises _Refused for a text that could not be a prefix either."""
    if NOT_PREFIX.search(text) or not text.strip():
        raise _Refused(f"{text!r} is not an IPv4 or IPv6 address or prefix")
    return text


def _text(item: dict[str, Any], name: str, texts: dict[str, int]) -> int:
    value = item.get(name)
    if value is None:
        return UNSET
    return texts.setdefault(_checked(words.comment if name == "comment" else words.origin, value), len(texts))


def _expiry(item: dict[str, Any], now: int) -> int:
    """Wall clock ns. An export has both `expires_at` and `ttl`: the time itself is the one that still holds later."""
    if item.get("expires_at") is not None:
        return from_datetime(_checked(words.instant, item["expires_at"]))
    if item.get("ttl") is not None:
        return now + _checked(words.duration, item["ttl"]) * SECOND
    return NEVER if "expires_at" in item or "ttl" in item else UNSET


def _checked(check: Callable[[object], T], value: object) -> T:
    try:
        return check(value)
    except ValueError as error:
        raise _Refused(str(error)) from None
