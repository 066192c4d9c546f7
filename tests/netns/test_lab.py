# SPDX-License-Identifier: Apache-2.0
"""A lab leaves nothing behind, however its owner ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import janitor
from lab.network import ROOT, Network
from lab.waiting import eventually

pytestmark = pytest.mark.netns

OWNER = """
import sys
from lab.network import Network
network = Network(2)
network.clients[0].space.popen("sleep", "1000")
if "stubborn" in sys.argv:
    network.clients[1].space.popen("sh", "-c", "trap '' TERM; sleep 1000")
print(network.name, network._janitor.pid, flush=True)
sys.stdin.read()
"""


def start_owner(*arguments: str) -> tuple[subprocess.Popen[str], str, int]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert owner.stdout is not None
    name, janitor_pid = owner.stdout.readline().split()
    assert leftovers(name)
    return owner, name, int(janitor_pid)


def leftovers(name: str) -> list[str]:
    """Namespaces, directories and processes of a lab."""
    found = [str(path) for folder in (janitor.NETNS, janitor.RUN) for path in folder.glob(f"{name}*")]
    namespaces = {inode(path) for path in janitor.NETNS.glob(f"{name}-*")} - {None}
    return found + [each.name for each in Path("/proc").glob("[0-9]*") if inode(each / "ns" / "net") in namespaces]


def inode(path: Path) -> int | None:
    """None where it is gone meanwhile."""
    try:
        return path.stat().st_ino
    except OSError:
        return None


def finish(owner: subprocess.Popen[str]) -> None:
    owner.wait(timeout=30)
    for stream in (owner.stdin, owner.stdout):
        assert stream is not None
        stream.close()


def test_owner_ends(tools: None) -> None:
    owner, name, _ = start_owner()
    owner.terminate()
    finish(owner)
    eventually(lambda: not leftovers(name), "the lab is gone", 30)


def test_owner_is_killed(tools: None) -> None:
    owner, name, _ = start_owner("stubborn")
    owner.kill()
    finish(owner)
    eventually(lambda: not leftovers(name), "the lab is gone", 30)


def test_owner_and_janitor_are_killed(tools: None) -> None:
    """The next lab sweeps what they left, and leaves living labs alone."""
    owner, name, janitor_pid = start_owner()
    with Network(1) as living:
        os.kill(janitor_pid, signal.SIGKILL)
        owner.kill()
        finish(owner)
        assert leftovers(name)
        with Network(1):
            assert not leftovers(name)
        assert leftovers(living.name)
