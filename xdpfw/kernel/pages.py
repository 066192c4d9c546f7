# SPDX-License-Identifier: Apache-2.0
"""Tables that grow by pages: a map of maps, whose slots lead to small arrays (bpf/tiers.h).

Pages are pinned beside the map, by number, and mapped only while somebody works in them. There are two banks of
numbers, so that a table can be laid out anew beside the one that packets read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xdpfw.kernel import libbpf
from xdpfw.kernel.mapping import side_by_side
from xdpfw.kernel.maps import PAGE, PAGE_LINES, PAGE_SLOTS, Map, View
from xdpfw.model.errors import MapFull

SLOTS, LINES = PAGE_SLOTS, PAGE_LINES


class Pages:
    """`outer` has SLOTS slots; page n belongs to bank n // SLOTS."""

    def __init__(self, outer: Map, home: Path) -> None:
        self._outer, self._home = outer, home
        self.table = outer.spec.name
        self._mapped: dict[tuple[int, ...], View] = {}

    def numbers(self) -> list[int]:
        """All pages there are, in order."""
        return sorted(int(path.name) for path in self._home.iterdir()) if self._home.is_dir() else []

    def view(self, numbers: Sequence[int]) -> View:
        """The words of pages side by side, (LINES * pages, 8): the kernel's own memory, mapped until `release`."""
        if not numbers:
            return np.empty((0, 8), np.uint64)
        mapped = self._mapped.get(pages := tuple(numbers))
        if mapped is None:
            opened: list[int] = []
            try:
                opened += (libbpf.get(self._home / str(number)) for number in pages)
                mapped = side_by_side(opened, PAGE.bytes).view(np.uint64).reshape(-1, 8)
            finally:
                for fd in opened:
                    os.close(fd)
            self._mapped[pages] = mapped
        return mapped

    def release(self) -> None:
        """What is mapped would count as this process's memory."""
        self._mapped.clear()

    def add(self, numbers: Sequence[int]) -> None:
        """Pages full of zeros, to which nothing leads yet.

        Raises:
            MapFull: memory is short; then there is none of them.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        made: list[int] = []
        try:
            for number in numbers:
                fd = libbpf.map_create(PAGE.kind, PAGE.name, PAGE.key.itemsize, PAGE.value.itemsize, LINES, PAGE.flags)
                try:
                    libbpf.pin(fd, self._home / str(number))
                finally:
                    os.close(fd)
                made.append(number)
        except libbpf.Refused as error:
            self.drop(made)
            if error.errno != errno.ENOMEM:
                raise
            raise MapFull(f"no memory for another page of {self._outer.spec.name}") from error

    def lead(self, slots: Sequence[int], numbers: Sequence[int]) -> None:
        """Slots lead to these pages from now on; on return no packet is in the pages that they led to before."""
        opened = {number: libbpf.get(self._home / str(number)) for number in set(numbers)}
        try:
            values = np.array([opened[number] for number in numbers], np.uint32)
            _, error = libbpf.map_update_batch(self._outer.fd, np.array(slots, np.uint32), values)
        finally:
            for fd in opened.values():
                os.close(fd)
        if error is not None:
            raise error

    def leads_to(self, slot: int, number: int) -> bool:
        return self.id_in(slot) == self.id_of(number)

    def id_of(self, number: int) -> int | None:
        """The kernel's id of a page, None where it is not pinned."""
        return id_at(self._home / str(number))

    def id_in(self, slot: int) -> int:
        """The kernel's id of the page that a slot leads to, 0 for none."""
        value = libbpf.u32(0)
        return int(value[0]) if libbpf.map_lookup(self._outer.fd, libbpf.u32(slot), value) else 0

    def pin_again(self, number: int, slot: int) -> None:
        """A page whose pin is gone, and to which this slot leads. An empty one if it does not, or if it may not be
        opened (which takes CAP_SYS_ADMIN): packets stay in the old one until the slot leads to this."""
        try:
            fd = libbpf.map_by_id(self.id_in(slot))
        except libbpf.Refused:
            self.add([number])
            return
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            libbpf.pin(fd, self._home / str(number))
        finally:
            os.close(fd)

    def clear(self, slot: int) -> None:
        """The slot leads nowhere any more, and no packet is in the page that it led to."""
        libbpf.map_delete(self._outer.fd, libbpf.u32(slot))

    def drop(self, numbers: Sequence[int]) -> None:
        """Pages to which nothing leads."""
        self.release()
        for number in numbers:
            (self._home / str(number)).unlink()


def id_at(path: Path) -> int | None:
    """Of the map that is pinned there."""
    try:
        fd = libbpf.get(path)
    except libbpf.Refused:
        return None
    try:
        return libbpf.map_id(fd)
    finally:
        os.close(fd)
