# SPDX-License-Identifier: Apache-2.0
"""Where the time of one block over REST goes: the daemon's own stages, timed within it, and what is left for HTTP and
for threads that wake one another.

usage: python -m benchmarks.stages FILE XDPFW ARGUMENTS…: the daemon; when it ends, FILE has what each stage took, each
time, in milliseconds.
"""

from __future__ import annotations

import json
import runpy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import clients
from benchmarks.figures import Figure
from benchmarks.service import SECONDS_EACH, files, put, settle, site
from lab import prefixes
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.tiers import Tiers
from xdpfw.policy.compiler import Compiler
from xdpfw.policy.sets import Sets
from xdpfw.service.changes import Changes
from xdpfw.service.entries import EntryUseCases
from xdpfw.store.sqlite import SqliteStore
from xdpfw.writer import Writer

STAGES: dict[str, tuple[type, str]] = {
    "  the edit of the set": (Sets, "upsert"),
    "  guards": (EntryUseCases, "_check"),
    "  the plan": (Compiler, "plan"),
    "  what is written down of it": (Changes, "_ledger"),
    "  stored": (SqliteStore, "save"),
    "  tables": (RealKernel, "execute"),
    "    of that, tiers": (Tiers, "insert"),
    "  what the compiler remembers": (Compiler, "commit"),
    "  the entry, for the answer": (EntryUseCases, "_entry"),
    "  its effect, for the answer": (EntryUseCases, "_answer"),
}
JOB = "in the writer's thread"
BLOCKS = 200


def measure(rounds: int, count: int) -> Iterator[Figure]:
    place = Path(tempfile.gettempdir(), "stages.json")
    with site((sys.executable, "-m", __spec__.name, str(place))) as (_, daemon):
        put(daemon, files(daemon, "many", [prefixes.body(prefixes.make(count))])[0])
        settle(daemon)
        rounds = min(rounds, SECONDS_EACH)
        seen = tuple(median(clients.block(daemon.socket, 1, BLOCKS, run * BLOCKS)) for run in range(rounds))
        daemon.stop()
    yield Figure(f"one block, {count:,} loaded, as a client sees it: median", "ms", None, seen)
    for name, taken in json.loads(place.read_text()).items():
        last = taken[-rounds * BLOCKS :]  # before them was other work
        values = tuple(median(last[run * BLOCKS : (run + 1) * BLOCKS]) for run in range(rounds))
        yield Figure(name, "ms", None, values)


def _timed(function: Callable[..., Any], taken: list[float]) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            taken.append((time.perf_counter() - began) * 1000)

    return timed


def _time_jobs(taken: list[float]) -> None:
    call = Writer.call

    async def timed(self: Writer, function: Any, *args: Any, **kwargs: Any) -> Any:
        return await call(self, _timed(function, taken), *args, **kwargs)

    Writer.call = timed  # type: ignore[method-assign]


def main() -> None:
    found: dict[str, list[float]] = {name: [] for name in (JOB, *STAGES)}
    for name, (owner, method) in STAGES.items():
        setattr(owner, method, _timed(getattr(owner, method), found[name]))
    _time_jobs(found[JOB])
    place, sys.argv = Path(sys.argv[1]), sys.argv[2:]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        place.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
