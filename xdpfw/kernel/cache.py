# SPDX-License-Identifier: Apache-2.0
"""Compiled programs on disk, so that only the first start after an upgrade compiles: at boot every second counts."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from xdpfw.kernel.compile import Program


class ProgramCache:
    """One file for each program in `directory`; the newest version of a program replaces older ones."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, name: str, fingerprint: int) -> Program | None:
        """None when it is not there, or not whole."""
        try:
            saved = json.loads(self._path(name, fingerprint).read_text())
            instructions = base64.b64decode(saved["instructions"], validate=True)
            references = {int(index): str(map_name) for index, map_name in saved["maps"].items()}
            if saved["checksum"] != _checksum(instructions, saved["maps"]):
                return None
            return Program(str(saved["function"]), instructions, references, str(saved["compiler"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def save(self, name: str, fingerprint: int, program: Program) -> None:
        """Best effort: without the file the next start compiles again."""
        maps = {str(index): map_name for index, map_name in program.maps.items()}
        saved = {
            "function": program.name,
            "compiler": program.compiler,
            "instructions": base64.b64encode(program.instructions).decode(),
            "maps": maps,
            "checksum": _checksum(program.instructions, maps),
        }
        path = self._path(name, fingerprint)
        with contextlib.suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            for older in self._directory.glob(f"{name}-*.json"):
                older.unlink()
            half = path.with_suffix(f".{os.getpid()}")
            half.write_text(json.dumps(saved))
            half.replace(path)

    def _path(self, name: str, fingerprint: int) -> Path:
        return self._directory / f"{name}-{fingerprint:016x}.json"


def _checksum(instructions: bytes, maps: dict[str, Any]) -> str:
    return hashlib.sha256(instructions + json.dumps(maps, sort_keys=True).encode()).hexdigest()
