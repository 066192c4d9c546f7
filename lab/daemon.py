# SPDX-License-Identifier: Apache-2.0
"""`xdpfw serve` in a namespace, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lab.namespace import Namespace
from lab.rest import Rest
from lab.waiting import eventually

XDPFW = Path(sys.executable).with_name("xdpfw")


class Daemon:
    """`home` takes the state directory, the socket and the log; `arguments` go to `xdpfw serve` as they are. `wrapped`:
    the command that starts it, such as setpriv."""

    def __init__(
        self,
        space: Namespace,
        home: Path,
        name: str = "daemon",
        arguments: tuple[str, ...] = (),
        wrapped: tuple[str, ...] = (),
    ) -> None:
        self.space = space
        self.wrapped = wrapped
        # Begins with the lab's name, so that the janitor knows the pins by it.
        self.instance = f"{home.name}-{name}"
        self.state = home / name
        self.socket = home / f"{name}.sock"
        self.log = home / f"{name}.log"
        self.arguments = arguments
        self.rest = Rest(self.socket)
        self.process: subprocess.Popen[bytes] | None = None
        self._told_before = 0

    @property
    def pins(self) -> Path:
        return Path("/sys/fs/bpf") / f"xdpfw-{self.instance}"

    def launch(self) -> None:
        """Start and do not wait."""
        # Not the settings that this machine may have for a daemon of its own.
        command = ["serve", "--config", "/dev/null", "--socket", str(self.socket)]
        command += ["--state-dir", str(self.state), "--instance", self.instance]
        with self.log.open("ab") as log:
            self._told_before = log.tell()
            self.process = self.space.popen(*self.wrapped, str(XDPFW), *command, *self.arguments, output=log)

    def start(self, within: float = 60.0) -> Daemon:
        """Start and wait until it is ready to enforce."""
        self.launch()
        self.wait_ready(within)
        return self

    def wait_in_force(self, within: float = 60.0) -> None:
        self._wait(self.in_force, "filters agree with the database", within, every=0.01)

    def wait_ready(self, within: float = 60.0) -> None:
        self._wait(self.ready, "the daemon is ready", within)

    def _wait(self, probe: Callable[[], bool], what: str, within: float, every: float = 0.02) -> None:
        try:
            eventually(probe, what, within, every)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.tail()}") from None

    def ready(self) -> bool:
        self._must_run()
        return self.answers("/readyz")

    def in_force(self) -> bool:
        """Whether it has said, since it was started last, that filters are what the database says; answers may come
        later."""
        self._must_run()
        return "filters agree with the database" in self.said()

    def said(self) -> str:
        """What it has logged since it was started last."""
        with self.log.open("rb") as log:
            log.seek(self._told_before)
            return log.read().decode(errors="replace")

    def _must_run(self) -> None:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"xdpfw serve ended with status {self.process.returncode}\n{self.tail()}")

    def answers(self, path: str) -> bool:
        """Whether a GET is answered with 200, if at all."""
        try:
            return self.rest.call("GET", path).status == 200
        except OSError:
            return False

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])

    def stop(self) -> int:
        """Ask it to end; what it attached goes on filtering."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """End it as a crash would."""
        return self._end(signal.SIGKILL)

    def _end(self, number: int) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        return self.process.wait(timeout=30)

    def token(self, name: str) -> str:
        """A bearer token for the TCP listener, made over the trusted unix socket."""
        return str(self.rest.must("POST", "tokens", {"name": name, "role": "admin"})["secret"])

    def command(self, *arguments: str) -> list[str]:
        """A call of `xdpfw` that speaks to this daemon."""
        return [str(XDPFW), arguments[0], "--socket", str(self.socket), *arguments[1:]]

    def cli(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a verb of `xdpfw` against this daemon."""
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=check,
            timeout=120,
        )

    def offline_detach(self) -> None:
        """The way out that needs no daemon."""
        where = ("--state-dir", str(self.state), "--instance", self.instance)
        self.space.run(str(XDPFW), "detach", "--all", "--offline", *where)
