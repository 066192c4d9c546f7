# SPDX-License-Identifier: Apache-2.0
"""What people and programs write in words: durations, times, comments, origins. Each raises ValueError, which says what
would do."""

from __future__ import annotations

import re
from datetime import UTC, datetime

MAX_TTL = 100 * 366 * 86_400
"""Seconds, a century: beyond it, an entry without ttl (for ever) is meant. Times stay far inside 64-bit nanoseconds."""
LAST_YEAR = 2200
MAX_COMMENT = 1024
MAX_ORIGIN = 64

_DURATION = re.compile(r"([0-9]{1,10})([smhd]?)")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
# Line breaks and control characters, which garble tables and lists, and surrogates, which no encoding can store.
_UNFIT = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ORIGIN = re.compile(f"[!-~]{{1,{MAX_ORIGIN}}}")


def duration(value: object) -> int:
    """Seconds from a number or from text such as `90s`, `15m`, `1h`, `7d`."""
    seconds = 0
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        seconds = value
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = int(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= MAX_TTL:
        shown = "that number" if isinstance(value, int) and seconds > MAX_TTL else repr(value)[:40]
        raise ValueError(
            f"{shown} is not a duration: whole seconds, or 90s, 15m, 1h, 7d; at least 1 s, at most a century"
        )
    return seconds


def instant(value: object) -> datetime:
    """A time as in RFC 3339, with its zone."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise ValueError(f"{str(value)[:40]!r} is not a time as in RFC 3339, such as 2030-01-02T03:04:05Z")
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone; end it with Z for UTC")
    if not 1970 < moment.year <= LAST_YEAR:
        raise ValueError(f"{value!r} lies outside the years 1971 to {LAST_YEAR}")
    return moment.astimezone(UTC)


def ethertype(value: object) -> int:
    """`0x88cc` or 35020. Below 0x600 it would be a length (IEEE 802.3, 3.2.6)."""
    number = value
    if isinstance(value, str) and re.fullmatch("0x[0-9A-Fa-f]{1,4}", value):
        number = int(value, 16)
    if isinstance(number, bool) or not isinstance(number, int) or not 0x600 <= number <= 0xFFFF:
        raise ValueError(f"{str(value)[:40]!r} is not an EtherType: 0x0600 to 0xffff")
    return number


def comment(value: object) -> str:
    """One line of text."""
    if not isinstance(value, str) or len(value) > MAX_COMMENT or _UNFIT.search(value):
        raise ValueError(f"a comment is one line of at most {MAX_COMMENT} characters")
    return value


def origin(value: object) -> str:
    """Who claims an entry, such as `manual` or `fail2ban:sshd`."""
    if not isinstance(value, str) or not _ORIGIN.fullmatch(value):
        raise ValueError(f"an origin is 1 to {MAX_ORIGIN} printable ASCII characters without spaces")
    return value
