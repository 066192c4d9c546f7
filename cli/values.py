# SPDX-License-Identifier: Apache-2.0
"""What people type: durations, lists of prefixes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from cli.errors import USAGE, Failure

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:[0-9]+[smhdw])+")


def seconds(text: str) -> int:
    """A duration in seconds: `90`, `90s`, `15m`, `1h`, `7d`, `2w`, `1h30m`.

    Raises ValueError (which argparse shows) for anything else, and for nothing at all: a ban of 0 s is no ban.
    """
    text = text.strip()
    if text.isascii() and text.isdigit():
        total = int(text)
    elif _DURATION.fullmatch(text):
        total = sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhdw])", text))
    else:
        raise ValueError(f"{text!r} is not a duration: write 90s, 15m, 1h, 7d")
    if total == 0:
        raise ValueError("a duration must be longer than 0 s")
    return total


def bytes_of(text: str) -> int:
    """A number of bytes: `4096`, `100k`, `100M`, `2G` (powers of 1,000). Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,12})([kMG]?)B?", text.strip(), re.ASCII)
    if not match or not int(match[1]):
        raise ValueError(f"{text!r} is not a size: write 4096, 100k, 100M, 2G")
    return int(match[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[match[2]]


def without_comment(line: str) -> str:
    """One line of a plain list: what stands before `#` or `;`, without blanks."""
    return line.partition("#")[0].partition(";")[0].strip()


def plain_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(line number, prefix) of every line of a plain list that holds one. A byte order mark is no text."""
    for number, line in enumerate(lines, 1):
        text = without_comment(line.removeprefix("\ufeff") if number == 1 else line)
        if text:
            yield number, text


def prefixes_of(words: list[str], stdin: Iterable[str]) -> tuple[list[str], list[str]]:
    """The prefixes that the arguments name, and the line of those that standard input (`-`) gave."""
    if words.count("-") > 1:
        raise Failure(USAGE, "'-' reads standard input and can be given once only")
    prefixes: list[str] = []
    places: list[str] = []
    for word in words:
        if word == "-":
            for number, text in plain_lines(stdin):
                prefixes.append(text)
                places.append(f"line {number}")
        else:
            prefixes.append(word)
            places.append("")
    if not prefixes:
        raise Failure(USAGE, "standard input holds no prefix; nothing was changed")
    return prefixes, places
