# SPDX-License-Identifier: Apache-2.0
"""The packet program on one interface: its own maps, its own program instance, its link."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.bpffs import Pins, remove_tree
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.maps import CAUSES, Map, MapSpec
from xdpfw.kernel.port import TALLY_COLUMNS, TalkerTable, Wish
from xdpfw.kernel.program import PacketProgram
from xdpfw.kernel.tables import pin_names
from xdpfw.kernel.talkers import copy_talkers
from xdpfw.model.errors import KernelError, NotFound
from xdpfw.model.reason import MAX_REASONS, Reason
from xdpfw.policy.ops import Ids

_EPOCH_MAX = 0xFFFF


_NUMBERS = itertools.count(1)

BOUND = ("interface", "log_wish")
"""Maps that mean something only beside the tables of the same generation: new tables get a new one."""


class InterfaceMaps:
    """config, interface, tally and talkers of one interface."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        self.maps = dict(maps)
        self._tally = threading.Lock()
        self._number = next(_NUMBERS)

    @classmethod
    def create(cls, specs: list[MapSpec], cpus: int) -> InterfaceMaps:
        made = cls({spec.name: Map.create(spec) for spec in specs})
        made._fill_in(specs, cpus, None)
        return made

    def _fill_in(self, specs: list[MapSpec], cpus: int, seed: int | None) -> None:
        config = self.config
        if not config["epoch"]:
            config["epoch"] = 1
            config["seed"] = secrets.randbits(64) if seed is None else seed
        config["buckets"] = next(spec.entries for spec in specs if spec.name == "talkers") // cpus

    @classmethod
    def open(cls, directories: list[Path], specs: list[MapSpec], cpus: int, seed: int | None) -> InterfaceMaps:
        """Pinned maps of the first directory that has them; what none has is created afresh, and all are pinned in
        the first directory. `seed`: of other interfaces, to take over where there is none yet."""
        home, names = directories[0], pin_names(specs)
        home.mkdir(parents=True, exist_ok=True)
        maps: dict[str, Map] = {}
        for spec in specs:
            places = directories[:1] if spec.name in BOUND else directories
            found = next((d / names[spec.name] for d in places if (d / names[spec.name]).exists()), None)
            maps[spec.name] = Map(spec, libbpf.get(found)) if found else Map.create(spec)
            if found is None or found.parent != home:
                libbpf.pin(maps[spec.name].fd, home / names[spec.name])
        opened = cls(maps)
        opened._fill_in(specs, cpus, seed)
        return opened

    def close(self) -> None:
        for opened in self.maps.values():
            opened.close()

    def descriptors(self) -> dict[str, int]:
        return {name: opened.fd for name, opened in self.maps.items()}

    @property
    def config(self) -> Any:
        return self.maps["config"].view[0]

    @property
    def seed(self) -> int:
        """By which addresses come into buckets of the talkers."""
        return int(self.config["seed"])

    # counters

    def read_tally(self) -> npt.NDArray[np.uint64]:
        """(causes, 6) summed over CPUs."""
        with self._tally, self._counted() as parts:
            summed: npt.NDArray[np.uint64] = parts.sum(0, dtype=np.uint64)
        return summed[:, : len(TALLY_COLUMNS)]

    def forget_slots(self, slots: Ids) -> None:
        """What rules that are gone have counted goes on under a reason of theirs, so that totals stay what they are.
        No packet counts in either place."""
        with self._tally, self._counted() as parts:
            gone = MAX_REASONS + slots
            parts[:, Reason.RULE] += parts[:, gone].sum(1, dtype=np.uint64)
            parts[:, gone] = 0

    @contextmanager
    def _counted(self) -> Iterator[npt.NDArray[np.uint64]]:
        """(cpus, causes, columns), live."""
        with self.maps["tally"].mapped() as tally:
            yield tally.view("u8").reshape(-1, CAUSES, len(layouts.TALLY.names or ()) + 1)

    def write_wish(self, wish: Wish, number: int, hz: int, slots: int) -> None:
        """`number`: of the interface, in its events."""
        record = self.maps["log_wish"].view[0]
        record["sample"], record["budget"], record["repeat"] = wish.sample, wish.budget, wish.repeat
        record["snap"], record["hz"], record["slots"], record["interface"] = wish.snap, hz, slots, number

    def write_vector(self, generation: int, number: int) -> None:
        self.maps["interface"].view[0]["vector"][generation] = number

    def vector(self, generation: int) -> int:
        return int(self.maps["interface"].view[0]["vector"][generation])

    def read_talkers(self, clock: KernelClock) -> TalkerTable:
        """Raises NotFound when they were closed meanwhile."""
        epoch, buckets = int(self.config["epoch"]), int(self.config["buckets"])
        if not epoch:
            raise NotFound("the interface was detached a moment ago")
        with self.maps["talkers"].mapped() as table:
            return copy_talkers(table, len(table) // buckets, epoch, clock.wall_times, self.seed, self._number)

    def reset_talkers(self) -> None:
        epoch = int(self.config["epoch"])
        self.config["epoch"] = epoch + 1 if epoch < _EPOCH_MAX else 1


class Instance:
    """One interface's program. The link is opened for each question, never held: unpinning it detaches."""

    def __init__(self, name: str, pins: Pins, home: Path, maps: InterfaceMaps) -> None:
        self.name, self._pins, self._home, self.maps = name, pins, home, maps

    @property
    def _program_pin(self) -> Path:
        return self._home / "program"

    # program

    def load(self, program: PacketProgram, shared: Mapping[str, int], flows: int) -> int:
        """A descriptor of the program: the pinned one if it is the same program, else loaded and pinned now. `flows`:
        the id of the table of flows that it looks at, or 0."""
        pin, fingerprint = self._program_pin, self._fingerprint(program, flows)
        if pin.exists() and int(self.maps.config["program"]) == fingerprint:
            return libbpf.get(pin)
        linked = program.compiled.link({**shared, **self.maps.descriptors()})
        try:
            fd, _ = libbpf.prog_load(program.compiled.name, linked, frags=program.frags)
        except libbpf.Refused as error:
            raise KernelError(program.refused(error.detail)) from error
        new = pin.with_name(f"{pin.name}-new")  # names with dots are not to be had in bpffs
        new.unlink(missing_ok=True)
        libbpf.pin(fd, new)
        new.replace(pin)  # whoever asks for the program meanwhile finds one
        self.maps.config["program"] = fingerprint
        return fd

    def is_current(self, program: PacketProgram, running: int, flows: int) -> bool:
        """Whether what runs (a program id) is this program with these maps."""
        if not self._program_pin.exists() or int(self.maps.config["program"]) != self._fingerprint(program, flows):
            return False
        fd = libbpf.get(self._program_pin)
        try:
            return libbpf.prog_info(fd).id == running
        finally:
            os.close(fd)

    def _fingerprint(self, program: PacketProgram, flows: int) -> int:
        """The same program with maps of other sizes is another program."""
        prints = [program.fingerprint, flows, *(opened.spec.fingerprint for opened in self.maps.maps.values())]
        return int.from_bytes(hashlib.sha256(repr(prints).encode()).digest()[:8])

    def running(self) -> int | None:
        """A descriptor of the program that the link runs; None when nothing is attached."""
        state = self.link_state()
        return libbpf.get(self._program_pin) if state and state[1] and self._program_pin.exists() else None

    def pins(self) -> dict[str, Path]:
        """Where each of its maps is pinned."""
        return {name: self._home / pin for name, pin in pin_names([m.spec for m in self.maps.maps.values()]).items()}

    def pinned(self) -> dict[Path, int]:
        return {pin: self.maps.maps[name].fd for name, pin in self.pins().items()}

    # link

    def link_state(self) -> tuple[int, int] | None:
        """Program id and interface index (0: the interface is gone); None without a pinned link."""
        return link_state(self._pins.link(self.name))

    def attach(self, fd: int, index: int, flags: int) -> None:
        """Raises libbpf.Refused."""
        link = libbpf.link_create(fd, index, flags)
        try:
            pin = self._pins.link(self.name)
            pin.unlink(missing_ok=True)
            libbpf.pin(link, pin)
        finally:
            os.close(link)

    def replace(self, fd: int) -> None:
        """The link runs this program from now on; no frame goes by unfiltered meanwhile."""
        link = libbpf.get(self._pins.link(self.name))
        try:
            libbpf.link_update(link, fd)
        finally:
            os.close(link)

    def detach(self) -> None:
        detach_link(self._pins.link(self.name))

    def remove(self) -> None:
        self.detach()
        remove_tree(self._home)


def link_state(pin: Path) -> tuple[int, int] | None:
    if not pin.exists():
        return None
    try:
        fd = libbpf.get(pin)
    except libbpf.Refused as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return None
        raise KernelError(error.detail) from error
    try:
        return libbpf.link_info(fd)
    finally:
        os.close(fd)


def detach_link(pin: Path) -> None:
    """Detach at once and unpin. Unpinning alone detaches too, but some time later."""
    if not pin.exists():
        return
    fd = libbpf.get(pin)
    try:
        libbpf.link_detach(fd)
    finally:
        os.close(fd)
        pin.unlink(missing_ok=True)
