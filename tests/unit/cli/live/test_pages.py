# SPDX-License-Identifier: Apache-2.0
"""The keys that open something: one address, a form, events, help; and the ways out."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from cli.live.desk import Desk
from cli.live.pages import KEYS
from cli.live.rows import View
from tests.canned import Asked, Canned, Told, problem
from tests.unit.cli.given import WRITTEN, entry
from tests.unit.cli.live.screen import Talking, run, showing

A, B, C = "192.0.2.1", "198.51.100.7", "2001:db8::1"
ENTRY = f"/sets/block/entries/{B}/32"


PAGE = {
    "address": B, "verdict": "drop", "rule": "block", "because": "it stands in block",
    "matches": [{"set": "block", "prefix": "198.51.100.0/24", "origin": "feed", "expires_at": None, "comment": "why",
                 "packets": 5, "bytes": 500}],
    "interfaces": [],
}  # fmt: skip


def test_enter_opens_the_address_live(daemon: Canned, talking: Talking) -> None:
    page = dict(PAGE)
    daemon.tells["GET", f"/addresses/{B}"] = lambda _: Told(document=page)

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("down", "down", "enter")
            await shown.shows(f"{B} is dropped: it stands in block", "198.51.100.0/24", "feed", "why")
            await shown.shows("passed", "dropped")
            page.update(verdict="pass", because="no rule matches")
            await shown.shows(f"{B} passes: no rule matches")
            daemon.tells["GET", f"/addresses/{B}"] = problem(503, "the kernel sleeps")
            await shown.shows("the kernel sleeps; trying again")
            await shown.press("escape")
            await shown.until(lambda: shown.addresses == [A, B, C], "the table again")
            many = [each.path for each in daemon.asked].count(f"/addresses/{B}")
            await shown.until(lambda: len(daemon.asked) > 0 and shown.addresses, "the page is closed")
            assert [each.path for each in daemon.asked].count(f"/addresses/{B}") <= many + 1

    run(test)


def blocked(daemon: Canned, *, name: str = "block", prefix: str = f"{B}/32", **written: Any) -> None:
    """The entry is not there until it is added."""
    there: list[bool] = []
    path = f"/sets/{name}/entries"

    def add(asked: Asked) -> Told:
        there.append(True)
        return Told(document=WRITTEN | written)

    def gone(asked: Asked) -> Told:
        there.clear()
        return Told(204, headers={"X-Revision": "9"})

    daemon.tells["GET", f"{path}/{prefix}"] = lambda _: (
        Told(document=entry(prefix), headers={"ETag": '"e1"'}) if there else problem(404, "no such entry")
    )
    daemon.tells["PATCH", path] = add
    daemon.tells["DELETE", f"{path}/{prefix}"] = gone


def test_b_blocks_and_z_undoes(daemon: Canned, talking: Talking) -> None:
    blocked(daemon)

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("z")
            await shown.shows("nothing to undo")
            await shown.press("down", "down", "b")
            await shown.shows(f"Block {B}", "prefix length  32", "for            1h", f"{B}/32: 1 address")
            await shown.press("tab", *"10m", "tab", *"too much", "enter")
            await shown.shows(f"blocked {B}/32 for 10 m; z undoes it")
            [added] = talking.writes()
            assert (added.method, added.path) == ("PATCH", "/sets/block/entries")
            claim = {"prefix": f"{B}/32", "ttl": 600, "comment": "too much", "origin": "manual"}
            assert added.document == {"add": [claim]}
            await shown.press("z")
            await shown.shows(f"undone: {B}/32 is out of block again")
            delete = talking.writes()[1]
            assert (delete.method, delete.path, delete.query) == ("DELETE", ENTRY, {"origin": "manual"})
            assert delete.headers["If-Match"] == '"e1"'
            await shown.press("b")
            await shown.shows("for            10m")  # as it was said last
            await shown.press("escape")
            await shown.until(lambda: shown.addresses == [A, B, C], "the table again")
            assert len(talking.writes()) == 2

    run(test)


def test_a_block_that_drops_nothing_says_so(daemon: Canned, talking: Talking) -> None:
    blocked(daemon, effective="pass", because="allow has it")

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("down", "down", "b", "enter")
            await shown.shows("but these packets still pass: allow has it")

    run(test)


def test_a_allows(daemon: Canned, talking: Talking) -> None:
    blocked(daemon, name="allow", prefix=f"{A}/32", effective="pass")

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("a")  # without a cursor: the first
            await shown.shows(f"Allow {A}")
            await shown.press("enter")
            await shown.shows(f"allowed {A}/32 for 1 h; z undoes it")
            assert talking.writes()[0].path == "/sets/allow/entries"

    run(test)


def test_a_guard_refuses_in_the_box_and_can_be_overridden(daemon: Canned, talking: Talking) -> None:
    blocked(daemon)
    add = daemon.tells["PATCH", "/sets/block/entries"]
    daemon.tells["PATCH", "/sets/block/entries"] = lambda asked: (
        add(asked)  # type: ignore[operator]
        if asked.query.get("force") == "true"
        else problem(409, "that would cut off 198.51.100.7", kind="guarded")
    )

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("down", "down", "b", "enter")
            await shown.shows("that would cut off 198.51.100.7", "Ctrl-F does it all the same")
            await shown.press("ctrl+f")
            await shown.shows(f"blocked {B}/32")

    run(test)


def test_what_is_blocked_for_longer_stays_so_and_there_is_nothing_to_undo(daemon: Canned, talking: Talking) -> None:
    blocked(daemon, changed=False)

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("down", "down", "b", "enter")
            await shown.shows("is in block already, for as long or longer")
            await shown.press("z")
            await shown.shows("nothing to undo")

    run(test)


@pytest.mark.parametrize("refused", [False, True])
def test_a_box_that_is_closed_too_early_still_has_its_outcome_told(
    daemon: Canned, talking: Talking, refused: bool
) -> None:
    blocked(daemon)
    asked, may = threading.Event(), threading.Event()
    add = daemon.tells["PATCH", "/sets/block/entries"]

    def slow(what: Asked) -> Told:
        asked.set()
        may.wait(30)
        return problem(507, "the map hosts4 is full") if refused else add(what)  # type: ignore[operator, no-any-return]

    daemon.tells["PATCH", "/sets/block/entries"] = slow

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("down", "down", "b", "enter")
            await shown.until(asked.is_set, "the daemon is asked")
            await shown.press("x", "enter", "escape", "question_mark")
            may.set()
            await shown.shows("the map hosts4 is full" if refused else f"blocked {B}/32 for 1 h")
            await shown.shows("reverse DNS")  # the page that was opened since is still there
            await shown.press("q")
            await shown.until(lambda: shown.addresses == [A, B, C], "the table")

    run(test)


def test_nobody_can_be_blocked_where_nobody_talks(daemon: Canned, talking: Talking) -> None:
    talking.talkers = []

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.shows("nobody talks")
            await shown.press("b")
            await shown.shows("nobody here to block")
            await shown.press("enter", "down", "p", "o", "5")  # nothing to break either

    run(test)


def test_e_says_that_a_daemon_has_no_events(daemon: Canned, talking: Talking) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("e")
            await shown.shows("this daemon has no events")
            assert shown.addresses[:3] == [A, B, C]  # the table is still there
            await shown.press("e")
            await shown.until(lambda: "events" not in "\n".join(shown.lines()), "the pane is closed")

    run(test)


def test_e_shows_events_and_tab_lets_them_be_scrolled(daemon: Canned, talking: Talking) -> None:
    events = "".join(
        f'data: {{"time": "2026-01-01T00:00:00Z", "interface": "eth0", "verdict": "drop", "reason": "rule:block", '
        f'"source": "198.51.100.7", "destination": "192.0.2.9", "protocol": "udp", "length": {n}}}\n\n'
        for n in range(1000, 1100)
    )
    daemon.tells["GET", "/events"] = Told(text=events.encode(), headers={"Content-Type": "text/event-stream"})
    talking.status = talking.status | {"events": {"watchers": 1, "lost": [2, 3], "limited": [0, 40_000]}}

    async def test() -> None:
        async with showing(daemon, View("eth0", filter="198.51.100.0/24")) as shown:
            await shown.press("e")
            await shown.shows("198.51.100.7 → 192.0.2.9", "1099 B", "lost 5, beyond the bounds 40.0k")
            assert talking.asked("/events") == {"interface": "eth0", "within": "198.51.100.0/24"}
            await shown.press("tab", "home")
            await shown.shows("1000 B")
            await shown.press("i")
            await shown.until(lambda: talking.asked("/events").get("interface") == "eth1", "of the other interface")
            await shown.press("tab", "down")
            assert shown.app.model.cursor is not None

    run(test)


@pytest.mark.parametrize("key", ["question_mark", "h"])
def test_help_names_every_key(daemon: Canned, talking: Talking, key: str) -> None:
    async def test() -> None:
        async with showing(daemon, size=(80, 30)) as shown:
            await shown.press(key)
            await shown.shows("reverse DNS", "this address")
            named = {word for keys, _ in KEYS for word in keys.lower().replace("pgup", "pageup").split()}
            named |= {"pagedown", "up", "down", "j", "k", "home", "end", "escape", "?", "h"}
            desk = shown.app.desk
            assert isinstance(desk, Desk)
            assert {name.lower() for name in desk.key_map} <= named
            for closing in (key, "q"):
                await shown.press(closing)
                await shown.until(lambda: shown.addresses == [A, B, C], "the table again")
                await shown.press(*[key] * (closing == key))

    run(test)


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("ctrl+c", 130)])
def test_the_ways_out(daemon: Canned, talking: Talking, key: str, code: int) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press(key)
            await shown.until(lambda: shown.app.return_value is not None, "it ends")
            assert shown.app.return_value == code

    run(test)
