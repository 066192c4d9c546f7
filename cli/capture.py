# SPDX-License-Identifier: Apache-2.0
"""A pcapng stream into files that begin anew at a size, of which the latest are kept."""

from __future__ import annotations

import struct
import sys
from collections import deque
from pathlib import Path
from typing import BinaryIO

from cli.errors import FAILED, Failure

_SECTION, _INTERFACE, _ENHANCED = 0x0A0D0D0A, 1, 6


class Files:
    """`write` takes the stream in pieces of any size. Every file is a capture of its own: it begins with what was said
    about the section and its interfaces. With `size`, files are named NAME.1, NAME.2 … before the ending."""

    def __init__(self, name: str, size: int | None, count: int | None, limit: int | None = None) -> None:
        """`size`: bytes beyond which a new file begins; `count`: files that are kept; `limit`: packets."""
        self._path, self._size, self._count, self._limit = Path(name), size, count, limit
        self._rest = bytearray()
        self._described = bytearray()
        self._file: BinaryIO | None = sys.stdout.buffer if name == "-" else None
        self._written = self._number = 0
        self._kept: deque[Path] = deque()
        self._before: deque[int] = deque()
        self.packets = self.gone = 0
        """That came; of these, those in files that are not kept."""

    @property
    def names(self) -> list[str]:
        return [str(path) for path in self._kept] or (["standard output"] if self._file is sys.stdout.buffer else [])

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None and self._file is not sys.stdout.buffer:
            self._file.close()

    @property
    def full(self) -> bool:
        return self._limit is not None and self.packets >= self._limit

    def write(self, piece: bytes) -> None:
        self._rest += piece
        while len(self._rest) >= 8 and not self.full:
            kind, size = struct.unpack_from("<II", self._rest)
            if len(self._rest) < size:
                return
            self._block(kind, bytes(self._rest[:size]))
            del self._rest[:size]

    def _block(self, kind: int, block: bytes) -> None:
        if kind in (_SECTION, _INTERFACE):
            self._described += block
        if self._file is None or (self._size and self._written >= self._size and kind == _ENHANCED):
            self._begin()
            if kind in (_SECTION, _INTERFACE):
                return
        assert self._file is not None
        self._file.write(block)
        self._file.flush()
        self.packets += kind == _ENHANCED
        self._written += len(block)

    def _begin(self) -> None:
        if self._file is not None:
            self._file.close()
        self._number += 1
        path = self._path
        if self._size:
            path = path.with_name(f"{path.stem}.{self._number}{path.suffix}")
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise Failure(FAILED, f"{path}: {error.strerror}") from None
        self._kept.append(path)
        self._before.append(self.packets)
        self._file.write(self._described)
        self._written = len(self._described)
        while self._count and len(self._kept) > self._count:
            self._kept.popleft().unlink(missing_ok=True)
            self._before.popleft()
            self.gone = self._before[0]
