# SPDX-License-Identifier: Apache-2.0
"""Compile the packet program in a short-lived child process, so that this one never carries LLVM."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from xdpfw.kernel.linking import linked
from xdpfw.kernel.source import make_kernel_tree
from xdpfw.model.errors import KernelError

CHILD = Path(__file__).with_name("compiler_child.py")
SYSTEM_PYTHON = "/usr/bin/python3"
INTERPRETERS = (sys.executable, SYSTEM_PYTHON)
DEBIAN_BCC = Path("/usr/lib/python3/dist-packages/bcc/libbcc.py")
TIMEOUT = 60.0
MESSAGE_LINES = 20
_PLACE = re.compile(r"^;.* @ ([\w.]+):(\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Program:
    """Instructions with the map references by name still to be filled in: {index of the instruction: map name}."""

    name: str
    instructions: bytes
    maps: Mapping[int, str]
    compiler: str

    def link(self, descriptors: Mapping[str, int]) -> bytes:
        """The instructions with these maps' descriptors in them."""
        return linked(self.instructions, self.maps, descriptors)


def compile_source(source: str, function: str, maps: Sequence[str], cflags: Sequence[str] = ()) -> Program:
    """Compile C text whose quoted includes are in place already.

    Raises:
        KernelError: BCC is missing, or the compiler's messages, which name file and line.
    """
    done = _child(source, function, maps, cflags)
    if done.returncode:
        raise KernelError(f"the packet program does not compile:\n{_messages(done.stderr)}")
    answer = json.loads(done.stdout)
    references = {int(index): name for index, name in answer["maps"].items()}
    return Program(function, base64.b64decode(answer["instructions"]), references, f"bcc {answer['bcc']}")


def refused_at(source: str, function: str, cflags: Sequence[str] = ()) -> tuple[str, int] | None:
    """File and line that the verifier was at when it refused an XDP program; None where it does not tell."""
    places = _PLACE.findall(_child(source, function, (), cflags, load=True).stderr)
    return (places[-1][0], int(places[-1][1])) if places else None


@cache
def find_interpreter() -> str:
    """The first interpreter that can import bcc; distributions install it for their own Python only.

    Raises:
        KernelError: none can.
    """
    for interpreter in INTERPRETERS:
        if Path(interpreter).is_file() and _imports_bcc(interpreter):
            return interpreter
    raise KernelError(f"no Python here can import bcc (tried {', '.join(INTERPRETERS)}): apt-get install python3-bpfcc")


def _imports_bcc(interpreter: str) -> bool:
    if interpreter == sys.executable:
        found = importlib.util.find_spec("bcc")
        places = found.submodule_search_locations if found else None
        return any((Path(place) / "libbcc.py").exists() for place in places or ())
    if interpreter == SYSTEM_PYTHON and DEBIAN_BCC.exists():
        return True  # it need not be started to know
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('bcc.libbcc') is None)"
    return subprocess.run([interpreter, "-I", "-c", probe], capture_output=True, check=False).returncode == 0


def _child(
    source: str, function: str, maps: Sequence[str], cflags: Sequence[str], *, load: bool = False
) -> subprocess.CompletedProcess[str]:
    """Its answer on stdout, or what went wrong on stderr."""
    interpreter = find_interpreter()
    with tempfile.TemporaryDirectory(prefix="xdpfw-") as tree, _lifeline() as alive:
        flags = [*cflags, *make_kernel_tree(Path(tree))]
        request = {"source": source, "function": function, "maps": maps, "cflags": flags, "load": load}
        command = [interpreter, "-I", str(CHILD), tree, str(alive)]
        try:
            return subprocess.run(
                command, input=json.dumps(request), capture_output=True, text=True, timeout=TIMEOUT, check=False,
                pass_fds=[alive],
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KernelError(f"the compiler did not run: {error}") from error


@contextmanager
def _lifeline() -> Iterator[int]:
    """What the child reads the end of when this process ends, however it does: a compiler that goes on for nobody would
    take the next daemon's time."""
    alive, held = os.pipe()
    try:
        yield alive
    finally:
        os.close(alive)
        os.close(held)


def _messages(stderr: str) -> str:
    """What the compiler said, without the traceback of the process that ran it."""
    said = stderr.partition("Traceback (most recent call last)")[0].strip() or stderr.strip()
    return "\n".join(said.splitlines()[:MESSAGE_LINES]) or "no message"
