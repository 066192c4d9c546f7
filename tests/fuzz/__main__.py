# SPDX-License-Identifier: Apache-2.0
"""Run frames without end through the live program in the kernel, and compare it with the reference.

Every beginning of every frame of the captures, if they are there, and as many made and mutated frames as wanted: each
length, random headers, chains of tags and extension headers. The same seed gives the same frames and policies.
"""

from __future__ import annotations

import argparse
import multiprocessing as mp
import os
import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING

from tests.conftest import corpora_path
from tests.fuzz import plan
from tests.fuzz.judging import judge
from tests.kernel.conftest import SMALL, Host
from tests.loaded import Loaded

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

FRAMES = 10_000_000
LIMITS = replace(SMALL, hosts4=50_000)
SHOWN = 10
INTERVAL = 10.0


def main() -> int:
    options = _options()
    captured = plan.captured_frames(path) if (path := corpora_path()) else []
    todo = plan.stretches(options.seed, options.frames, captured)
    if options.stretch is not None:
        todo = todo[options.stretch : options.stretch + 1]
    print(f"seed {options.seed}: {len(captured):,} captured frames, {options.frames:,} made, {len(todo)} stretches")
    reports: Queue[tuple[int, str]] = mp.Queue()
    workers = [
        mp.Process(target=work, args=(options.seed, captured, todo[at :: options.workers], reports), daemon=True)
        for at in range(options.workers)
    ]
    for worker in workers:
        worker.start()
    frames, wrong = _watch(workers, reports, sum(stretch.frames for stretch in todo))
    failed = any(worker.exitcode for worker in workers)
    return 1 if wrong or failed or not frames else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=FRAMES, help="made and mutated ones (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--stretch", type=int, help="only this one, which a difference was reported for")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="(default: one per CPU)")
    return parser.parse_args()


def work(seed: int, captured: list[bytes], todo: list[plan.Stretch], reports: Queue[tuple[int, str]]) -> None:
    """In a process of its own: a kernel, and one stretch after the other."""
    with tempfile.TemporaryDirectory() as state:
        programs = Path(state, "cache")
        programs.mkdir()
        host = Host(Path(state, "state"), programs)
        try:
            loaded = Loaded(host.kernel(LIMITS), LIMITS)
            plan.fill(loaded, captured)
            for stretch in todo:
                split = stretch.split(seed)
                loaded.use(**plan.policy(seed, stretch.number, split=bool(split)))
                with judge(loaded, split) as differences:
                    for frames in stretch.batches(seed, captured):
                        found = "\n".join(map(str, differences(frames)[:SHOWN]))
                        reports.put((len(frames), found and f"stretch {stretch.number}: {found}"))
        finally:
            host.close()


def _watch(workers: list[mp.Process], reports: Queue[tuple[int, str]], total: int) -> tuple[int, int]:
    """Until all are done. Answers how many frames were judged, and in how many batches some differ."""
    begun = shown = time.monotonic()
    frames = wrong = 0
    while True:
        try:
            count, found = reports.get(timeout=1)
        except Empty:
            if not any(worker.is_alive() for worker in workers):
                break
            continue
        frames += count
        if found:
            wrong += 1
            print(found, flush=True)
        if time.monotonic() - shown > INTERVAL:
            shown = time.monotonic()
            rate = frames / (shown - begun)
            print(f"{frames:,} of {total:,} frames, {rate:,.0f} a second", file=sys.stderr, flush=True)
    print(f"{frames:,} frames in {time.monotonic() - begun:,.0f} s: {wrong or 'no'} batches with differences")
    return frames, wrong


if __name__ == "__main__":
    sys.exit(main())
