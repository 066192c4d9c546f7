# SPDX-License-Identifier: Apache-2.0
"""The screen itself: sizes, trouble with the daemon, what is written again."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from textual.geometry import Region

from cli.live import model
from cli.live.reading import Flow, Traffic
from cli.live.rows import View
from cli.live.widgets import Lines
from tests.canned import Canned, Told, problem
from tests.unit.cli.live.screen import PATIENCE, Talking, run, showing
from tests.unit.cli.live.values import talker
from tests.unit.cli.test_pages import STATUS


@pytest.mark.parametrize("size", [(80, 24), (200, 60), (120, 30), (40, 12), (20, 6), (8, 4), (1, 1)])
def test_any_size_shows_something_and_breaks_nothing(daemon: Canned, talking: Talking, size: tuple[int, int]) -> None:
    talking.talkers = [talker(f"2001:db8::{n:x}", 200 - n, sets=("block",)) for n in range(100)]

    async def test() -> None:
        async with showing(daemon, size=size) as shown:
            assert all(len(line) <= size[0] for part in ("head", "body", "bottom") for line in shown.lines(part))
            await shown.press("down", "b", "tab", "x", "escape", "question_mark", "down", "escape", "e", "f", "x")
            assert all(len(line) <= size[0] for part in ("head", "body", "bottom") for line in shown.lines(part))
            if size[0] >= 80:
                await shown.press("escape", "e", "escape")
                room = size[1] - 2 - 1 - len(shown.lines("head"))
                await shown.until(lambda: len(shown.addresses) == room, "as many rows as fit")

    run(test)


def test_it_follows_the_terminal_when_that_changes(daemon: Canned, talking: Talking) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            assert shown.lines("head")[5].startswith("trend")
            await shown.pilot.resize_terminal(200, 50)
            await shown.until(lambda: "up to" in shown.lines("head")[1], "the graphs beside the figures")
            assert "u units" in shown.lines("bottom")[1]
            await shown.pilot.resize_terminal(40, 12)
            await shown.until(lambda: "40s" not in shown.lines("head")[1], "fewer figures")
            assert "? help  q quit" in shown.lines("bottom")[1]

    run(test)


def test_a_daemon_that_goes_away_and_comes_back(daemon: Canned, talking: Talking) -> None:
    tell = daemon.tells["GET", "/talkers/stream"]

    async def test() -> None:
        async with showing(daemon) as shown:
            for path in ("/talkers/stream", "/talkers"):
                daemon.tells["GET", path] = problem(503, "starting: the tables are being filled")
            await shown.shows("starting: the tables are being filled; trying again")
            assert len(shown.addresses) == 3  # what was known last stays
            daemon.tells["GET", "/talkers/stream"] = tell
            await shown.until(lambda: "trying again" not in shown.text, "it goes on")

    run(test)


def test_a_daemon_that_does_not_answer(daemon: Canned, talking: Talking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "LATE", 0.6)
    tell, may = daemon.tells["GET", "/talkers/stream"], threading.Event()

    def stuck(asked: Any) -> Told:
        may.wait(PATIENCE)
        return tell(asked)  # type: ignore[no-any-return, operator]

    async def test() -> None:
        async with showing(daemon) as shown:
            daemon.tells["GET", "/talkers/stream"] = stuck
            await shown.shows("the daemon has not answered for")
            await shown.press("down", "2")  # keys are answered all the same
            assert shown.app.model.cursor == "192.0.2.1"
            assert shown.app.model.view.sort == "bps"
            may.set()
            await shown.until(lambda: "not answered" not in shown.text, "it answers")

    run(test)


def test_an_interface_that_is_detached_meanwhile(daemon: Canned, talking: Talking) -> None:
    async def test() -> None:
        async with showing(daemon, View("eth0")) as shown:
            daemon.tells["GET", "/interfaces/eth0/talkers/stream"] = problem(404, "eth0 is not attached")
            talking.status = talking.status | {"interfaces": talking.status["interfaces"][1:]}
            await shown.shows("eth0 is not attached; trying again")
            await shown.until(lambda: "not attached" in shown.lines("head")[0], "the header says so too")
            await shown.press("i")
            await shown.until(lambda: len(shown.addresses) == 3, "all interfaces, which are fewer")

    run(test)


@pytest.mark.parametrize("answer", [{"items": [{}]}, {"items": 1}, {}])
def test_an_answer_that_is_none_of_xdpfws(daemon: Canned, talking: Talking, answer: dict[str, Any]) -> None:
    daemon.tells["GET", "/talkers/stream"] = Told(text=f"data: {json.dumps(answer)}\n\n".encode())

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.shows("no xdpfw document")
            await shown.press("q")

    run(test)


def test_warnings_and_monitor_mode_are_on_the_screen(daemon: Canned, talking: Talking) -> None:
    policy = STATUS["policy"] | {"mode": "monitor"}  # type: ignore[operator]
    operation = {"kind": "import", "set": "block", "done": 250, "total": 1000}
    talking.status = talking.status | {"policy": policy, "warnings": ["map leaves is full"], "operation": operation}

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.shows("MONITOR: nothing is dropped", "map leaves is full; running: import 25 %")

    run(test)


def test_what_no_tracked_talker_sent_is_told(daemon: Canned, talking: Talking) -> None:
    other = {"passed": {"packets": 5_000_000, "bytes": 1, "pps": 700_000.0, "bps": 1.0}}
    other["dropped"] = {"packets": 1_000_000, "bytes": 1, "pps": 300_000.0, "bps": 1.0}
    told = talking.answer() | {"other": other, "total": 131_072}
    daemon.tells["GET", "/talkers/stream"] = Told(text=f"data: {json.dumps(told)}\n\n".encode())

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.shows("1-3 of 131,072 talkers · not tracked: 6.00M packets, 1.00M pps now")

    run(test)


def test_averages_appear_as_time_goes_on(daemon: Canned, talking: Talking) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            first = talking.talkers[0]
            packets = first.traffic.passed.packets + 10_000
            talking.talkers[0] = type(first)(
                first.address, Traffic(Flow(packets, 100 * packets, 50, 1), Flow()), first.since, first.last_seen
            )
            await shown.until(lambda: shown.lines("head")[2].split()[2] not in ("0", "65"), "an average above 0")

    run(test)


def test_only_lines_that_changed_are_written_again(daemon: Canned, talking: Talking) -> None:
    written: list[Region] = []

    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("down")
            body = shown.app.query_one("#body", Lines)
            refresh = body.refresh

            def spy(*regions: Region, **more: Any) -> Lines:
                written.extend(regions)
                return refresh(*regions, **more)

            body.refresh = spy  # type: ignore[method-assign]
            await shown.press("down")
            assert sorted(row for region in written for row in range(region.y, region.bottom)) == [1, 2]
            written.clear()
            shown.app.paint()
            assert written == []

    run(test)


@pytest.mark.parametrize("how", ["resumed", "ctrl+l"])
def test_all_is_written_again_where_the_terminal_has_forgotten_it(daemon: Canned, talking: Talking, how: str) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            whole: list[str | None] = []
            for lines in shown.app.query(Lines):
                refresh = lines.refresh

                def spy(*regions: Region, lines: Lines = lines, refresh: Any = refresh, **more: Any) -> Any:
                    whole.extend([lines.id] * (not regions))
                    return refresh(*regions, **more)

                lines.refresh = spy  # type: ignore[method-assign]
            if how == "resumed":
                shown.app.app_resume_signal.publish(shown.app)
            else:
                await shown.press(how)
            await shown.until(lambda: {"head", "body", "bottom"} <= set(whole), "all of it")

    run(test)


def test_pasted_text_goes_where_text_is_typed_and_nowhere_else(daemon: Canned, talking: Talking) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            desk = shown.app.desk
            assert desk is not None
            desk.paste("qb")  # would leave, and block
            assert (shown.app.return_value, desk.pages) == (None, [])
            await shown.press("f")
            desk.paste("192.0.2.0/24\n")
            await shown.press("enter")
            assert shown.app.model.view.within == "192.0.2.0/24"

    run(test)


def test_escape_and_a_key_that_come_together_are_two_keys(daemon: Canned, talking: Talking) -> None:
    async def test() -> None:
        async with showing(daemon) as shown:
            await shown.press("question_mark", "alt+u")
            await shown.until(lambda: "B/s" in shown.lines()[0], "the table, in bytes")

    run(test)
