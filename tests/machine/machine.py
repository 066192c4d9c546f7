# SPDX-License-Identifier: Apache-2.0
"""A machine with systemd and without a network, made of namespaces and memory; see boot.sh."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

from lab.waiting import eventually

BOOT = Path(__file__).with_name("boot.sh")
SPACES = ("--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup")
# Control groups of version 2, alone or beside those of version 1.
HIERARCHIES = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
GROUP = "xdpfw-machine-"


def hierarchy() -> Path | None:
    return next((path for path in HIERARCHIES if (path / "cgroup.controllers").exists()), None)


def remove_group(group: Path) -> bool:
    """Whether nothing is left of a machine's control groups."""
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):  # somebody in there has not ended yet
            Path(directory).rmdir()
    return not group.exists()


class Machine:
    """A context manager. It ends with its process or with this one, and nothing of it is left."""

    def __init__(self, place: Path, folder: Path | None = None) -> None:
        """`place`: an empty directory; `folder`: what the machine sees as /media."""
        arguments = [str(place), *([str(folder)] if folder else [])]
        self._log = (place.parent / f"{place.name}.log").open("wb")
        self._group = self._make_group()
        entering = 'echo 0 >"$1"; shift; exec "$@"'
        command = ("unshare", *SPACES, "--fork", "--kill-child", str(BOOT), *arguments)
        self._process = subprocess.Popen(
            ["sh", "-ec", entering, "sh", str(self._group / "cgroup.procs"), *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def _make_group(self) -> Path:
        """For what systemd makes; those that killed runs left are removed."""
        top = hierarchy()
        assert top is not None
        for left in top.glob(f"{GROUP}*"):
            if not Path("/proc", left.name.removeprefix(GROUP)).exists():
                remove_group(left)
        group = top / f"{GROUP}{os.getpid()}"
        group.mkdir()
        return group

    def __enter__(self) -> Machine:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        try:
            self._first = eventually(lambda: children.read_text().split(), "the first process of the machine", 10)[0]
            eventually(self._is_up, "the machine is up", 60, every=0.2)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(timeout=30)
        self._log.close()
        eventually(lambda: remove_group(self._group), "nobody is left in its control groups", 30)

    def _is_up(self) -> bool:
        state = self.call("systemctl", "is-system-running").stdout.strip()
        return state in ("running", "degraded")

    def call(self, *command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run in the machine, to the end."""
        environment = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"]
        # The working directory is still the one outside, which is not to be seen in there.
        inside = ["sh", "-c", 'cd / && exec "$@"', "sh", *command]
        entered = ["nsenter", f"--target={self._first}", *SPACES, "--root", *environment, *inside]
        return subprocess.run(
            entered, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False
        )

    def must(self, *command: str, timeout: float = 300) -> str:
        """Like `call`; answers stdout. Raises CalledProcessError, with what was said on stderr."""
        done = self.call(*command, timeout=timeout)
        if done.returncode:
            print(done.stdout, done.stderr, file=sys.stderr)
        done.check_returncode()
        return done.stdout

    def shell(self, script: str) -> str:
        return self.must("bash", "-ec", script)

    def json(self, *command: str) -> dict[str, object]:
        document = json.loads(self.must(*command))
        assert isinstance(document, dict)
        return document

    def unit(self, *names: str) -> dict[str, str]:
        """Properties of the service."""
        shown = self.must("systemctl", "show", "xdpfw.service", "--property", ",".join(names))
        return dict(line.split("=", 1) for line in shown.splitlines())
