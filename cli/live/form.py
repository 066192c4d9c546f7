# SPDX-License-Identifier: Apache-2.0
"""Text that is typed: one line, and the box that asks for an entry. Keys come one by one, in their order."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cli.errors import Failure, Refused
from cli.live.changes import Change, Wish, about, network_of
from cli.live.reading import Talker
from cli.live.text import Hints, Line, fit, wrap
from cli.values import seconds

_WORDS = {"block": "Block", "allow": "Allow"}
_LABEL = 15
_SAID_LINES = 4


@dataclass(slots=True)
class Field:
    """One line of text with a cursor. What it begins with is replaced by the first character typed (`fresh`)."""

    text: str = ""
    allowed: Callable[[str], bool] = str.isprintable
    fresh: bool = True
    at: int = -1

    def __post_init__(self) -> None:
        self.at = len(self.text)

    def press(self, key: str) -> bool:
        """Whether it was a key for this field: a character, or the name of a key that edits."""
        moves = {"left": self.at - 1, "right": self.at + 1, "home": 0, "end": len(self.text)}
        if key in moves:
            self.at = min(max(moves[key], 0), len(self.text))
        elif len(key) == 1:
            if not self.allowed(key):
                return True
            self._replace(0 if self.fresh else self.at, len(self.text) if self.fresh else self.at, key)
        elif key in ("backspace", "ctrl+h"):
            self._replace(0 if self.fresh else max(0, self.at - 1), len(self.text) if self.fresh else self.at)
        elif key == "delete":
            self._replace(self.at, self.at + 1)
        elif key == "ctrl+u":
            self._replace(0, len(self.text))
        else:
            return False
        self.fresh = False
        return True

    def _replace(self, start: int, end: int, by: str = "") -> None:
        self.text = self.text[:start] + by + self.text[end:]
        self.at = start + len(by)

    def line(self, width: int, *, active: bool) -> Line:
        """The part around the cursor, which is shown reversed."""
        start = max(0, self.at - width + 1)
        shown = fit(self.text[start : start + width], width)
        if not active:
            return [(shown, "")]
        at = self.at - start
        style = "field" if not self.fresh else "fresh"
        return [(shown[:at], style), (shown[at], "cursor"), (shown[at + 1 :], "field")]


Submit = Callable[[Wish, bool, Callable[[Change | Failure], None]], None]


class EntryForm:
    """Asks for prefix length, time and comment, and has the entry made: `submit(wish, force, then)` calls `then` with
    the outcome. A refusal stays in the box, where it can be mended. `close(outcome)` ends it, with None if that is not
    known (yet): what was asked for already goes on, and its outcome is told all the same."""

    keys: Hints = (("Enter", "do it"), ("Tab", "next field"), ("Esc", "cancel"))

    def __init__(
        self,
        name: str,
        talker: Talker,
        talkers: Sequence[Talker],
        ttl: str,
        submit: Submit,
        close: Callable[[Change | Failure | None], None],
    ) -> None:
        self._set, self._talker, self._talkers, self._submit, self._close = name, talker, talkers, submit, close
        self._most = ipaddress.ip_address(talker.address).max_prefixlen
        self.fields = [Field(str(self._most), allowed="0123456789".__contains__), Field(ttl), Field()]
        self._active = 0
        self._busy = self._closed = False
        self._refusal: Failure | None = None

    def press(self, key: str) -> None:
        if key == "escape":
            self._closed = True
            self._close(None)
        elif key == "enter":
            self._do(force=False)
        elif key == "ctrl+f" and self._guarded:
            self._do(force=True)
        elif key in ("tab", "down", "shift+tab", "up"):
            self._active = (self._active + (1 if key in ("tab", "down") else -1)) % len(self.fields)
        elif not self._busy and self.fields[self._active].press(key):
            self._refusal = None

    @property
    def _guarded(self) -> bool:
        return isinstance(self._refusal, Refused) and self._refusal.guarded

    def wish(self) -> Wish:
        """Raises ValueError, for people."""
        length, ttl, comment = (field.text.strip() for field in self.fields)
        if not length or int(length) > self._most:
            raise ValueError(f"a prefix length is 0 to {self._most} here")
        prefix = network_of(self._talker.address, int(length))
        return Wish(self._set, prefix, seconds(ttl) if ttl else None, comment)

    def _do(self, *, force: bool) -> None:
        if self._busy:
            return
        try:
            wish = self.wish()
        except ValueError:
            return
        self._busy, self._refusal = True, None
        self._submit(wish, force, self._done)

    def _done(self, outcome: Change | Failure) -> None:
        self._busy = False
        if isinstance(outcome, Change) or self._closed:
            self._close(outcome)
        else:
            self._refusal = outcome

    def lines(self, width: int, height: int) -> tuple[list[Line], int | None]:
        room = min(60, max(8, width - _LABEL - 4))
        lines: list[Line] = [[], [("  ", ""), (f"{_WORDS[self._set]} {self._talker.address}", "bold")], []]
        for at, (field, label) in enumerate(zip(self.fields, ("prefix length", "for", "comment"), strict=True)):
            lines.append([("  ", ""), (fit(label, _LABEL), "dim"), *field.line(room, active=at == self._active)])
        for text, style in (("", ""), *self._said()):
            lines += [[("  ", ""), (line, style)] for line in wrap(text, width - 4, _SAID_LINES) or [""]]
        return lines[-height:], None

    def _said(self) -> list[tuple[str, str]]:
        if self._busy:
            return [("asking the daemon…", "dim")]
        if self._refusal is not None:
            notes = [*self._refusal.notes, *(["Ctrl-F does it all the same"] if self._guarded else [])]
            return [(self._refusal.message, "trouble"), *((note, "") for note in notes)]
        try:
            wish = self.wish()
        except ValueError as error:
            return [(str(error), "warning")]
        long = "" if wish.ttl else "for ever; 90s, 15m, 1h, 7d say how long"
        return [(about(wish.prefix, self._talkers), ""), (long, "dim")]
