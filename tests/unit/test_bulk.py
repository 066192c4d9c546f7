# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress
import json
import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.strategies import prefixes
from xdpfw.model.errors import Unreadable
from xdpfw.model.prefix import FAMILIES, InvalidPrefix, Prefix
from xdpfw.policy import bulk_text
from xdpfw.policy import keys as k
from xdpfw.policy.bulk import UNSET, Bulk, parse_json, parse_ndjson, parse_text
from xdpfw.policy.ops import NEVER

NOW = 1_700_000_000_000_000_000
SECOND = 1_000_000_000

ODD = [
    "",
    " ",
    "10.0.0.1",
    " 10.0.0.1 ",
    "\t10.0.0.0/8",
    "10.0.0.0/08",
    "10.0.0.0/008",
    "10.0.0.0/33",
    "10.0.0.1/8",
    "010.0.0.1",
    "10.0.0.0/",
    "/8",
    "10.0.0.0/-1",
    "10.0.0.0/+8",
    "10.0.0.0/8/8",
    "10.0.0/8",
    "1.2.3.4.5",
    "1.2.3.256",
    "1.2.3.00",
    "0.0.0.0",
    "0.0.0.0/0",
    "00.0.0.0",
    "1.2.3.4x",
    "1..2.3",
    ".1.2.3",
    "1.2.3.",
    "1.2.3.4/255.0.0.0",
    "1 .2.3.4",
    "1.2.3.4 /8",
    "٣.2.3.4",
    "1.2.3.4/٨",
    "::",
    "::/0",
    "::1/128",
    "2001:db8::/32",
    "2001:DB8::/032",
    "2001:db8::1/32",
    "::ffff:1.2.3.4",
    "::ffff:1.2.3.0/120",
    "::ffff:1.2.3.4/95",
    "::ffff:0:0/96",
    "::ffff:0:0/90",
    "::1.2.3.4",
    "::01.2.3.4",
    "fe80::1%eth0",
    "1::2::3",
    ":1",
    "12345::",
    "::/129",
    "1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7::",
    "::1/",
    "::1\x00",
    "1.2.3.4\x00",
    "host",
    "\uff11.2.3.4",
    "::1/1_0",
    "\x0b1.2.3.4\x0c",
    "1.2.3.4\r",
    "\x851.2.3.4",
    "999999999999999999999.1.1.1",
    "1.2.3.4/" + "0" * 30 + "8",
    "1.2.3.4/" + "0" * 5000,
    "1.2.3.4/" + "1" * 5000,
]

LINES = st.one_of(
    st.lists(st.sampled_from(("", "0", "1", "ffff", "Db8", "00a0")), max_size=9).map(":".join),
    st.integers(0, 2**128 - 1).map(lambda number: str(ipaddress.IPv6Address(number))),
    st.sampled_from(ODD),
    prefixes().map(str),
    prefixes().map(lambda prefix: str(prefix.network.network_address)),
    st.text("0123456789./: abcf", max_size=24),
    st.text(max_size=8).filter(lambda text: not set(text) & set("\n#;")),
)


@pytest.fixture(autouse=True, scope="module", params=[(0, 64), (1 << 30, 1 << 20)], ids=["together", "one by one"])
def ways_to_read(request: pytest.FixtureRequest) -> Iterator[None]:
    """IPv6 lines all at once, in small pieces; and each by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk_text, "FEW", request.param[0])
        patch.setattr(bulk_text, "PIECE", request.param[1])
        yield


def expected(lines: list[str]) -> tuple[set[Prefix], list[int]]:
    """What the lines mean, one by one, and the numbers of the bad ones."""
    good, bad = set(), []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                good.add(Prefix.parse(line))
            except InvalidPrefix:
                bad.append(number)
    return good, bad


def found(bulk: Bulk) -> set[Prefix]:
    return {k.prefix_of(family, key) for family in FAMILIES for key in bulk.rows[family].keys}


def check(bulk: Bulk, good: set[Prefix], bad: list[int]) -> None:
    assert found(bulk) == good
    assert bulk.count == len(good)
    assert bulk.invalid == len(bad)
    assert [fault.pointer for fault in bulk.skipped] == [f"line {number}" for number in bad[:100]]
    for family in FAMILIES:
        assert (k.unique(bulk.rows[family].keys) == bulk.rows[family].keys).all()


@settings(max_examples=300)
@given(st.lists(LINES, max_size=30), st.sampled_from(("\n", "\r\n")), st.booleans())
def test_text_means_what_its_lines_mean(lines: list[str], newline: str, bom: bool) -> None:
    lines = [line.replace("\n", "") for line in lines]
    body = newline.join(lines).encode("utf-8", "surrogatepass")
    check(parse_text(b"\xef\xbb\xbf" * bom + body, skip_invalid=True), *expected(lines))


@pytest.mark.parametrize("line", ODD)
def test_odd_lines_one_by_one(line: str) -> None:
    check(parse_text(line.encode(), skip_invalid=True), *expected([line]))


def test_comments_blank_lines_and_duplicates() -> None:
    body = (
        b"# list\n; too\n\n192.0.2.0/24 ; SBL1 # twice\n  192.0.2.1#host\n2001:db8::/32\t\t; v6\n192.0.2.0/24\n \t \n#"
    )
    bulk = parse_text(body)
    assert found(bulk) == {Prefix.parse(text) for text in ("192.0.2.0/24", "192.0.2.1", "2001:db8::/32")}
    assert bulk.invalid == 0
    assert parse_text(b"").count == 0


def test_comments_need_not_be_utf8() -> None:
    assert parse_text(b"192.0.2.0/24 # caf\xe9\n").count == 1
    assert parse_text(b"caf\xe9\n").invalid == 1


def test_without_skipping_the_first_faults_are_told() -> None:
    bulk = parse_text(b"192.0.2.0/24\n10.0.0.1/8\nhost\n")
    assert [fault.pointer for fault in bulk.faults] == ["line 2", "line 3"]
    assert "10.0.0.0/8" in bulk.faults[0].detail
    assert bulk.skipped == ()
    assert len(parse_text(b"host\n" * 1000).faults) == 100


def test_long_runs_of_blanks_take_linear_time() -> None:
    body = b"192.0.2.0/24" + b" " * 300_000 + b"x\n" + b" " * 300_000
    began = time.process_time()
    assert parse_text(body, skip_invalid=True).invalid == 1
    assert time.process_time() - began < 2  # a quadratic scan takes minutes


def one(bulk: Bulk, text: str) -> tuple[int | None, str | None, str | None]:
    """Expiry, comment and origin of the only row of a prefix."""
    prefix = Prefix.parse(text)
    rows = bulk.rows[prefix.family]
    (at,) = (index for index, key in enumerate(rows.keys) if k.prefix_of(prefix.family, key) == prefix)
    assert rows.expires is not None and rows.comments is not None and rows.origins is not None
    texts = [None if column[at] == UNSET else bulk.texts[column[at]] for column in (rows.comments, rows.origins)]
    return (None if rows.expires[at] == UNSET else int(rows.expires[at])), texts[0], texts[1]


def test_json_list_of_prefixes_and_entries() -> None:
    body = [
        "192.0.2.0/24",
        {"prefix": "192.0.2.1", "ttl": 60, "comment": "why", "origin": "feed"},
        {"prefix": "2001:db8::/32", "expires_at": "2030-01-01T00:00:00Z"},
        {"prefix": "198.51.100.0/24", "ttl": None},
        {"prefix": "198.51.100.1", "ttl": "1h"},
    ]
    bulk = parse_json(json.dumps(body).encode(), now=NOW)
    assert one(bulk, "192.0.2.0/24") == (None, None, None)
    assert one(bulk, "192.0.2.1") == (NOW + 60 * SECOND, "why", "feed")
    assert one(bulk, "2001:db8::/32") == (1_893_456_000 * SECOND, None, None)
    assert one(bulk, "198.51.100.0/24") == (NEVER, None, None)
    assert one(bulk, "198.51.100.1") == (NOW + 3600 * SECOND, None, None)


@pytest.mark.parametrize(
    "item",
    [
        1,
        None,
        [],
        {},
        {"prefix": 5},
        {"prefix": "host"},
        {"prefix": "192.0.2.1", "tll": 60},
        {"prefix": "192.0.2.1", "ttl": 0},
        {"prefix": "192.0.2.1", "ttl": -1},
        {"prefix": "192.0.2.1", "ttl": True},
        {"prefix": "192.0.2.1", "ttl": "soon"},
        {"prefix": "192.0.2.1", "ttl": 0.5},
        {"prefix": "192.0.2.1", "ttl": 10**400},
        {"prefix": "192.0.2.1", "expires_at": "9999-12-31T23:59:59Z"},
        {"prefix": "192.0.2.1", "comment": "two\nlines"},
        {"prefix": "192.0.2.1", "comment": "\ud800"},
        {"prefix": "192.0.2.1", "origin": "two words"},
        {"prefix": "192.0.2.1", "ttl": 1e300},
        {"prefix": "192.0.2.1", "expires_at": "soon"},
        {"prefix": "192.0.2.1", "comment": 1},
        {"prefix": "192.0.2.1", "expires_at": "2030-01-01T00:00:00"},
        "192.0.2.1 # no comment in JSON",
        "",
        " ",
        "192.0.2.1\n192.0.2.2",
        {"prefix": "192.0.2.1", "origin": "x" * 1025},
        {"prefix": "192.0.2.1", "ttl": float("nan")},
    ],
)
def test_json_items_that_are_refused(item: object) -> None:
    body = json.dumps(["198.51.100.1", item, "198.51.100.2"]).encode()
    bulk = parse_json(body, now=NOW)
    assert [fault.pointer for fault in bulk.faults] == ["/1"]
    assert parse_json(body, now=NOW, skip_invalid=True).count == 2


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'"192.0.2.1"', b"\xff\xfe", b"[" * 100_000])
def test_json_that_cannot_be_read(body: bytes) -> None:
    with pytest.raises(Unreadable):
        parse_json(body, now=NOW)


def test_ndjson_reads_what_an_export_gives() -> None:
    line = {
        "prefix": "192.0.2.0/24",
        "origin": "feed",
        "expires_at": "2030-01-01T00:00:00Z",
        "ttl": 5,
        "comment": "c",
        "packets": 1,
        "bytes": 2,
        "added_at": "2020-01-01T00:00:00Z",
    }
    body = json.dumps(line) + '\n"192.0.2.1"\n\n{broken\r\n"2001:db8::1"'
    bulk = parse_ndjson(body.encode(), now=NOW, skip_invalid=True)
    assert one(bulk, "192.0.2.0/24") == (1_893_456_000 * SECOND, "c", "feed")
    assert found(bulk) == {Prefix.parse(text) for text in ("192.0.2.0/24", "192.0.2.1", "2001:db8::1")}
    assert [fault.pointer for fault in bulk.skipped] == ["line 4"]


def test_a_bulk_travels_between_processes() -> None:
    bulk = parse_json(b'[{"prefix": "192.0.2.1", "ttl": 1}, "2001:db8::1"]', now=NOW)
    assert found(pickle.loads(pickle.dumps(bulk))) == found(bulk)


@pytest.mark.corpora
def test_peer_vectors(corpora: Path) -> None:
    """Spelling is judged as a peer judges it; host bits, which the peer takes, are refused here."""
    lines = (corpora / "vectors" / "prefix_parse_v4_bpfilter.tsv").read_text().splitlines()[1:]
    assert lines
    for text, verdict in (line.split("\t") for line in lines):
        bulk = parse_text(text.encode())
        accepted = not bulk.faults or "host bits" in bulk.faults[0].detail
        assert accepted == (verdict == "accept"), text


@pytest.mark.corpora
@pytest.mark.parametrize(
    "name", ["bitwire_outbound_ipv6.txt", "github_ipv4.txt", "spamhaus_drop_20260820.txt", "country_us_v6.cidr"]
)
def test_real_lists_line_by_line(corpora: Path, name: str) -> None:
    body = (corpora / "prefixes" / name).read_bytes()
    lines = [line.split("#")[0].split(";")[0] for line in body.decode().splitlines()]
    check(parse_text(body, skip_invalid=True), *expected(lines))
