# SPDX-License-Identifier: Apache-2.0
"""The interfaces that have maps of their own, and what is written into all of them at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from xdpfw.kernel.bpffs import Pins
from xdpfw.kernel.instance import Instance, InterfaceMaps
from xdpfw.kernel.maps import MapSpec, event_slots
from xdpfw.kernel.port import Wish
from xdpfw.policy.match import RuleTables
from xdpfw.policy.ops import Ids


class Instances:
    """`tables`, the directory of the tables in use, and `hz` are known once the kernel's side is started."""

    def __init__(self, pins: Pins, specs: list[MapSpec], cpus: int) -> None:
        self._pins, self._specs, self._cpus = pins, specs, cpus
        self.tables = Path()
        self.hz = 0
        self._on: dict[str, Instance] = {}
        self._lock = threading.Lock()
        self._rules: dict[int, RuleTables] = {}
        self._wish = Wish()
        self.names: list[str] = []
        """Of all that were ever opened: an interface's events tell its place here."""

    def begin(self, tables: Path, hz: int) -> None:
        self.tables, self.hz = tables, hz
        self._rules.clear()

    def get(self, name: str) -> Instance | None:
        return self._on.get(name)

    def open(self, name: str, old: Sequence[Path] = ()) -> Instance:
        """The interface's maps, opened or made; those in `old` directories are carried over where they fit."""
        with self._lock:
            if name not in self._on:
                homes = [self._pins.interface(path, name) for path in (self.tables, *old)]
                seed = next((other.maps.seed for other in self._on.values()), None)
                maps = InterfaceMaps.open(homes, self._specs, self._cpus, seed)
                if name not in self.names:
                    self.names.append(name)
                self._on[name] = Instance(name, self._pins, homes[0], maps)
                for generation, rules in self._rules.items():
                    self._write_vector(name, generation, rules)
                self._write_wish(name)
            return self._on[name]

    def close(self, name: str) -> None:
        with self._lock:
            instance = self._on.pop(name, None)
        if instance:
            instance.maps.close()

    def release(self) -> None:
        """Nobody needs large tables mapped for now."""
        with self._lock:
            opened = [table for instance in self._on.values() for table in instance.maps.maps.values()]
        for table in opened:
            table.release()

    def close_all(self) -> None:
        for name in list(self._on):
            self.close(name)

    # rules: see InterfaceTables in apply.py

    def write_vectors(self, generation: int, rules: RuleTables) -> None:
        with self._lock:
            self._rules[generation] = rules
            for name in self._on:
                self._write_vector(name, generation, rules)

    def _write_vector(self, name: str, generation: int, rules: RuleTables) -> None:
        self._on[name].maps.write_vector(generation, rules.interfaces.get(name, rules.elsewhere))

    def pinned(self) -> dict[Path, int]:
        """Where the maps of all of them are pinned, and their descriptors."""
        with self._lock:
            return {pin: fd for instance in self._on.values() for pin, fd in instance.pinned().items()}

    def astray(self, generation: int, rules: RuleTables) -> list[str]:
        """Interfaces whose vector is not the one that these rules say."""
        with self._lock:
            return [
                name
                for name, instance in self._on.items()
                if instance.maps.vector(generation) != rules.interfaces.get(name, rules.elsewhere)
            ]

    def vector_of(self, interface: str | None, generation: int) -> int:
        """The number of the vector of an interface; None: of one that no rule names."""
        rules = self._rules.get(generation)
        return rules.interfaces.get(interface or "", rules.elsewhere) if rules else 0

    def forget_slots(self, slots: Ids) -> None:
        with self._lock:
            for instance in self._on.values():
                instance.maps.forget_slots(slots)

    # events

    def wish(self, wish: Wish) -> None:
        with self._lock:
            self._wish = wish
            for name in self._on:
                self._write_wish(name)

    def _write_wish(self, name: str) -> None:
        number = self.names.index(name)
        self._on[name].maps.write_wish(self._wish, number, self.hz, event_slots(self._cpus))
