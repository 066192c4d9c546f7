# SPDX-License-Identifier: Apache-2.0
"""A run of the benchmarks that is killed leaves nothing behind: no namespace, pin, process, file or cgroup."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.leftovers import BPFFS, DISK, GROUPS, PEERS
from lab.janitor import NETNS, RUN
from lab.network import ROOT
from lab.waiting import eventually

RUNNING = """
import signal, sys, time
from contextlib import ExitStack
from benchmarks import leftovers, memory, mixes
from benchmarks.service import site
from benchmarks.tested import Site, xdp_filter
from benchmarks.veth import Wire
from xdpfw.model.limits import Limits

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background ignores it
with ExitStack() as opened:
    opened.enter_context(leftovers.removed())
    measured, daemon = opened.enter_context(memory._daemon(64))
    opened.enter_context(Site(Limits(leaves=1000, hosts4=100, hosts6=100, memberships=100, talkers=64)))
    opened.enter_context(xdp_filter("alw_all"))
    opened.enter_context(Wire())
    print(daemon.process.pid, flush=True)
    time.sleep(600)
"""


def traces(pid: int) -> list[str]:
    """Of a run with that process."""
    places = [*BPFFS.glob(f"xdpfw-*-{pid}-*"), *DISK.glob(f"xdpfw-*-{pid}*"), *RUN.glob(f"xdpfw-*-{pid}-*")]
    places += [*NETNS.glob(f"xdpfw-*-{pid}-*"), *Path(tempfile.gettempdir()).glob(f"xdpfw-bench-{pid}*")]
    places += [found for group in GROUPS for found in group.glob(f"xdpfw-bench-{pid}-*")]
    return [str(place) for place in places]


def runs(pid: int) -> bool:
    """What nobody waited for is still listed, without a command."""
    command = Path(f"/proc/{pid}/cmdline")
    return command.exists() and bool(command.read_bytes())


@pytest.fixture
def run() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", RUNNING], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", (signal.SIGKILL, signal.SIGINT))
def test_a_run_that_is_ended_leaves_nothing(run: subprocess.Popen[str], number: int) -> None:
    assert run.stdout is not None
    daemon = int(run.stdout.readline())
    kinds = {trace.partition(str(run.pid))[0] for trace in traces(run.pid)}
    assert len(kinds) >= 6, kinds
    os.kill(run.pid, number)
    run.wait(60)
    eventually(lambda: not traces(run.pid), "everything is gone", 30)
    assert not runs(daemon)
    eventually(lambda: not any((BPFFS / name).exists() for name in PEERS), "nothing of xdp-filter is pinned", 30)
