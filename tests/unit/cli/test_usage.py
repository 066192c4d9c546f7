# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cli.main import VERBS
from tests.canned import Asked, Canned, Told
from tests.unit.cli.given import WRITTEN, Call, entry

ROOT = Path(__file__).parents[3]
BLOCK = ("PATCH", "/sets/block/entries")


@pytest.mark.parametrize(
    "argv",
    [
        [], ["frobnicate"], ["rules", "add", "x"], ["explain"], ["--frobnicate"], ["block"],
        ["block", "192.0.2.1", "--for", "x"],
        ["block", "192.0.2.1", "--forc"], ["attach", "eth0", "--mode", "fast"], ["detach"], ["detach", "a", "--all"],
        ["detach", "a", "--instance", "b"], ["list", "--limit", "3"], ["list", "block", "--limit", "0"],
        ["policy", "default", "reject"], ["set"], ["token", "create"], ["top", "--watch", "1", "--json"],
        ["top", "--watch", "1", "--once"], ["status", "--timeout", "0"], ["status", "--url", "ftp://x"],
        ["status", "--url", "http://x:y"], ["status", "--socket", "a", "--url", "b"], ["import", "block", "/absent/x"],
        ["serve", "--listen", "0.0.0.0:1"], ["serve", "--attach", "a/b"], ["serve", "--config", "/absent/x"],
    ],
)  # fmt: skip
def test_usage_errors_are_2_and_say_why_on_stderr(call: Call, daemon: Canned, argv: list[str]) -> None:
    code, out, err = call(*argv)
    assert (code, out) == (2, "")
    assert err
    assert daemon.asked == []


def test_a_misspelt_verb_gets_a_suggestion(call: Call) -> None:
    _, _, err = call("blok", "192.0.2.1")
    assert "did you mean block" in err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_with_examples(call: Call, verb: str) -> None:
    code, out, err = call(verb, "--help")
    assert (code, err) == (0, "")
    assert f"xdpfw {verb}" in out.split("examples:")[1]
    assert "--json" in out


def test_help_lists_every_verb(call: Call) -> None:
    _, out, _ = call("--help")
    assert all(f"\n  {verb} " in out for verb in VERBS)


def test_version(call: Call) -> None:
    from xdpfw import __version__

    assert call("--version") == (0, f"xdpfw {__version__}\n", "")


def run(daemon: Canned, *argv: str, shell: str = "") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cli", "--socket", str(daemon.path), *argv]
    if shell:
        return subprocess.run(["bash", "-o", "pipefail", "-c", f"\"$@\" {shell}", "bash", *command],
                              cwd=ROOT, capture_output=True, timeout=30, check=False)  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=30, check=False)


@pytest.mark.parametrize("argv", [["list", "block"], ["list", "block", "--json"], ["export", "block"], ["--help"]])
def test_a_reader_that_has_seen_enough_is_no_error(daemon: Canned, argv: list[str]) -> None:
    prefixes = [f"2001:db8::{n:x}/128" for n in range(20_000)]
    text = "\n".join(prefixes).encode()

    def tell(asked: Asked) -> Told:
        if asked.headers["Accept"] == "text/plain":
            return Told(text=text * 10)
        items = [entry(prefix) for prefix in prefixes]
        return Told(document={"items": items, "next": None, "total": len(items)})

    daemon.tells["GET", "/sets/block/entries"] = tell
    done = run(daemon, *argv, shell="| head -c 10")
    assert (done.returncode, done.stderr, len(done.stdout)) == (0, b"", 10)


def test_ctrl_c_is_quiet(daemon: Canned) -> None:
    asked, over = threading.Event(), threading.Event()

    def hang(_: Asked) -> Told:
        asked.set()
        over.wait(20)
        return Told(document={})

    daemon.tells["GET", "/policy"] = hang
    # A shell that starts this in the background has it ignore SIGINT, and children would inherit that.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "cli", "--socket", str(daemon.path), "policy"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert asked.wait(20)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
        over.set()
    assert (process.returncode, out, err) == (130, b"", b"")


def test_a_verb_that_talks_to_the_daemon_loads_nothing_heavy(daemon: Canned) -> None:
    daemon.tells[BLOCK] = Told(document=WRITTEN)
    script = (
        "import sys; from cli.main import main; code = main(['--socket', sys.argv[1], 'block', '192.0.2.1']);"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & "
        "{'numpy', 'pydantic', 'fastapi', 'bcc', 'ctypes', 'pyroute2', 'httpx', 'asyncio', 'sqlite3', 'xdpfw'}), code)"
    )
    command = [sys.executable, "-c", script, str(daemon.path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
