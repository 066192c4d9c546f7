# SPDX-License-Identifier: Apache-2.0
"""The licences of what an installation consists of, from the packages' own metadata, as docs/licences.md has them.

script/licences >docs/licences.md
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==[^;\\]*(?:;\s*([^\\]*))?", re.MULTILINE)
# What classifiers say, as SPDX has it.
SPDX = {"MIT License": "MIT", "BSD License": "BSD-3-Clause", "Apache Software License": "Apache-2.0"}
ELSEWHERE = "sys_platform == 'win32'"
DEBIAN = {
    "libbpf1": "LGPL-2.1 OR BSD-2-Clause",
    "python3-bpfcc, libbpfcc": "Apache-2.0",
    "libclang-cpp, libllvm (of BCC)": "Apache-2.0 WITH LLVM-exception",
    "libjs-dygraphs": "MIT",
    "linux-libc-dev (headers)": "GPL-2.0 WITH Linux-syscall-note",
    "python3, python3-venv": "PSF-2.0",
}

HEAD = """\
# Licences

xdpfw itself: Apache-2.0, and GPL-2.0-only for the program that runs in the kernel (`bpf/`).

What an installation brings along. `script/licences >docs/licences.md` makes this table from the packages' own metadata.

| Python package | licence |
|---|---|
"""
TAIL = """
| Debian package | licence (`/usr/share/doc/PACKAGE/copyright` has it all) |
|---|---|
"""


def names() -> list[str]:
    """Of the Python packages that are installed on Linux."""
    found = PIN.findall(LOCK.read_text())
    return sorted({name.lower() for name, marker in found if marker.strip() != ELSEWHERE})


def licence(name: str) -> str:
    """As SPDX expression where it can be told. Raises LookupError when the package says nothing."""
    about = metadata.metadata(name)
    if about["License-Expression"]:
        return about["License-Expression"]
    classes = [each.rpartition(" :: ")[2] for each in about.get_all("Classifier") or [] if each.startswith("License")]
    if known := [SPDX[each] for each in classes if each in SPDX]:
        return " AND ".join(known)
    raise LookupError(f"{name} does not say what its licence is")


def table() -> str:
    python = "".join(f"| {name} | {licence(name)} |\n" for name in names())
    return HEAD + python + TAIL + "".join(f"| {name} | {text} |\n" for name, text in DEBIAN.items())


if __name__ == "__main__":
    sys.stdout.write(table())
