# SPDX-License-Identifier: Apache-2.0
"""A list that arrives in pieces is the list that is read at once."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.strategies import prefixes
from xdpfw.model.errors import Unavailable, Unreadable
from xdpfw.model.prefix import FAMILIES
from xdpfw.policy.bulk import Bulk, parse_json, parse_ndjson, parse_text
from xdpfw.service import reading
from xdpfw.service.reading import Form, Readers

NOW = 1_000_000_000


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE", 64)
    monkeypatch.setattr(reading, "LONG_DOCUMENT", 0)


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    made = Readers()
    yield made
    made.close()


def read(readers: Readers, chunks: Sequence[bytes], form: Form = "text", *, skip_invalid: bool = True) -> Bulk:
    async def arriving() -> AsyncIterator[bytes]:
        for chunk in chunks:
            await asyncio.sleep(0)
            yield chunk

    return asyncio.run(readers.read(arriving(), form, NOW, skip_invalid=skip_invalid))


def same(one: Bulk, other: Bulk) -> bool:
    columns = [
        (getattr(one.rows[family], name), getattr(other.rows[family], name))
        for family in FAMILIES
        for name in ("keys", "expires", "comments", "origins")
    ]
    alike = all(a is b is None or np.array_equal(a, b) for a, b in columns)
    told = [(bulk.texts, bulk.faults, bulk.skipped, bulk.invalid) for bulk in (one, other)]
    return alike and told[0] == told[1]


def cut(body: bytes, places: Sequence[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[first:last] for first, last in pairwise(ends)]


LINES = st.one_of(prefixes().map(str), st.sampled_from(("", " ", "x", "10.0.0.1/8", "# a comment", "192.0.2.1 ; one")))


@settings(max_examples=200)
@given(
    st.lists(LINES, max_size=150),
    st.sampled_from((b"\n", b"\r\n")),
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(0, 10_000), max_size=20),
)
def test_text(
    readers: Readers, lines: list[str], newline: bytes, bom: bool, skip_invalid: bool, places: list[int]
) -> None:
    body = b"\xef\xbb\xbf" * bom + newline.join(line.encode() for line in lines)
    found = read(readers, cut(body, places), skip_invalid=skip_invalid)
    assert same(found, parse_text(body, skip_invalid=skip_invalid))


def test_a_byte_order_mark_is_one_at_the_beginning_only(readers: Readers) -> None:
    lines = [b"192.0.2.%d\n" % number for number in range(20)]
    lines[10] = b"\xef\xbb\xbf" + lines[10]
    for chunks in (lines, [b"".join(lines)]):
        assert [fault.pointer for fault in read(readers, chunks).skipped] == ["line 11"]


@pytest.mark.parametrize(
    ("line", "invalid", "count"),
    [
        (b"#" * 1000, 0, 2),
        (b"192.0.2.7 #" + b"x" * 1000, 0, 3),
        (b" " * 40 + b"192.0.2.7;" + b" " * 1000, 0, 3),
        (b" " * 1000, 1, 2),
        (b"192.0.2.7" + b" " * 1000 + b"x", 1, 2),
        (b"1" * 1000, 1, 2),
    ],
)
def test_a_line_longer_than_a_piece_holds_no_more_than_its_beginning(
    readers: Readers, line: bytes, invalid: int, count: int
) -> None:
    body = b"192.0.2.1\n" + line + b"\n2001:db8::/32\n"
    for size in (1, 50, 200):
        chunks = [body[start : start + size] for start in range(0, len(body), size)]
        found = read(readers, chunks)
        assert (found.invalid, found.count) == (invalid, count)
        assert [fault.pointer for fault in found.skipped] == ["line 2"] * invalid


DOCUMENT = [
    "192.0.2.0/24",
    {"prefix": "192.0.2.1", "ttl": 5, "comment": "ün\nkind", "origin": "feed"},
    {"prefix": "192.0.2.1", "comment": "why", "origin": "feed"},
    "10.0.0.1/8",
    {"prefix": "2001:db8::/32", "expires_at": None},
    {"prefix": "2001:db8::/32", "unknown": 1},
]


@pytest.mark.parametrize("skip_invalid", [True, False])
@pytest.mark.parametrize("document", [DOCUMENT, DOCUMENT[:1], []])
def test_json_by_a_process_of_its_own(readers: Readers, document: list[object], skip_invalid: bool) -> None:
    body = json.dumps(document).encode()
    here = parse_json(body, now=NOW, skip_invalid=skip_invalid)
    assert same(read(readers, cut(body, [10, 50]), "json", skip_invalid=skip_invalid), here)
    body = b"\n".join(json.dumps(item).encode() for item in document)
    here = parse_ndjson(body, now=NOW, skip_invalid=skip_invalid)
    assert same(read(readers, cut(body, [10, 50]), "ndjson", skip_invalid=skip_invalid), here)


def test_what_is_no_json_is_told_as_such(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for size in (0, 1 << 20):
        monkeypatch.setattr(reading, "LONG_DOCUMENT", size)
        with pytest.raises(Unreadable) as caught:
            read(readers, [b"[1, "], "json")
        said.append(caught.value.detail)
    assert said[0] == said[1]


def test_a_process_that_dies_is_told(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Unavailable, match="ended with 1"):
        read(readers, [b"[]"], "json")


def test_a_body_that_is_cut_off_leaves_nothing(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"192.0.2.1\n" * 100
        raise ConnectionResetError

    for form in ("text", "json"):
        with pytest.raises(ConnectionResetError):
            asyncio.run(readers.read(broken(), form, NOW, skip_invalid=True))  # type: ignore[arg-type]
    assert read(readers, [b"192.0.2.1\n"]).count == 1


def children() -> set[str]:
    return {child for task in Path("/proc/self/task").glob("*/children") for child in task.read_text().split()}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def test_a_reader_that_is_given_up_ends_its_process(readers: Readers) -> None:
    async def document() -> AsyncIterator[bytes]:
        yield b"[" + b"0," * (4 << 20) + b"0]"

    before = children()

    async def give_up() -> None:
        task = asyncio.create_task(readers.read(document(), "json", NOW, skip_invalid=True))
        await until(lambda: bool(children() - before))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not children() - before)

    asyncio.run(give_up())
