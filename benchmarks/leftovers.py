# SPDX-License-Identifier: Apache-2.0
"""What a run of the benchmarks makes outside of itself, and that all of it is gone afterwards, however the run ends.

Labs have a janitor each, and what a process of the run makes in the kernel without a name ends with it. The rest is
here: pinned tables, files, a memory cgroup. Runs as a process of its own, which waits for its standard input to end.

usage: python -m benchmarks.leftovers PID
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lab.janitor import BPFFS, PREFIX, RUN
from lab.network import ROOT
from xdpfw.kernel.bpffs import remove_tree

GROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory"))
DISK = Path("/var/tmp")
"""For what has to be on a disk, as in production: /run is memory, where a durable write costs nothing."""
PEERS = ("filter_ethernet", "filter_ipv4", "filter_ipv6", "filter_ports", "xdp_stats_map")
"""What xdp-filter's maps are pinned as while one is loaded."""
PATIENCE = 60.0
"""Seconds that labs have to end."""


@contextmanager
def removed() -> Iterator[None]:
    """The run. Temporary files of its own are in one place."""
    command = [sys.executable, "-m", __spec__.name, str(os.getpid())]
    janitor = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True)
    place = Path(tempfile.gettempdir(), f"xdpfw-bench-{os.getpid()}")
    place.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(place)
    try:
        yield
    finally:
        tempfile.tempdir = before
        assert janitor.stdin is not None
        janitor.stdin.close()
        janitor.wait()


def forget_peers() -> None:
    """Maps that were filled once would be used again."""
    for name in PEERS:
        (BPFFS / name).unlink(missing_ok=True)


def take_down(pid: int) -> None:
    """Harmless when some of it is gone already."""
    name = f"xdpfw-bench-{pid}"
    for pins in BPFFS.glob(f"{name}-*"):
        remove_tree(pins)
    forget_peers()
    until = time.monotonic() + PATIENCE
    while any(RUN.glob(f"{PREFIX}{pid}-*")) and time.monotonic() < until:
        time.sleep(0.1)  # daemons end with their lab
    for place in DISK.glob(f"{PREFIX}{pid}-*"):
        shutil.rmtree(place, ignore_errors=True)
    shutil.rmtree(Path(tempfile.gettempdir(), name), ignore_errors=True)
    for group in (found for place in GROUPS for found in place.glob(f"{name}-*")):
        with suppress(OSError):
            group.rmdir()


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    take_down(int(sys.argv[1]))


if __name__ == "__main__":
    main()
