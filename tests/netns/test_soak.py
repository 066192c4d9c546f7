# SPDX-License-Identifier: Apache-2.0
"""A short share of `script/soak`: killed once in the midst of everything that it does, under live traffic."""

from __future__ import annotations

import subprocess
import sys

import pytest

from lab.network import ROOT

pytestmark = pytest.mark.netns


def test_killed_at_every_point_under_traffic(tools: None) -> None:
    """Nothing blocked passes, nothing clean is dropped, no acknowledged write is lost, and the kernel holds what the
    policy says after every start."""
    command = [sys.executable, "-m", "lab.soak", "--kills", "8", "--seconds", "10"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    for told in (" 0 leaks", " 0 wrong drops", " 8 restarts", " 0 differences", " 0 lost writes"):
        assert told in done.stdout
