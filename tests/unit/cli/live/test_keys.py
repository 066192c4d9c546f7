# SPDX-License-Identifier: Apache-2.0
"""Every key, on a screen, against a canned daemon."""

from __future__ import annotations

import pytest

from cli.live.desk import Desk
from cli.live.names import Names
from cli.live.pages import KEYS
from cli.live.reading import Flow, Traffic
from cli.live.rows import View
from tests.canned import Canned, Told, problem
from tests.unit.cli.given import WRITTEN, entry
from tests.unit.cli.live.screen import Shown, Talking, run, showing
from tests.unit.cli.live.values import talker

A, B, C = "192.0.2.1", "198.51.100.7", "2001:db8::1"
ENTRY = f"/sets/block/entries/{B}/32"


def test_who_talks_how_much_and_what_drops_it(daemon: Canned, talking: Talking) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            assert shown.addresses == [A, B, C]
            assert shown.lines("head")[0].startswith("all interfaces  eth0 eth1 (native) · enforce · default pass")
            assert shown.lines("head")[2].split()[:2] == ["passed", "65"]
            assert shown.lines("head")[3].split()[:2] == ["dropped", "20"]
            row = shown.lines()[2].split()
            assert row[:9] == ["2", B, "30", "24.0k", "300", "30.0k", "67%", "block", "1m"]
            await shown.shows("1-3 of 3 talkers", "q quit")

    run(test)


@pytest.mark.parametrize(
    ("key", "sort", "title", "first"),
    [("2", "bps", "b/s", A), ("3", "packets", "pkts", A), ("4", "bytes", "bytes", A), ("5", "share_now", "drop", B)],
)
def test_digits_sort_and_again_turn_round(
    daemon: Canned, talking: Talking, key: str, sort: str, title: str, first: str
) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press(key)
            assert f"{title}▾" in shown.lines()[0] or len(title) == 5
            assert shown.addresses[0] == first  # at once, before the daemon is asked
            await shown.until(lambda: talking.asked()["sort"] == sort, "the daemon sorts too")
            await shown.press(key)
            assert f"{title}▴" in shown.lines()[0] or len(title) == 5
            assert shown.addresses[-1] == first
            await shown.until(lambda: talking.asked()["order"] == "asc", "the daemon turns it round too")
            await shown.press("1")
            assert shown.addresses == [A, B, C]

    run(test)


def test_i_goes_round_the_interfaces(daemon: Canned, talking: Talking) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            for name in ("eth0", "eth1"):
                await shown.press("i")
                assert shown.lines("head")[0].startswith(f"{name}  native")
                await shown.until(lambda: shown.addresses == [A, B, C], "its talkers")
            await shown.press("i")
            assert shown.lines("head")[0].startswith("all interfaces")
            await shown.press("I")
            assert shown.lines("head")[0].startswith("eth1")
            paths = {each.path for each in daemon.asked}
            assert {"/talkers/stream", "/interfaces/eth0/talkers/stream", "/interfaces/eth1/talkers/stream"} <= paths

    run(test)


@pytest.mark.parametrize("key", ["f", "/"])
def test_filter_by_text_then_by_prefix_then_none(daemon: Canned, talking: Talking, key: str) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("slash" if key == "/" else key, *"BLOCK")
            await shown.shows("rows that contain “BLOCK”")
            await shown.until(lambda: shown.addresses == [B], "the row that block is in")
            await shown.press("enter")
            assert "“BLOCK”" in shown.lines("head")[0]
            await shown.until(lambda: talking.asked()["limit"] == "1000", "it looks at more rows")
            await shown.press("f", "ctrl+u", *"10.0.0.1/8")
            await shown.shows("addresses in 10.0.0.0/8")
            await shown.until(lambda: talking.asked().get("within") == "10.0.0.0/8", "the daemon filters")
            await shown.press("enter")
            assert "in 10.0.0.0/8" in shown.lines("head")[0]
            await shown.press("f", "escape")
            await shown.until(lambda: "within" not in talking.asked(), "no filter")
            await shown.until(lambda: shown.addresses == [A, B, C], "all talkers")

    run(test)


def grown(talking: Talking) -> None:
    """The last becomes the first, and one comes anew."""
    flow = Flow(9000, 900_000, 900.0, 720_000.0)
    talking.talkers = [talker(C), talker(A, 50), talker("203.0.113.1", 1000)]
    talking.talkers[0] = type(talking.talkers[0])(C, Traffic(flow, Flow()), talking.talkers[1].since, 0.0)


def test_p_holds_the_picture_and_lets_it_go(daemon: Canned, talking: Talking) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("p")
            await shown.shows("PAUSED")
            before = shown.lines("head")[1:], shown.lines()
            grown(talking)
            many = len(daemon.asked)
            await shown.until(lambda: len(daemon.asked) > many + 4, "the daemon answers all the while")
            assert (shown.lines("head")[1:], shown.lines()) == before
            await shown.press("4")
            assert shown.addresses[0] == A  # sorting goes on, of what is held
            await shown.press("p", "1")
            await shown.until(lambda: shown.addresses == ["203.0.113.1", C, A], "what is now")
            assert "PAUSED" not in shown.text

    run(test)


def test_o_freezes_the_order_and_numbers_go_on(daemon: Canned, talking: Talking) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("o")
            await shown.shows("order frozen")
            grown(talking)
            await shown.until(lambda: "900" in shown.lines()[3].split(), "the last row's new rate")
            assert shown.addresses == [A, B, C]
            assert shown.lines()[2].split()[2] == "0"  # it has gone, and is shown silent
            assert talking.asked()["limit"] == "1000"
            await shown.press("3")
            assert "order frozen" in shown.text
            await shown.press("o", "1")
            await shown.until(lambda: shown.addresses == ["203.0.113.1", C, A], "ranked again")

    run(test)


def test_n_shows_names_when_they_come(daemon: Canned, talking: Talking) -> None:
    names = Names({A: "one.example"}.get)

    async def test() -> None:
        async with showing(daemon, names=lambda: names) as shown:
            await shown.press("n")
            await shown.until(lambda: shown.addresses[:2] == ["one.example", B], "the name")
            await shown.press("f", *"exam", "enter")
            await shown.until(lambda: shown.addresses == ["one.example"], "filtered by name")
            await shown.press("f", "escape", "n")
            await shown.until(lambda: shown.addresses[:2] == [A, B], "addresses again")

    run(test)


def test_u_d_and_t(daemon: Canned, talking: Talking) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("u")
            assert "B/s" in shown.lines()[0]
            assert "b/s" not in shown.lines()[0]
            await shown.press("u", "d")
            assert "passed only" in shown.text
            await shown.press("d")
            assert "dropped only" in shown.text
            assert shown.addresses[0] == B
            await shown.until(lambda: talking.asked()["of"] == "dropped", "the daemon ranks by drops")
            await shown.press("d", "t")
            assert "cumulative" in shown.text
            await shown.until(lambda: talking.asked()["sort"] == "packets", "by what was counted")
            await shown.press("t")
            assert "cumulative" not in shown.text

    run(test)


def cursor(shown: Shown) -> str | None:
    return shown.app.model.cursor


def test_the_cursor_moves_and_keeps_to_its_talker(daemon: Canned, talking: Talking) -> None:
    talking.talkers = [talker(f"10.0.0.{n}", 200 - n) for n in range(100)]

    async def test() -> None:
        async with showing(daemon) as shown:
            assert cursor(shown) is None
            assert len(shown.addresses) == 15
            for key, where in (
                ("down", 0), ("j", 1), ("down", 2), ("up", 1), ("k", 0), ("up", 0), ("pagedown", 14), ("end", 99),
                ("down", 99), ("pageup", 85), ("home", 0), ("down", 1),
            ):  # fmt: skip
                await shown.press(key)
                assert cursor(shown) == f"10.0.0.{where}"
                assert f"10.0.0.{where}" in shown.addresses  # it is on the page
            talking.talkers[1] = talker("10.0.0.1", 1)
            await shown.until(
                lambda: "10.0.0.1" not in shown.addresses[:15] or shown.addresses[0] != "10.0.0.0", "it fell"
            )
            assert cursor(shown) == "10.0.0.1"
            assert "10.0.0.1" in shown.addresses
            await shown.press("escape")
            assert cursor(shown) is None
            assert shown.addresses[0] == "10.0.0.0"

    run(test)


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


def blocked(daemon: Canned, *, effective: str = "drop", path: str = ENTRY) -> None:
    """The entry is not there until it is put."""
    there: list[bool] = []

    def put(asked: object) -> Told:
        there.append(True)
        return Told(201, document=WRITTEN | {"effective": effective, "because": "allow has it"})

    def gone(asked: object) -> Told:
        there.clear()
        return Told(204, headers={"X-Revision": "9"})

    daemon.tells["GET", path] = lambda _: (
        Told(document=entry(f"{B}/32"), headers={"ETag": '"e1"'}) if there else problem(404, "no such entry")
    )
    daemon.tells["PUT", path] = put
    daemon.tells["DELETE", path] = gone


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
            [put] = talking.writes()
            assert (put.method, put.path) == ("PUT", ENTRY)
            assert put.document == {"ttl": 600, "comment": "too much", "origin": "manual"}
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
    blocked(daemon, effective="pass")

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("down", "down", "b", "enter")
            await shown.shows("but these packets still pass: allow has it")

    run(test)


def test_a_allows(daemon: Canned, talking: Talking) -> None:
    path = f"/sets/allow/entries/{A}/32"
    blocked(daemon, effective="pass", path=path)

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("a")  # without a cursor: the first
            await shown.shows(f"Allow {A}")
            await shown.press("enter")
            await shown.shows(f"allowed {A}/32 for 1 h; z undoes it")
            assert talking.writes()[0].path == path

    run(test)


def test_a_guard_refuses_in_the_box_and_can_be_overridden(daemon: Canned, talking: Talking) -> None:
    blocked(daemon)
    put = daemon.tells["PUT", ENTRY]
    daemon.tells["PUT", ENTRY] = lambda asked: (
        put(asked)  # type: ignore[operator]
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

    async def test() -> None:
        async with showing(daemon, View("eth0", filter="198.51.100.0/24")) as shown:
            await shown.press("e")
            await shown.shows("198.51.100.7 → 192.0.2.9", "1099 B")
            assert talking.asked("/events") == {"interface": "eth0", "within": "198.51.100.0/24"}
            await shown.press("tab", "home")
            await shown.shows("1000 B")
            await shown.press("tab", "down")
            assert cursor(shown) is not None

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
            await shown.press("q")
            await shown.until(lambda: shown.addresses == [A, B, C], "the table again")

    run(test)


@pytest.mark.parametrize(("key", "code"), [("q", 0), ("ctrl+c", 130)])
def test_the_ways_out(daemon: Canned, talking: Talking, key: str, code: int) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press(key)
            await shown.until(lambda: shown.app.return_value is not None, "it ends")
            assert shown.app.return_value == code

    run(test)
