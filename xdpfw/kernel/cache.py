# SPDX-License-Identifier: Apache-2.0
"""Compiled programs on disk, so that only the first start after an upgrade compiles: at boot every second counts."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xdpfw.kernel.compile import Program
from xdpfw.model.feature import Feature, Features

KEPT = 8
FEATURES = "features"


class ProgramCache:
    """One file for each program in `directory`, of which the newest are kept, and which features were used last."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def has(self, name: str, fingerprint: int) -> bool:
        """Whether it is there, and so stays among the newest."""
        with contextlib.suppress(OSError):
            os.utime(self._path(name, fingerprint))
            return True
        return False

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

    def flags(self, name: str) -> Iterator[list[str]]:
        """What each program of this name that is there was compiled with."""
        for path in self._directory.glob(f"{name}-*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                yield list(map(str, json.loads(path.read_text())["flags"]))

    def save(self, name: str, fingerprint: int, program: Program, flags: Sequence[str] = ()) -> None:
        """Best effort: without the file the next start compiles again."""
        maps = {str(index): map_name for index, map_name in program.maps.items()}
        saved = {
            "function": program.name,
            "compiler": program.compiler,
            "flags": list(flags),
            "instructions": base64.b64encode(program.instructions).decode(),
            "maps": maps,
            "checksum": _checksum(program.instructions, maps),
        }
        path = self._path(name, fingerprint)
        with contextlib.suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            for older in sorted(self._directory.glob(f"{name}-*.json"), key=_age)[KEPT - 1 :]:
                older.unlink(missing_ok=True)
            half = path.with_suffix(f".{os.getpid()}")
            half.write_text(json.dumps(saved))
            half.replace(path)

    def last_used(self) -> Features:
        """None of those that this version does not know."""
        with contextlib.suppress(OSError, ValueError, TypeError):
            return frozenset(map(Feature, json.loads((self._directory / FEATURES).read_text())))
        return frozenset()

    def use(self, features: Features) -> None:
        with contextlib.suppress(OSError):
            self._directory.mkdir(parents=True, exist_ok=True)
            half = self._directory / f"{FEATURES}.{os.getpid()}"
            half.write_text(json.dumps(sorted(features)))
            half.replace(self._directory / FEATURES)

    def _path(self, name: str, fingerprint: int) -> Path:
        return self._directory / f"{name}-{fingerprint:016x}.json"


def _age(path: Path) -> float:
    """Newest first."""
    with contextlib.suppress(OSError):
        return -path.stat().st_mtime
    return 0.0


def _checksum(instructions: bytes, maps: dict[str, Any]) -> str:
    return hashlib.sha256(instructions + json.dumps(maps, sort_keys=True).encode()).hexdigest()
