# SPDX-License-Identifier: Apache-2.0
"""A process of a test's own, killed in the midst of what it does."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def said_until_killed(module: str, path: Path, lines: int) -> list[bytes]:
    """What `python -m module path` says until, after so many lines, it is killed."""
    with subprocess.Popen([sys.executable, "-m", module, str(path)], stdout=subprocess.PIPE, cwd=ROOT) as child:
        assert child.stdout
        said = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        return said + child.stdout.readlines()
