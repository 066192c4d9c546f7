# SPDX-License-Identifier: Apache-2.0
"""script/server as a user runs it: the proof, the lab until Ctrl-C, a real interface."""

from __future__ import annotations

import re
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import janitor
from lab.network import ROOT, Network
from lab.rest import Rest
from lab.waiting import eventually
from tests.netns.conftest import xdp

pytestmark = pytest.mark.netns

SERVER = ROOT / "script" / "server"
PATIENCE = 120


@contextmanager
def running(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A script and the lines that it has printed so far; asked to end if it still runs."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    lines: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        with process.stdout:
            lines.extend(process.stdout)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield process, lines
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()
        reader.join()


def says(process: subprocess.Popen[str], lines: list[str], text: str) -> None:
    eventually(lambda: any(text in line for line in lines) or process.poll() is not None, text, PATIENCE, 0.1)
    assert any(text in line for line in lines), "".join(lines)


def test_check_proves_and_leaves_nothing(tools: None) -> None:
    done = subprocess.run(
        [SERVER, "--check"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all proved" in done.stdout
    assert "FAIL" not in done.stdout


def check_page(text: str) -> None:
    """The live page is where the script says, also outside the lab's namespaces, and takes the token beside it."""
    found = re.search(r"live page +(http://\S+/) .*\n +(\S+)\n", text)
    assert found, text
    url, token = found.groups()
    with urllib.request.urlopen(url, timeout=30) as page:
        assert b"<title>xdpfw</title>" in page.read()
    status = urllib.request.Request(f"{url}api/v1/status", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(status, timeout=30) as answer:
        assert answer.status == 200


def test_lab_runs_until_interrupted(tools: None) -> None:
    with running([str(SERVER)]) as (process, lines):
        says(process, lines, "Try, in another terminal")
        # The first of the commands that it tells people to try.
        rest = Rest(janitor.SOCKET_LINK)
        name = janitor.SOCKET_LINK.readlink().parent.name
        network = "10.77.2.0/24"
        eventually(lambda: any(re.search("curl .*-X PUT .*" + network, line) for line in lines), "what to try")
        rest.must("PUT", f"sets/block/entries/{network}")
        eventually(lambda: rest.get(f"sets/block/entries/{network}")["packets"] > 0, "the lab's traffic is dropped")
        rest.must("DELETE", f"sets/block/entries/{network}")
        check_page("".join(lines))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    assert not list(janitor.NETNS.glob(f"{name}-*"))
    assert not (janitor.RUN / name).exists()
    assert not list(janitor.BPFFS.glob(f"xdpfw-{name}-*"))


def test_real_interface_is_filtered_until_interrupted(make_network: Callable[..., Network], tmp_path: Path) -> None:
    space = make_network(1).firewall
    where = ("--state-dir", str(tmp_path / "state"), "--socket", str(tmp_path / "socket"))
    with running(space.command(str(SERVER), "lan1", *where)) as (process, lines):
        says(process, lines, "Ctrl-C detaches")
        assert xdp(space, "lan1") is not None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert xdp(space, "lan1") is None
