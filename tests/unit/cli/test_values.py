# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from cli import errors, lists, times, values
from cli.errors import Failure


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604800), ("2w", 1209600), ("1h30m", 5400)],
)
def test_durations(text: str, seconds: int) -> None:
    assert values.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-1", "1.5h", "1y", "h", "1 h", "1H", "١٢", "1hh", "inf"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        values.seconds(text)


# CONTRACT: 0 done, 1 failed, 2 usage, 3 not found, 4 conflict or guard, 5 unreachable or busy, 6 not allowed
@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 1), (401, 6), (403, 6), (404, 3), (409, 4), (412, 4), (413, 1), (422, 2), (500, 1), (503, 5), (507, 1)],
)
def test_exit_codes_follow_from_the_status(status: int, code: int) -> None:
    assert errors.code_of_status(status) == code


def test_plain_lists_have_comments_blanks_and_marks() -> None:
    text = "\ufeff192.0.2.1\r\n# all\n\n 2001:db8::/32 ; SBL1 # x\n;\n198.51.100.0/24#y\n"
    assert list(values.plain_lines(text.splitlines(keepends=True))) == [
        (1, "192.0.2.1"),
        (4, "2001:db8::/32"),
        (6, "198.51.100.0/24"),
    ]


def test_standard_input_stands_where_the_dash_is() -> None:
    prefixes, places = values.prefixes_of(["192.0.2.1", "-"], ["# list\n", "192.0.2.2\n"])
    assert prefixes == ["192.0.2.1", "192.0.2.2"]
    assert places == ["", "line 2"]


def test_an_empty_standard_input_is_an_error_and_so_are_two_dashes() -> None:
    with pytest.raises(Failure, match="holds no prefix") as caught:
        values.prefixes_of(["-"], ["# nothing\n"])
    assert caught.value.code == 2
    with pytest.raises(Failure, match="once only"):
        values.prefixes_of(["-", "-"], [])


def read(text: str, form: str, **said: Any) -> tuple[list[lists.Item], list[str]]:
    return lists.read(io.BytesIO(text.encode()), form, said)


def test_a_plain_list_gives_prefixes_and_lines() -> None:
    assert read("192.0.2.1\n\n192.0.2.2 # x\n", "text") == (["192.0.2.1", "192.0.2.2"], ["line 1", "line 3"])


def test_what_is_said_goes_to_every_entry_that_says_nothing_of_its_own() -> None:
    text = json.dumps(["192.0.2.1", {"prefix": "192.0.2.2", "ttl": 5}, {"prefix": "192.0.2.3", "expires_at": "T"}])
    items, places = read(text, "json", ttl=60, comment="c")
    assert items == [
        {"prefix": "192.0.2.1", "ttl": 60, "comment": "c"},
        {"prefix": "192.0.2.2", "ttl": 5, "comment": "c"},
        {"prefix": "192.0.2.3", "expires_at": "T", "comment": "c"},
    ]
    assert places == ["item 1", "item 2", "item 3"]


def test_an_exported_entry_can_be_imported() -> None:
    exported = {
        "prefix": "192.0.2.0/24", "origin": "a", "expires_at": "2030-01-01T00:00:00Z", "ttl": 9, "comment": "",
        "packets": 7, "bytes": 700, "added_at": "2026-01-01T00:00:00Z", "claims": None,
    }  # fmt: skip
    items, _ = read(json.dumps(exported) + "\n", "ndjson")
    assert items == [{"prefix": "192.0.2.0/24", "origin": "a", "expires_at": "2030-01-01T00:00:00Z"}]


def test_every_claim_of_an_exported_entry_is_imported() -> None:
    claims = [{"origin": "a", "expires_at": None, "comment": "x"}, {"origin": "b", "expires_at": "T", "comment": ""}]
    items, places = read(json.dumps({"prefix": "192.0.2.1", "origin": "a", "claims": claims}), "ndjson")
    assert items == [
        {"prefix": "192.0.2.1", "origin": "a", "comment": "x"},
        {"prefix": "192.0.2.1", "origin": "b", "expires_at": "T"},
    ]
    assert places == ["line 1", "line 1"]


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        ("{", "json", "not JSON"),
        ('{"prefix": "192.0.2.1"}', "json", "no JSON list"),
        ("[5]", "json", "item 1 is neither"),
        ('[{"prefx": "192.0.2.1"}]', "json", "item 1 is neither"),
        ('"192.0.2.1"\n{', "ndjson", "line 2 is not JSON"),
    ],
)
def test_a_file_of_another_form_is_named(text: str, form: str, message: str) -> None:
    with pytest.raises(Failure, match=message) as caught:
        read(text, form)
    assert caught.value.code == 2


def test_the_format_follows_from_the_name_unless_it_is_said() -> None:
    assert lists.format_of("a.JSON", None) == "json"
    assert lists.format_of("a.jsonl", None) == "ndjson"
    assert lists.format_of("a.json.txt", None) == "text"
    assert lists.format_of("a.json", "text") == "text"


def test_bodies_keep_everything_in_order_and_under_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "BODY_BYTES", 100)
    items: list[lists.Item] = [f"192.0.2.{n}" for n in range(50)] + [{"prefix": "192.0.2.0/24", "comment": "ü" * 60}]
    pieces = list(lists.bodies(items))
    assert [item for _, piece in pieces for item in piece] == items
    assert [first for first, _ in pieces] == [sum(len(p) for _, p in pieces[:at]) for at in range(len(pieces))]
    sizes = [len(json.dumps(piece, ensure_ascii=False, separators=(",", ":")).encode()) for _, piece in pieces[:-1]]
    assert max(sizes) <= 100 + 2  # the brackets
    assert len(pieces[-1][1]) == 1  # larger than the limit by itself: sent alone, for the API to judge


def test_invalid_items_are_set_apart_with_their_places() -> None:
    items: list[lists.Item] = ["192.0.2.1", "192.0.2.1/8", {"prefix": "x"}]
    kept, places, skipped = lists.valid(items, ["line 1", "line 2", "line 3"])
    assert (kept, places) == (["192.0.2.1"], ["line 1"])
    assert [each["pointer"] for each in skipped] == ["line 2", "line 3"]
    assert "192.0.0.0/8" in skipped[0]["detail"]


def test_times_are_told_from_now() -> None:
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert times.ago("2026-01-01T11:59:30Z", now) == "30 s ago"
    assert times.ago("2026-01-01T12:00:05Z", now) == "now"
    assert times.ago(None, now) == "never"
    assert times.still("2026-01-01T13:00:00.5Z", now) == "1 h"
    assert times.still(None, now) == "for ever"
