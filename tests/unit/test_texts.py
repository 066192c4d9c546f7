# SPDX-License-Identifier: Apache-2.0
"""Durations, times, comments, origins: what is taken, and that everything else is refused with a reason."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpfw.model import texts


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1, 1),
        (60.0, 60),
        ("90s", 90),
        ("15m", 900),
        ("1h", 3600),
        ("7d", 604_800),
        ("42", 42),
        (3_162_240_000, 3_162_240_000),
    ],
)
def test_durations(value: object, seconds: int) -> None:
    assert texts.duration(value) == seconds


@pytest.mark.parametrize(
    "value",
    [0, -1, True, 1.5, float("nan"), float("inf"), 3_162_240_001, 10**400, "", "0s", "1w", "-1", "+1", " 1", "1 h",
     "1h30m", "\u0661", None, [60], "9" * 11, "9999999999d"],
)  # fmt: skip
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        texts.duration(value)


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2030-01-02T03:04:05Z", datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2030-01-02T03:04:05.5+02:00", datetime(2030, 1, 2, 1, 4, 5, 500_000, tzinfo=UTC)),
    ],
)
def test_instants(value: str, moment: datetime) -> None:
    assert texts.instant(value) == moment


@pytest.mark.parametrize(
    "value",
    ["2030-01-02T03:04:05", "2030-01-02", "soon", "", 1893456000, None, "9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z"],
)
def test_what_is_no_instant(value: object) -> None:
    with pytest.raises(ValueError, match=r"is not a time|time zone|lies outside"):
        texts.instant(value)


@given(st.text(max_size=40))
def test_a_comment_that_is_taken_can_be_stored_and_shown_in_one_line(text: str) -> None:
    try:
        assert texts.comment(text) == text
    except ValueError:
        return
    assert text.encode("utf-8").decode("utf-8") == text
    assert len(text.splitlines()) <= 1


@pytest.mark.parametrize("text", ["", "scanner", "ü€ \U0001f468\u200d\U0001f469", "x" * 1024])
def test_comments(text: str) -> None:
    assert texts.comment(text) == text


@pytest.mark.parametrize("value", ["a\nb", "a\tb", "a\x00", "\x7f", "\x85", "\u2028", "\ud800", "x" * 1025, None, 5])
def test_what_is_no_comment(value: object) -> None:
    with pytest.raises(ValueError, match="one line"):
        texts.comment(value)


@pytest.mark.parametrize("text", ["manual", "fail2ban:sshd", "https://example.org/list?x=1", "x" * 64])
def test_origins(text: str) -> None:
    assert texts.origin(text) == text


@pytest.mark.parametrize("value", ["", "two words", "x" * 65, "ü", "a\n", "a\x00", None, 5])
def test_what_is_no_origin(value: object) -> None:
    with pytest.raises(ValueError, match="origin"):
        texts.origin(value)
