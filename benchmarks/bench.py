# SPDX-License-Identifier: Apache-2.0
"""Measures what the project promises to be fast at, beside peers, and says which goals were reached.

usage: sudo script/bench [PART]… [--json] [--repeat N] [--count N] [--plots DIRECTORY]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from benchmarks import answers, control, floor, leftovers, live, log, memory, packets, pieces, plots, stages, talkers
from benchmarks.parts import Part, measured
from benchmarks.service import Bench


def parts(count: int, repeat: int) -> dict[str, Part]:
    service = Bench(count, repeat)
    return {
        "packets": lambda: packets.measure(repeat),
        "pieces": lambda: pieces.measure(repeat),
        "live": lambda: live.measure(repeat),
        "floor": lambda: floor.measure(repeat),
        "talkers": lambda: talkers.measure(repeat),
        **service.all(),
        "control": lambda: control.operations(repeat, count),
        "latency": lambda: control.latency(repeat, count),
        "stages": lambda: stages.measure(repeat, count),
        "log": lambda: log.measure(repeat),
        "top100": lambda: answers.measure(repeat),
        "memory": lambda: memory.measure(count),
    }


def main() -> int:
    names = list(parts(1, 1))
    parser = argparse.ArgumentParser(
        prog="script/bench",
        description="Measures packet path and service, beside peers.",
        epilog=f"parts: {', '.join(names)}",
    )
    parser.add_argument("part", nargs="*", help="these parts alone, instead of all")
    parser.add_argument("--json", action="store_true", help="one document instead of a table")
    parser.add_argument("--repeat", type=int, default=7, help="runs of each measurement (7)")
    parser.add_argument("--plots", type=Path, metavar="DIRECTORY", help="draw there how things grow with their size")
    parser.add_argument("--count", type=int, default=1_000_000, help="prefixes of the large set (1,000,000)")
    wish = parser.parse_args()
    if unknown := set(wish.part) - set(names):
        parser.error(f"no such part: {', '.join(sorted(unknown))} (there are {', '.join(names)})")
    if os.geteuid() != 0:
        parser.error("needs root: sudo script/bench")
    machine = f"{platform.release()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    if not wish.json:
        print(f"{machine}\n{'':54} {'median':>9} {'':3} {'least … most':>20}")
    chosen = {name: part for name, part in parts(wish.count, wish.repeat).items() if not wish.part or name in wish.part}
    with leftovers.removed():
        figures, failed = measured(chosen, quiet=wish.json)
    if wish.json:
        documents = {name: [figure.document() for figure in found] for name, found in figures.items()}
        print(json.dumps({"machine": machine, "figures": documents, "failed": failed}, indent=2))
    if wish.plots:
        plots.draw((figure for found in figures.values() for figure in found), wish.plots)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
