# SPDX-License-Identifier: Apache-2.0
"""Bodies that nobody thought of: sound ones damaged at any place, and values of any kind where others are wanted.

A reader takes a body or refuses it as unreadable or invalid, with places; it never breaks, whatever the pieces are that
the body arrives in. For configuration documents see test_config.py.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import packets as p
from tests.unit.test_capture import block, pcap
from xdpfw.frames.capture import LONGEST_RECORD, CaptureReader
from xdpfw.frames.pcapng import CaptureWriter
from xdpfw.model.errors import InvalidInput, Unreadable
from xdpfw.model.rule_form import MATCH_FIELDS, RULE_FIELDS, parse_rules
from xdpfw.model.rule_show import show_rule
from xdpfw.policy.bulk import MAX_FAULTS, Bulk, parse_items, parse_json, parse_ndjson, parse_text
from xdpfw.policy.config import read_config

FRAMES = [
    p.ethernet(p.ip("192.0.2.1", p.udp()), pad_to=60),
    p.ethernet(
        p.ip(
            "2001:db8::1",
            p.tcp(),
        )
    ),
    b"",
    b"\xff",
]
TEXT = b"# a list\n192.0.2.1\n10.0.0.0/8 ; ten\r\n2001:db8::/32\n::ffff:192.0.2.2\n"
ITEMS = [
    "192.0.2.1",
    {"prefix": "10.0.0.0/8", "ttl": 60, "comment": "scans", "origin": "feed"},
    {"prefix": "2001:db8::/32", "expires_at": "2030-01-02T03:04:05Z"},
]
NDJSON = b"\n".join(json.dumps(item).encode() for item in ITEMS)


def _written() -> bytes:
    writer = CaptureWriter("test", 128)
    packets = [writer.packet("wan0", 1, each, len(each), drop=True, queue=0, comment="rule r") for each in FRAMES]
    return writer.begin() + b"".join(packets) + block(3, b"\x3c\0\0\0" + FRAMES[0]) + block(99, b"none")


CAPTURES = [pcap(*FRAMES), pcap(*FRAMES, order=">"), _written()]


@st.composite
def damaged(draw: Any, sound: list[bytes]) -> bytes:
    """Up to four places set, cut out, repeated or filled with noise."""
    body = bytearray(draw(st.sampled_from(sound)))
    for _ in range(draw(st.integers(0, 4))):
        at, length = draw(st.integers(0, len(body))), draw(st.integers(0, 8))
        with_what = draw(st.sampled_from((b"", bytes(body[at : at + length]) * 2, b"\xff" * 4, None)))
        body[at : at + length] = draw(st.binary(max_size=8)) if with_what is None else with_what
    return bytes(body)


def read_capture(body: bytes, ends: list[int]) -> tuple[list[Any], str]:
    """The records, and why there are no more of them. `ends` of the pieces."""
    reader, found = CaptureReader(), []
    cuts = [0, *sorted(min(end, len(body)) for end in ends), len(body)]
    try:
        for start, end in itertools.pairwise(cuts):
            found.extend(reader.feed(body[start:end]))
        reader.finish()
    except Unreadable as error:
        return found, error.detail
    return found, ""


@given(damaged(CAPTURES), st.lists(st.integers(0, 500), max_size=6))
@settings(max_examples=200, deadline=None)
def test_captures_mean_the_same_in_whatever_pieces_they_come(body: bytes, ends: list[int]) -> None:
    whole, why = read_capture(body, [])
    assert read_capture(body, ends) == (whole, why)
    assert sum(len(record.data) for record in whole) <= len(body)
    assert all(len(record.data) <= record.length for record in whole)


@pytest.mark.parametrize("body", CAPTURES, ids=["pcap", "big-endian", "pcapng"])
def test_captures_that_are_sound_are_read_to_their_end(body: bytes) -> None:
    found, why = read_capture(body, list(range(0, len(body), 7)))
    assert why == ""
    assert [record.data for record in found[: len(FRAMES)]] == FRAMES


@pytest.mark.parametrize("size", [LONGEST_RECORD + 1, 0xFFFFFFFF])
def test_what_a_capture_announces_is_not_waited_for(size: int) -> None:
    """Else a few bytes would have gigabytes kept."""
    with pytest.raises(Unreadable, match="damaged"):
        list(CaptureReader().feed(pcap() + bytes(8) + size.to_bytes(4, "little") * 2))


READERS: dict[str, tuple[list[bytes], Callable[..., Bulk]]] = {
    "text": ([TEXT], lambda body, **options: parse_text(body, skip_invalid=options["skip_invalid"])),
    "json": ([json.dumps(ITEMS).encode()], parse_json),
    "ndjson": ([NDJSON], parse_ndjson),
}


@pytest.mark.parametrize("form", READERS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_lists_are_read_or_refused_with_places(form: str, data: Any) -> None:
    sound, read = READERS[form]
    body = data.draw(damaged(sound))
    try:
        strict, lenient = (read(body, now=0, skip_invalid=skip) for skip in (False, True))
    except Unreadable:
        assert form == "json", "a line that is wrong is one fault, not all"
        return
    assert len(strict.faults) == min(lenient.invalid, MAX_FAULTS)
    assert [fault.pointer for fault in strict.faults] == [fault.pointer for fault in lenient.skipped]
    assert lenient.faults == ()
    assert strict.faults or strict.count == lenient.count


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12)
    | st.sampled_from(["tcp", "10.0.0.0/8", "!block", "80-90", "syn,ack/syn", "none", "wan0", "drop", "limit"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
ENTRIES = st.dictionaries(st.sampled_from(["prefix", "ttl", "expires_at", "comment", "origin"]), VALUES, max_size=4)
MATCHES = st.dictionaries(st.sampled_from(MATCH_FIELDS), VALUES, max_size=3)
RULES = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b"]) | VALUES, "action": st.sampled_from(["pass", "drop"]) | VALUES},
    optional={
        name: MATCHES | VALUES if name == "match" else VALUES for name in RULE_FIELDS if name not in ("id", "action")
    },
)


@given(st.lists(ENTRIES | VALUES, max_size=4))
@settings(max_examples=150, deadline=None)
def test_entries_of_any_kind_are_read_or_refused_with_places(items: list[Any]) -> None:
    strict, lenient = (parse_items(items, now=0, skip_invalid=skip) for skip in (False, True))
    assert [fault.pointer for fault in strict.faults] == [fault.pointer for fault in lenient.skipped]
    assert lenient.count <= len(items) - lenient.invalid


@given(st.lists(RULES | VALUES, max_size=3))
@settings(max_examples=250, deadline=None)
def test_rules_are_read_or_refused_with_places(documents: list[Any]) -> None:
    try:
        rules = parse_rules(documents)
    except InvalidInput as error:
        assert error.faults
        return
    assert parse_rules([show_rule(rule) for rule in rules]) == rules


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("policy", "rules", "sets", "interfaces"), VALUES)) | VALUES)
@settings(max_examples=150, deadline=None)
def test_configurations_are_read_or_refused_with_places(document: Any) -> None:
    try:
        read_config(document, 0)
    except InvalidInput as error:
        assert error.faults
