# SPDX-License-Identifier: Apache-2.0
"""Every key, on a screen, against a canned daemon."""

from __future__ import annotations

import pytest

from cli.live.names import Names
from cli.live.reading import Flow, Traffic
from tests.canned import Canned
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
