# SPDX-License-Identifier: Apache-2.0
"""The commands of docs/api.md work as they stand there."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from tests.api.conftest import Api
from tests.api.test_bans import exceed, rule
from tests.conftest import lacks
from xdpfw.kernel.fake import fake_link

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "api.md"
SOCKET = "/run/xdpfw/xdpfw.sock"


def commands() -> list[str]:
    """Of every block for the shell, those that use the unix socket."""
    blocks = re.findall(r"```sh\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    text = "".join(blocks).replace("\\\n", " ")
    lines = re.findall(r"(?:[^'\n]|'[^']*')+", text)  # a quoted text may go on over several lines
    return [line for line in lines if line.startswith(("api", "etag=$(api"))]


def test_the_guide_has_commands() -> None:
    assert len(commands()) > 15
    assert SOCKET in commands()[0]


def test_every_command_of_the_guide_works(fake: Api, tmp_path: Path) -> None:
    if not shutil.which("curl"):
        lacks("no curl")
    fake.kernel.set_links([fake_link("eth0")])
    fake.put("rules/eager", rule())
    exceed(fake, "203.0.113.7")
    (tmp_path / "attack.pcap").write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
    (tmp_path / "drop.txt").write_text("192.0.2.0/25 ; from a list\n198.51.100.1\n")
    script = "\n".join(f"{line}\necho" for line in commands()).replace(SOCKET, str(fake.host.socket))
    done = subprocess.run(["bash", "-eu"], input=script, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    answers = [line for line in done.stdout.splitlines() if line]
    assert len(answers) > 15
    for answer in answers:
        if answer.startswith("{"):
            assert "title" not in json.loads(answer), answer


@pytest.mark.parametrize("limit", ["128 MB", "8 MB", "64 KB"])
def test_the_guide_tells_the_limits(limit: str) -> None:
    assert limit in GUIDE.read_text()
