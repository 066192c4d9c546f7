# SPDX-License-Identifier: Apache-2.0
"""`xdpfw top` as a process: when it is live and when it is not, how it leaves, what it writes to a terminal."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.terminal import Terminal, terminal
from tests.canned import Canned
from tests.unit.cli.live.screen import Talking

ROOT = Path(__file__).resolve().parents[4]
TOP = (sys.executable, "-m", "cli", "top")
ALTERNATE, USUAL = "\x1b[?1049h", "\x1b[?1049l"
COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-7]|4[0-7]|9[0-7]|10[0-7]|38|48)(?:;\d+)*m")


@pytest.fixture(autouse=True)
def _here(daemon: Canned, talking: Talking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def live(one: Terminal) -> None:
    one.until(ALTERNATE)
    one.until("198.51.100.7")
    one.until("quit")


def test_on_a_terminal_it_is_live_and_q_leaves_it_as_it_was() -> None:
    with terminal(*TOP) as one:
        live(one)
        one.press("q")
        assert one.ended() == 0
        assert one.written.decode().rstrip().rfind(USUAL) > one.written.decode().rfind("198.51.100.7")


def test_it_believes_the_terminal_and_not_what_the_environment_says_of_its_size() -> None:
    with terminal(*TOP, width=150, environment={"COLUMNS": "80", "LINES": "24"}) as one:
        live(one)
        one.until("up to")  # the graphs beside the figures, for which only a wide line has room
        one.press("q")
        assert one.ended() == 0


def test_ctrl_c_leaves_too() -> None:
    with terminal(*TOP) as one:
        live(one)
        one.press("\x03")
        assert one.ended() == 130
        assert USUAL.encode() in one.written
        assert b"Traceback" not in one.written


def test_keys_that_come_in_one_go_are_taken_in_their_order(talking: Talking) -> None:
    with terminal(*TOP) as one:
        live(one)
        one.press("b\x7f24\t10m\thello")
        one.until("192.0.2.0/24: 256 addresses")
        one.until("hello")
        one.press("\x1b")
        one.press("q")
        assert one.ended() == 0
    assert talking.writes() == []


def test_colours_are_the_terminals_own_sixteen_and_none_where_they_are_not_wanted() -> None:
    for environment, coloured in (({}, True), ({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)):
        with terminal(*TOP, environment=environment) as one:
            live(one)
            one.press("q")
            assert one.ended() == 0
            found = COLOUR.findall(bytes(one.written))
            assert bool(found) == coloured
            assert b"38;2" not in one.written  # nothing that a theme of another colour would make unreadable
            assert b"48;2" not in one.written


@pytest.mark.parametrize("argument", ["--once", "--json"])
def test_one_reading_when_it_is_asked_for(argument: str) -> None:
    with terminal(*TOP, argument) as one:
        assert one.ended() == 0
        assert b"198.51.100.7" in one.written
        assert ALTERNATE.encode() not in one.written


def test_one_reading_on_a_terminal_that_can_nothing() -> None:
    with terminal(*TOP, environment={"TERM": "dumb"}) as one:
        assert one.ended() == 0
        assert b"198.51.100.7" in one.written
        assert b"\x1b" not in one.written


@pytest.mark.parametrize("redirection", ["</dev/null", "| cat", "2>/dev/null"])
def test_one_reading_where_a_stream_is_no_terminal(redirection: str) -> None:
    with terminal("sh", "-c", f'"$@" {redirection}', "sh", *TOP) as one:
        assert one.ended() == 0
        assert b"198.51.100.7" in one.written
        assert ALTERNATE.encode() not in one.written


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--watch", "1")])
def test_a_reader_that_has_seen_enough_is_no_error(arguments: tuple[str, ...]) -> None:
    command = ["bash", "-o", "pipefail", "-c", '"$@" | head -c 10', "bash", *TOP, *arguments]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr, len(done.stdout)) == (0, b"", 10)


def test_what_is_wrong_at_the_start_is_told_as_by_every_verb(daemon: Canned) -> None:
    for arguments, code, said in (
        (("eth9",), 3, b"nothing is written down"),
        (("--socket", "/absent/socket"), 5, b"no daemon answers"),
        (("--within", "nowhere"), 2, b"not a prefix"),
    ):
        with terminal(*TOP, *arguments) as one:
            assert one.ended() == code
            assert said in one.written
            assert ALTERNATE.encode() not in one.written


def test_the_options_are_where_the_view_begins(talking: Talking) -> None:
    with terminal(
        *TOP, "eth0", "--sort", "share", "--of", "dropped", "--family", "4", "--within", "198.51.100.0/24"
    ) as one:
        live(one)
        one.until("dropped only")
        one.until("in 198.51.100.0/24")
        one.press("q")
        assert one.ended() == 0
    asked = talking.asked("/interfaces/eth0/talkers/stream")
    assert {name: asked[name] for name in ("sort", "of", "family", "within")} == {
        "sort": "share_now", "of": "dropped", "family": "4", "within": "198.51.100.0/24",
    }  # fmt: skip


def test_textual_is_loaded_by_the_live_view_alone(daemon: Canned) -> None:
    script = (
        "import sys; from cli.main import main; code = main(['top', '--once']);"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & {'textual', 'rich', 'asyncio'}), code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
