# SPDX-License-Identifier: Apache-2.0
"""Times of the API (RFC 3339) as people read them: how long ago, how long still."""

from __future__ import annotations

from datetime import UTC, datetime

from cli.render import duration


def parse(text: str) -> datetime:
    return datetime.fromisoformat(text)


def ago(text: str | None, now: datetime | None = None) -> str:
    """`12 s ago`; a clock that is behind the daemon's makes it `now`."""
    if not text:
        return "never"
    passed = ((now or datetime.now(UTC)) - parse(text)).total_seconds()
    return f"{duration(passed)} ago" if passed >= 1 else "now"


def still(text: str | None, now: datetime | None = None) -> str:
    """`59 m` until a time, or `for ever`."""
    if not text:
        return "for ever"
    return duration((parse(text) - (now or datetime.now(UTC))).total_seconds())


def local(text: str) -> str:
    """A time in this machine's zone, to the second."""
    return parse(text).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def clock(text: str) -> str:
    """The time of day in this machine's zone, to the millisecond; what is no time as it is."""
    try:
        return parse(text).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return text
