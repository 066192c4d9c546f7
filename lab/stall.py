# SPDX-License-Identifier: Apache-2.0
"""How long a daemon keeps somebody waiting who asks nothing of it but a sign of life. A process of its own asks, so
that nothing but the daemon, and who else wants the processors, is in the way.

usage: python -m lab.stall SOCKET; ends with its standard input, and prints the milliseconds that each answer took.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.rest import Rest

EVERY = 0.002
"""Seconds between an answer and the next question."""


@contextmanager
def asking(socket: Path) -> Iterator[list[float]]:
    """While the body runs, ask for /healthz; when it is over, the list has the milliseconds that each answer took."""
    command = [sys.executable, "-m", "lab.stall", str(socket)]
    answers: list[float] = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield answers
        said, _ = process.communicate(timeout=60)
        answers += json.loads(said)


def main() -> None:
    rest = Rest(Path(sys.argv[1]), timeout=60)
    connection = rest.open()
    rest.must("GET", "/healthz", keep=connection)
    over = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=wait, daemon=True).start()
    print("asking", flush=True)
    answers: list[float] = []
    while not over.wait(EVERY):
        began = time.perf_counter()
        rest.must("GET", "/healthz", keep=connection)
        answers.append((time.perf_counter() - began) * 1000)
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
