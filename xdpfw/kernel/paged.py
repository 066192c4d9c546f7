# SPDX-License-Identifier: Apache-2.0
"""An array for userspace alone that takes memory as it is filled: pages that are maps, pinned by number, and zeros
where there is none."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from xdpfw.kernel import libbpf
from xdpfw.kernel.mapping import side_by_side
from xdpfw.kernel.maps import ARRAY, FEW, INDEX, MMAPABLE, Indexes, MapSpec, View
from xdpfw.model.errors import MapFull

PAGE_LOG = 15
PAGE_RECORDS = 1 << PAGE_LOG
"""Of 8 bytes or a multiple of that, they fill whole pages of memory."""


class PagedArray:
    """`spec`: of the whole array. `home`: where its pages are pinned, a directory. Pages come with what is written."""

    def __init__(self, spec: MapSpec, home: Path) -> None:
        """What is pinned there, or an empty array. Raises Refused, OSError."""
        self.spec, self._home = spec, home
        self._size = PAGE_RECORDS * spec.value.itemsize
        self._lock = threading.Lock()
        self._pages: dict[int, int] = {}
        home.mkdir(exist_ok=True)
        try:
            for path in home.iterdir():
                self._pages[int(path.name)] = libbpf.get(path)
        except OSError:
            self.close()
            raise

    def pins(self) -> dict[Path, int]:
        """The descriptor of what should be at each place."""
        return {self._home / str(number): fd for number, fd in self._pages.items()}

    @contextmanager
    def mapped(self) -> Iterator[View]:
        """All records, for a moment. What is written where nothing was is lost."""
        pages = self._pages
        descriptors = [pages.get(number) for number in range(-(-self.spec.entries // PAGE_RECORDS))]
        yield side_by_side(descriptors, self._size).view(self.spec.value)[: self.spec.entries]

    def read(self, at: Indexes) -> View:
        """Copies of some records."""
        if len(at) > FEW:
            with self.mapped() as records:
                return records[at]
        copies = np.zeros(len(at), self.spec.value)
        for position, index in enumerate(at.tolist()):
            page = self._pages.get(index >> PAGE_LOG)
            if page is not None:
                record = libbpf.u32(index & (PAGE_RECORDS - 1))
                libbpf.map_lookup(page, record, copies[position : position + 1])
        return copies

    def write(self, at: Indexes, records: View) -> None:
        """Raises IndexError or MapFull, and then nothing is written."""
        if not len(at):
            return
        first, last = int(at.min()), int(at.max())
        if last >= self.spec.entries:
            raise IndexError(f"record {last} of {self.spec.name}, which has {self.spec.entries}")
        pages = self._made(np.flatnonzero(np.bincount(at >> PAGE_LOG)).tolist())
        if len(at) <= FEW:
            for position, index in enumerate(at.tolist()):
                record = libbpf.u32(index & (PAGE_RECORDS - 1))
                libbpf.map_update(pages[index >> PAGE_LOG], record, records[position : position + 1])
            return
        low, high = first >> PAGE_LOG, last >> PAGE_LOG
        live = side_by_side([pages.get(number) for number in range(low, high + 1)], self._size)
        whole: Any = np.dtype((np.void, self.spec.value.itemsize))  # without fields, records are moved whole
        live.view(whole)[at - (low << PAGE_LOG)] = records.view(whole)

    def _made(self, numbers: list[int]) -> dict[int, int]:
        """All pages, when these are among them. Writers may come at the same time."""
        with self._lock:
            pages = dict(self._pages)
            for number in numbers:
                if number not in pages:
                    pages[number] = self._make(self._home / str(number))
            self._pages = pages
        return pages

    def _make(self, path: Path) -> int:
        try:
            size = self.spec.value.itemsize
            fd = libbpf.map_create(ARRAY, self.spec.name, INDEX.itemsize, size, PAGE_RECORDS, MMAPABLE)
        except libbpf.Refused as error:
            if error.errno != errno.ENOMEM:
                raise
            raise MapFull(f"no memory for another page of {self.spec.name}; lower the limit leaves") from error
        try:
            libbpf.pin(fd, path)
        except libbpf.Refused:
            os.close(fd)
            raise
        return fd

    def close(self) -> None:
        """Whoever reads afterwards finds zeros."""
        pages, self._pages = self._pages, {}
        for fd in pages.values():
            os.close(fd)
