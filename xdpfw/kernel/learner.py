# SPDX-License-Identifier: Apache-2.0
"""Flows, and the program that learns them from what leaves (bpf/egress.c), for a policy whose default is drop."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from xdpfw.kernel import libbpf, tc
from xdpfw.kernel.bpffs import Pins, remove_tree
from xdpfw.kernel.maps import Map, flow_spec, outgoing_spec
from xdpfw.kernel.port import MapFill
from xdpfw.kernel.program import PacketProgram
from xdpfw.model.errors import KernelError, XdpfwError
from xdpfw.model.interface import Link
from xdpfw.model.limits import Limits

log = logging.getLogger("xdpfw.kernel")

MOMENT = 1.0
"""Seconds of learning before a default of drop comes into force: what is going on through this host sends something
in that time, and so is known."""
EXPECTED = 60.0
"""Seconds that a change which was prepared may take to come into force."""
COUNTED_FOR = 2.0


class Learner:
    """Nothing of it is in the kernel before `run`, nor after `end`. The table of flows and the filters outlive the
    daemon. `problems`: why it does not learn on an interface, by name. Methods may be called from several threads.
    """

    def __init__(self, pins: Pins, limits: Limits, cpus: int) -> None:
        self._pins, self._spec, self._cpus = pins, flow_spec(limits), cpus
        self._flows: Map | None = None
        self._lock = threading.Lock()
        self._known: set[str] = set()
        self._began = 0.0
        self._expected = 0.0
        self._counted = (0.0, 0)
        self.problems: dict[str, str] = {}

    @property
    def _layout(self) -> str:
        return f"flows-{replace(self._spec, entries=1).fingerprint:08x}-"

    @property
    def identity(self) -> int:
        """Tells one table of flows from another; 0: there is none."""
        return libbpf.map_id(self._flows.fd) if self._flows else 0

    @property
    def maps(self) -> dict[str, Map]:
        return {self._spec.name: self._flows} if self._flows else {}

    def descriptors(self) -> dict[str, int]:
        return {name: opened.fd for name, opened in self.maps.items()}

    def pins(self) -> dict[str, Path]:
        return {self._spec.name: self._pin}

    @property
    def _pin(self) -> Path:
        return self._pins.base / f"{self._layout}{self._spec.entries}"

    # learning

    def run(self, program: PacketProgram, links: Sequence[Link]) -> None:
        """Learn on these interfaces; where it does already, it only goes on. Raises MapFull without memory for the
        table. Other failures are no reason not to filter: they are told, and sockets are known all the same."""
        with self._lock:
            flows = self._open()
            try:
                self._run(program, links, flows)
            except KernelError as error:
                self.problems = dict.fromkeys((link.name for link in links), error.detail)

    def prepare(self, program: PacketProgram, links: Sequence[Link]) -> None:
        """Begin, for a change that is about to come into force, and had better not if this fails. Raises KernelError
        and MapFull."""
        with self._lock:
            self._expected = time.monotonic() + EXPECTED
            self._run(program, links, self._open())

    def _run(self, program: PacketProgram, links: Sequence[Link], flows: Map) -> None:
        number, fd = self._load(program, flows)
        try:
            with tc.filters(self._pins.clsact_marks) as filters:
                for link in links:
                    self._attach(filters, link, number, fd)
        finally:
            os.close(fd)
        self._take_over(flows)

    def wait(self) -> None:
        """Until a moment has passed since it began on an interface."""
        left = self._began + MOMENT - time.monotonic()
        if left > 0:
            time.sleep(left)

    def _attach(self, filters: tc.Filters, link: Link, number: int, fd: int) -> None:
        try:
            present = filters.attached(link.index)
            if present != number:
                filters.attach(link.index, number, fd)
        except XdpfwError as error:
            self.problems[link.name] = error.detail
            return
        self.problems.pop(link.name, None)
        if present is None:
            self._began = time.monotonic()
            if link.name in self._known:
                log.warning("the filter that learns from what leaves %s was gone, and is there again", link.name)
        self._known.add(link.name)

    def _open(self) -> Map:
        if self._flows is None:
            if self._pin.exists():
                self._flows = Map(self._spec, libbpf.get(self._pin))
            else:
                self._flows = Map.create(self._spec)
                libbpf.pin(self._flows.fd, self._pin)
        return self._flows

    def _load(self, program: PacketProgram, flows: Map) -> tuple[int, int]:
        """Id and descriptor; the pinned program if it is the same with the same table."""
        marks = repr((program.learner_fingerprint, libbpf.map_id(flows.fd))).encode()
        pin = self._pins.base / f"learner-{hashlib.sha256(marks).hexdigest()[:16]}"
        if pin.exists():
            fd = libbpf.get(pin)
        else:
            fd = self._make(program, flows)
            libbpf.pin(fd, pin)
        for other in self._pins.others_like(pin, "learner-"):
            other.unlink()
        return libbpf.prog_info(fd).id, fd

    def _make(self, program: PacketProgram, flows: Map) -> int:
        made = program.learner
        scratch = Map.create(outgoing_spec(self._cpus))
        try:
            linked = made.link({"flows": flows.fd, "outgoing": scratch.fd})
            fd, _ = libbpf.prog_load(made.name, linked, kind=libbpf.PROG_TYPE_SCHED_CLS)
        finally:
            scratch.close()
        return fd

    def _take_over(self, flows: Map) -> None:
        """What a table of another size knows. Everything that leaves is learnt into this one by now."""
        for other in self._pins.others_like(self._pin, "flows-"):
            if other.name.startswith(self._layout):
                _copy(other, flows)
            other.unlink()

    # ending

    def detach(self, name: str) -> None:
        """Raises KernelError."""
        self.problems.pop(name, None)
        self._known.discard(name)
        with self._lock:
            tc.take_off(name, self._pins.clsact_marks)

    def end(self, names: Sequence[str]) -> None:
        """No program asks it any more: nothing of it is left."""
        with self._lock:
            pinned = self._pins.others_like(self._pins.clsact_marks, "flows-")
            pinned += self._pins.others_like(self._pins.clsact_marks, "learner-")
            if not pinned:
                return
            for name in names:
                with contextlib.suppress(XdpfwError):
                    tc.take_off(name, self._pins.clsact_marks)
            for path in (*pinned, self._pins.clsact_marks):
                remove_tree(path)
            self._forget()

    def end_if_unused(self, names: Sequence[str]) -> None:
        """After a change that was prepared, and refused."""
        if self._flows is not None and time.monotonic() > self._expected:
            self.end(names)

    def close(self) -> None:
        """What is in the kernel stays."""
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._flows is not None:
            self._flows.close()
        self._flows = None
        self._known.clear()
        self.problems.clear()

    # sight

    def fill(self, jiffies: int) -> list[MapFill]:
        """Flows that are alive at that time; counted anew every few seconds."""
        with self._lock:
            if self._flows is None:
                return []
            now = time.monotonic()
            if now - self._counted[0] > COUNTED_FOR:
                records = libbpf.map_records(self._flows.fd, self._spec.key, self._spec.value)
                alive = sum(int(np.count_nonzero(values["deadline"] > jiffies)) for _, values in records)
                self._counted = (now, alive)
            return [MapFill(self._spec.name, self._counted[1], self._spec.entries)]


def _copy(pin: Path, flows: Map) -> None:
    fd = libbpf.get(pin)
    try:
        for keys, values in libbpf.map_records(fd, flows.spec.key, flows.spec.value):
            libbpf.map_update_batch(flows.fd, keys, values)
    finally:
        os.close(fd)
