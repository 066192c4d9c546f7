# SPDX-License-Identifier: Apache-2.0
"""Ends a daemon as a crash would, in the midst of something, and starts it again."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lab.waiting import eventually
from lab.work import Work
from xdpfw.model.feature import widest

LATEST = 0.4
"""Seconds after the beginning of what is cut off."""
LATE = 2.0
"""Seconds after which a start has taken too long."""


class Kills:
    """`points`: what a kill may cut off, by name. `in_force`: seconds that each start took until filters were what the
    database says, `started`: until it answered, `worked`: of a processor; `slowest`: until filters were, after each
    point; `late`: what those said that took too long; `differences`: what a look at all tables found then."""

    def __init__(self, work: Work, seed: int) -> None:
        self._work, self._daemon, self._chosen = work, work.daemon, random.Random(seed)
        self.in_force: list[float] = []
        self.started: list[float] = []
        self.worked: list[float] = []
        self.late: list[str] = []
        self.differences: list[str] = []
        self.at: dict[str, int] = {}
        self.slowest: dict[str, float] = {}
        self.points: dict[str, Callable[[], object]] = {
            "attach": work.attach,
            "import": work.import_list,
            "rule change": work.write_singles,
            "program swap": work.change_rules,
            "expiry": work.write_timed,
            "ban": self._unban,
            "shutdown": self._shut_down,
            "compile": self._compile,
        }

    def once(self, point: str) -> None:
        """Begin it, kill in the midst, start again, compare."""
        self.at[point] = self.at.get(point, 0) + 1
        begun = threading.Thread(target=self.points[point])
        begun.start()
        time.sleep(self._chosen.uniform(0, LATEST))
        self._daemon.kill()
        begun.join(timeout=60)
        self.start()
        if self.in_force[-1] > LATE:
            self.late.append(f"{self.in_force[-1]:.1f} s after {point}:\n{self._daemon.said()}")
        self.slowest[point] = max(self.slowest.get(point, 0), round(self.in_force[-1], 1))

    def start(self) -> None:
        began = time.monotonic()
        self._daemon.launch()
        self._daemon.wait_in_force()
        self.in_force.append(time.monotonic() - began)
        self._daemon.wait_ready()
        self.started.append(time.monotonic() - began)
        self.worked.append(self._processor_time())
        found = self._daemon.rest.get("verification")
        for each in found["deviations"]:
            self.differences += [f"{each['table']}: {detail}" for detail in each["details"]]

    def _processor_time(self) -> float:
        """Seconds, without the compiler's."""
        assert self._daemon.process is not None
        fields = Path(f"/proc/{self._daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _unban(self) -> None:
        """Bans come by themselves, from what arrives."""
        self._work.ask("DELETE", "sets/banned/entries/198.18.0.1?force=true")

    def _shut_down(self) -> None:
        assert self._daemon.process is not None
        with suppress(ProcessLookupError):
            os.kill(self._daemon.process.pid, signal.SIGTERM)

    def _compile(self) -> None:
        """The compiler dies first: what asked for it is refused, and everything goes on."""
        self._forget_widest()
        swap = threading.Thread(target=self._work.change_fields)
        swap.start()
        with suppress(TimeoutError, ProcessLookupError):
            os.kill(eventually(self._compiler, "it compiles", 1.0, 0.002), signal.SIGKILL)
        swap.join(timeout=60)

    def _forget_widest(self) -> None:
        """The compiled program that would serve while another one is compiled, unless it is what runs."""
        programs, wide = self._daemon.state / "programs", widest(frozenset())
        with suppress(FileNotFoundError):  # the daemon throws some away itself
            if wide == frozenset(json.loads((programs / "features").read_text())):
                return
            for path in programs.glob("xdp_filter-*.json"):
                if {f"-D{feature}=1" for feature in wide} <= {*json.loads(path.read_text())["flags"]}:
                    path.unlink()

    def _compiler(self) -> int:
        """Its process, 0 while there is none."""
        assert self._daemon.process is not None
        for task in Path(f"/proc/{self._daemon.process.pid}/task").glob("*/children"):
            with suppress(OSError):
                if children := task.read_text().split():
                    return int(children[0])
        return 0
