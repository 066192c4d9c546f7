# SPDX-License-Identifier: Apache-2.0
"""Lists as they arrive: read beside the event loop, so that a long one keeps nobody waiting.

Text is read piece by piece while the rest is on its way, in threads: numpy does the work, and lets go of the
interpreter meanwhile. JSON cannot be read so, since its parser holds the interpreter until it has all of it: a long
document is read by a process of its own. What there is of a list waits on disk, so that slow clients hold no memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Literal

import numpy as np

from xdpfw.model.errors import Unavailable
from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy import bulk_child
from xdpfw.policy import keys as k
from xdpfw.policy.bulk import Bulk, TextPart, join_parts, parse_json, parse_ndjson, parse_part
from xdpfw.policy.bulk_text import BOM
from xdpfw.policy.ops import Keys

Form = Literal["text", "json", "ndjson"]

PIECE = 1 << 20
"""Octets that are read together; a longer line is none."""
TOO_LONG, SHOWN = b"a line of more than %d octets" % PIECE, 100

LONG_DOCUMENT = 2 << 20
"""JSON from this size on is read by another process: below, it takes some ten milliseconds."""

READERS, AHEAD = 2, 4
"""Threads, and pieces of one list that may wait for them."""


class Readers:
    """Reads lists, several at once."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(READERS, "xdpfw-reader")
        self._one_child = asyncio.Semaphore(1)

    def close(self) -> None:
        self._pool.shutdown()

    async def read(self, chunks: AsyncIterator[bytes], form: Form, now: int, *, skip_invalid: bool) -> Bulk:
        """`now`: wall ns, for rows with a ttl. Raises Unreadable when the body is not of that form at all, and whatever
        `chunks` raises."""
        with tempfile.TemporaryFile(prefix="xdpfw-") as file:
            if form == "text":
                return await _Text(self._pool, file, skip_invalid=skip_invalid).read(chunks)
            await _spool(chunks, file)
            if os.fstat(file.fileno()).st_size < LONG_DOCUMENT:
                parse = parse_json if form == "json" else parse_ndjson
                return await asyncio.to_thread(parse, file.read(), now=now, skip_invalid=skip_invalid)
            async with self._one_child:
                return await _in_child(file, form, now, skip_invalid=skip_invalid)


async def _spool(chunks: AsyncIterator[bytes], file: IO[bytes]) -> None:
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        if len(waiting) >= PIECE:
            await asyncio.to_thread(file.write, bytes(waiting))
            waiting.clear()
    file.write(waiting)
    file.seek(0)


async def _in_child(file: IO[bytes], form: Form, now: int, *, skip_invalid: bool) -> Bulk:
    command = (sys.executable, "-I", "-m", bulk_child.__name__, form, str(now), "skip" if skip_invalid else "all")
    with tempfile.TemporaryFile(prefix="xdpfw-") as answer:
        child = await asyncio.create_subprocess_exec(*command, stdin=file, stdout=answer)
        try:
            status = await child.wait()
        finally:
            if child.returncode is None:
                child.kill()
        if status:
            why = "it may want more memory than there is" if status < 0 else "see the daemon's log"
            raise Unavailable(f"the process that reads the list ended with {status}: {why}")
        answer.seek(0)
        return await asyncio.to_thread(bulk_child.read, answer)


@dataclass(frozen=True, slots=True)
class _Shelved:
    """A part whose keys are in the file: where, and how many of each family."""

    part: TextPart
    offset: int
    counts: dict[Family, int]


class _Text:
    """One text. `file` takes what is known of it already."""

    def __init__(self, pool: ThreadPoolExecutor, file: IO[bytes], *, skip_invalid: bool) -> None:
        self._pool, self._file, self._skip = pool, file, skip_invalid
        self._parts: list[Future[_Shelved]] = []
        self._waiting = bytearray()
        self._end, self._making = 0, threading.Lock()
        self._skipping = False

    async def read(self, chunks: AsyncIterator[bytes]) -> Bulk:
        try:
            async for chunk in chunks:
                self._take(chunk)
                if len(self._waiting) >= PIECE:
                    await self._read_lines(self._waiting.rfind(b"\n") + 1)
            if self._waiting:
                await self._read_lines(len(self._waiting))
            parts = [await asyncio.wrap_future(part) for part in self._parts]
        finally:
            for future in self._parts:
                future.cancel()
        return await asyncio.to_thread(self._joined, parts)

    def _take(self, chunk: bytes) -> None:
        """Without the end of a line that is too long."""
        if self._skipping:
            end = chunk.find(b"\n")
            self._skipping, chunk = end < 0, chunk[end:] if end >= 0 else b""
        self._waiting += chunk

    async def _read_lines(self, end: int) -> None:
        if not end:
            self._shorten()
            return
        with memoryview(self._waiting) as view:
            lines = bytes(view[:end])
        del self._waiting[:end]
        if not self._parts:
            lines = lines.removeprefix(BOM)
        if len(self._parts) >= AHEAD:
            with contextlib.suppress(Exception):  # it is raised in its turn
                await asyncio.wrap_future(self._parts[-AHEAD])
        self._parts.append(self._pool.submit(self._part, lines))

    def _shorten(self) -> None:
        """What waits is the beginning of a line that is too long: only what stands before a comment counts."""
        marks = [at for at in (self._waiting.find(b"#"), self._waiting.find(b";")) if at >= 0]
        said = bytes(self._waiting[: min(marks)]).strip() if marks else TOO_LONG
        self._waiting[:] = said[:SHOWN]
        self._skipping = True

    # in the readers' threads

    def _part(self, lines: bytes) -> _Shelved:
        part = parse_part(lines, skip_invalid=self._skip)
        packed = b"".join(keys.tobytes() for keys in part.keys.values())
        with self._making:
            offset, self._end = self._end, self._end + len(packed)
        os.pwrite(self._file.fileno(), packed, offset)
        counts = {family: len(keys) for family, keys in part.keys.items()}
        return _Shelved(TextPart(part.lines, {}, part.faults, part.invalid), offset, counts)

    def _joined(self, parts: list[_Shelved]) -> Bulk:
        return join_parts([self._unshelved(part) for part in parts], skip_invalid=self._skip)

    def _unshelved(self, shelved: _Shelved) -> TextPart:
        part, offset = shelved.part, shelved.offset
        keys: dict[Family, Keys] = {}
        for family in FAMILIES:
            size = shelved.counts[family] * k.KEY_BYTES[family]
            keys[family] = np.frombuffer(os.pread(self._file.fileno(), size, offset), k.KEY[family])
            offset += size
        return TextPart(part.lines, keys, part.faults, part.invalid)
