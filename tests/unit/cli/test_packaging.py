# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

from cli.main import VERBS
from tests.conftest import lacks
from xdpfw.model.limits import Limits
from xdpfw.settings import Settings, load

ROOT = Path(__file__).parents[3]


def test_completion_offers_the_verbs_that_there_are() -> None:
    script = "source packaging/completion.bash; COMP_WORDS=(xdpfw ''); COMP_CWORD=1; _xdpfw; echo ${COMPREPLY[@]}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    assert {word for word in done.stdout.split() if not word.startswith("-")} == set(VERBS)


def test_the_manual_page_has_every_verb() -> None:
    section = (ROOT / "packaging" / "xdpfw.1").read_text().split(".SH VERBS")[1].split(".SH OPTIONS")[0]
    tags = re.findall(r"^\.TP\n\.BR? (.*)$", section, re.MULTILINE)
    assert {word for tag in tags for word in re.findall(r"(?:^|,\\ )(\w+)", tag)} == set(VERBS)


def test_the_settings_file_names_every_setting_as_it_is_by_default(tmp_path: Path) -> None:
    """What is commented out there is the default, or an example where the default is nothing."""
    text = (ROOT / "packaging" / "xdpfw.toml").read_text()
    assert load(ROOT / "packaging" / "xdpfw.toml") == Settings()
    said = tmp_path / "said.toml"
    said.write_text(re.sub(r"^# (?=\w+ = |\[)", "", text, flags=re.MULTILINE))
    settings = load(said)
    differing = {
        field.name for field in fields(Settings) if getattr(settings, field.name) != getattr(Settings(), field.name)
    }
    assert differing == {"attach", "management", "names", "tls_cert", "tls_key", "tls_client_ca"}
    named = set(re.findall(r"^(?:# )?(\w+) = ", text, re.MULTILINE))
    # Where things are is the unit's business too, and docs/operations.md tells of the other limits.
    wanted = {field.name for field in fields(Settings)} - {"socket", "state_dir", "instance", "bpffs", "limits"}
    assert wanted <= named <= wanted | {field.name for field in fields(Limits)}


def test_the_unit_has_a_good_score(tmp_path: Path) -> None:
    """`docs/security.md` tells it."""
    if shutil.which("systemd-analyze") is None:
        lacks("no systemd-analyze; script/bootstrap --test installs systemd")
    unit = ROOT / "packaging" / "xdpfw.service"
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
    said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()[-1]
    score = re.search(r"exposure level for xdpfw.service: ([0-9.]+) OK", said)
    assert score, said
    assert float(score[1]) < 2.0


def test_the_guide_shows_every_verb() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert [verb for verb in VERBS if f"xdpfw {verb}" not in text] == []
