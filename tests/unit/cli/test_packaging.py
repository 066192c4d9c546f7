# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import subprocess
from pathlib import Path

from cli.main import VERBS

ROOT = Path(__file__).parents[3]


def test_completion_offers_the_verbs_that_there_are() -> None:
    script = "source packaging/completion.bash; COMP_WORDS=(xdpfw ''); COMP_CWORD=1; _xdpfw; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    assert {word for word in done.stdout.split() if not word.startswith("-")} == set(VERBS)


def test_the_manual_page_has_every_verb() -> None:
    section = (ROOT / "packaging" / "xdpfw.1").read_text().split(".SH VERBS")[1].split(".SH OPTIONS")[0]
    tags = re.findall(r"^\.TP\n\.BR? (.*)$", section, re.MULTILINE)
    assert {word for tag in tags for word in re.findall(r"(?:^|,\\ )(\w+)", tag)} == set(VERBS)


def test_the_guide_shows_every_verb() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert [verb for verb in VERBS if f"xdpfw {verb}" not in text] == []
