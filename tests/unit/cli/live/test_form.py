# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.errors import Failure, Refused
from cli.live.changes import Change, Wish, about, network_of
from cli.live.form import EntryForm, Field
from tests.unit.cli.live.values import talker, text


def typed(one: Field, *keys: str) -> Field:
    for key in keys:
        one.press(key)
    return one


def test_the_first_character_replaces_what_was_proposed_and_an_edit_keeps_it() -> None:
    assert typed(Field("32"), "2", "4").text == "24"
    assert typed(Field("32"), "end", "0").text == "320"
    assert typed(Field("32"), "left", "backspace", "1").text == "12"
    assert typed(Field("32"), "backspace").text == ""
    assert typed(Field("block", fresh=False), "s").text == "blocks"


def test_editing_keys() -> None:
    one = typed(Field(), *"abc")
    assert typed(one, "home", "x").text == "xabc"
    assert typed(one, "right", "delete").text == "xac"
    assert typed(one, "end", "backspace").text == "xa"
    assert typed(one, "left", "left", "left", "delete").text == "a"
    assert typed(one, "end", "right", "b").text == "ab"
    assert typed(one, "ctrl+u").text == ""
    assert typed(one, "backspace", "delete", "left").text == ""
    assert not one.press("f5")
    assert typed(Field(allowed=str.isdigit), *"1a2.").text == "12"


@given(
    st.lists(st.sampled_from(["a", "b", " ", "left", "right", "home", "end", "backspace", "delete"])), st.integers(2, 9)
)
def test_the_cursor_stays_in_the_text_and_is_always_shown(keys: list[str], width: int) -> None:
    one = typed(Field(), *keys)
    assert 0 <= one.at <= len(one.text)
    line = one.line(width, active=True)
    assert len(text(line)) == width
    assert [len(piece) for piece, style in line if style == "cursor"] == [1]


@dataclass
class Asked:
    """Stands for the thread that makes the entry."""

    wishes: list[tuple[Wish, bool]] = field(default_factory=list)
    then: Callable[[Change | Failure], None] | None = None
    closed: list[Change | None] = field(default_factory=list)

    def submit(self, wish: Wish, force: bool, then: Callable[[Change | Failure], None]) -> None:
        self.wishes.append((wish, force))
        self.then = then

    def form(self, address: str = "192.0.2.77", ttl: str = "1h") -> EntryForm:
        talkers = [talker("192.0.2.77", 10), talker("192.0.2.78", 5), talker("198.51.100.1", 7)]
        return EntryForm("block", talker(address, 10), talkers, ttl, self.submit, self.closed.append)


def press(form: EntryForm, *keys: str) -> str:
    """What the box shows afterwards."""
    for key in keys:
        form.press(key)
    return "\n".join(text(line) for line in form.lines(80, 20)[0])


def test_as_proposed_it_is_the_host_for_an_hour() -> None:
    asked = Asked()
    shown = press(asked.form(), "enter")
    assert asked.wishes == [(Wish("block", "192.0.2.77/32", 3600, ""), False)]
    assert "asking the daemon" in shown


def test_what_is_typed_ahead_lands_in_its_field() -> None:
    asked = Asked()
    press(asked.form(), "2", "4", "tab", "1", "5", "m", "tab", *"scans a lot", "enter")
    assert asked.wishes == [(Wish("block", "192.0.2.0/24", 900, "scans a lot"), False)]


def test_an_empty_time_is_for_ever() -> None:
    asked = Asked()
    shown = press(asked.form(), "down", "backspace")
    assert "for ever" in shown
    press(form := asked.form("2001:db8::7", ttl=""), "enter")
    assert asked.wishes == [(Wish("block", "2001:db8::7/128", None, ""), False)]
    press(form, "enter")
    assert len(asked.wishes) == 1  # the first is still under way


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        (("3", "3"), "0 to 32"),
        (("backspace",), "0 to 32"),
        (("tab", "x"), "not a duration"),
        (("tab", "0"), "longer than 0"),
    ],
)
def test_what_cannot_be_is_said_and_not_sent(keys: tuple[str, ...], why: str) -> None:
    asked = Asked()
    assert why in press(asked.form(), *keys, "enter")
    assert asked.wishes == []


def test_it_tells_what_lies_in_the_prefix() -> None:
    shown = press(Asked().form(), "2", "4")
    assert "192.0.2.0/24: 256 addresses; of the talkers shown 2, now 15 pps together" in shown
    assert about("192.0.2.77/32", [talker("192.0.2.77", 10)]).startswith("192.0.2.77/32: 1 address; ")
    assert about("2001:db8::/32", []).startswith("2001:db8::/32: 4.29 G networks of /64; of the talkers shown 0")
    assert network_of("2001:db8::7", 32) == "2001:db8::/32"


def test_a_refusal_stays_until_it_is_mended() -> None:
    asked = Asked()
    form = asked.form()
    press(form, "enter")
    assert asked.then is not None
    asked.then(Refused(422, "no such thing", [], "write it so"))
    shown = press(form)
    assert "no such thing" in shown
    assert "write it so" in shown
    assert "Ctrl-F" not in shown
    assert "no such thing" not in press(form, "ctrl+f", "2")
    assert len(asked.wishes) == 1
    assert asked.closed == []


def test_a_guard_can_be_overridden_on_purpose_only() -> None:
    asked = Asked()
    form = asked.form()
    press(form, "0", "enter")
    assert asked.then is not None
    asked.then(Refused(409, "it covers everything", [], guarded=True))
    assert "Ctrl-F does it all the same" in press(form)
    press(form, "ctrl+f")
    assert asked.wishes == [(Wish("block", "0.0.0.0/0", 3600), False), (Wish("block", "0.0.0.0/0", 3600), True)]


def test_the_outcome_or_escape_closes_it() -> None:
    asked = Asked()
    press(asked.form(), "escape")
    assert asked.closed == [None]
    press(asked.form(), "enter")
    change = Change(asked.wishes[0][0], None, None, {"effective": "drop"})
    assert asked.then is not None
    asked.then(change)
    assert asked.closed == [None, change]
