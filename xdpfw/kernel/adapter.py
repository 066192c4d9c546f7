# SPDX-License-Identifier: Apache-2.0
"""The real kernel behind the port: puts together tables, program, interfaces and clocks of one instance."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import attach as attaching
from xdpfw.kernel import capabilities, closed, machine, neighbours, netlink, takeover
from xdpfw.kernel.apply import Applier
from xdpfw.kernel.bpffs import DEFAULT, Pins, remove_tree
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.event_ring import EventRings
from xdpfw.kernel.facts import program_facts
from xdpfw.kernel.grace import Grace
from xdpfw.kernel.instance import Instance, detach_link, link_state
from xdpfw.kernel.instances import Instances
from xdpfw.kernel.learner import Learner
from xdpfw.kernel.lock import StateLock
from xdpfw.kernel.maps import interface_specs, possible_cpus
from xdpfw.kernel.port import (
    BanTable,
    Brief,
    EventBatch,
    Judgement,
    MapFill,
    ProgramFacts,
    Started,
    TalkerTable,
    Wish,
)
from xdpfw.kernel.program import PacketProgram
from xdpfw.kernel.tables import Tables
from xdpfw.kernel.twin import Twin, Twins
from xdpfw.kernel.verify import Verifier
from xdpfw.model.deviation import Deviation
from xdpfw.model.errors import MapFull, NotFound, XdpfwError
from xdpfw.model.feature import Feature, Features
from xdpfw.model.interface import Attachment, AttachMode, ForeignProgram, Link, Neighbour, Route
from xdpfw.model.limits import Limits
from xdpfw.model.prefix import Prefix
from xdpfw.policy.expected import Expected
from xdpfw.policy.ops import Ids, Op


class RealKernel:
    """One instance: all it pins is under <bpffs>/xdpfw-<instance>, all else it keeps is in `state_dir`."""

    def __init__(
        self, instance: str, state_dir: Path, limits: Limits, bpffs: Path = DEFAULT, *,
        wall: Callable[[], int] | None = None, program: PacketProgram | None = None,
    ) -> None:  # fmt: skip
        self.instance, self._state_dir, self.limits, self._wall = instance, state_dir, limits, wall
        self._pins = Pins(instance, bpffs)
        self._cpus = possible_cpus()
        self._instances = Instances(self._pins, interface_specs(limits, self._cpus), self._cpus)
        self.program = program or PacketProgram.of(state_dir)
        self._learner = Learner(self._pins, limits, self._cpus)
        self._twins = Twins(lambda: Twin(self.program, self.descriptors(), self._cpus))
        self._rings: EventRings | None = None
        self._opened: ExitStack | None = None

    # life

    def start(self) -> Started:
        with ExitStack() as opened:
            opened.callback(StateLock(self._state_dir).release)
            capabilities.check()
            self._pins.prepare()
            self.clock = opened.enter_context(closing(KernelClock(self._wall) if self._wall else KernelClock()))
            self._grace = opened.enter_context(closing(Grace()))
            self._find_tables()
            opened.callback(lambda: self.tables.close())
            opened.callback(self._learner.close)
            started = takeover.started(self.tables, self._reason)
            if started.adopted:
                # Before the first change: it writes into the maps of every interface.
                for name in self._pins.linked():
                    self._instances.open(name)
            self._opened = opened.pop_all()
        return started

    def _find_tables(self) -> None:
        found, self._reason = takeover.find(self._pins, self.limits, self._cpus)
        if found is not None:
            self._use(found)
            try:
                self.applier.adopt()
                return
            except MapFull as error:
                self._reason = f"the pinned tables could not be put right: {error.detail}"
                found.close()
        self._use(self._create_tables())

    def _use(self, tables: Tables) -> None:
        self.tables, self.applier = tables, Applier(tables, self.clock, self._grace.wait, self._instances)
        self._instances.begin(tables.path, self.clock.hz)
        self.verifier = Verifier(tables, self.applier, self._instances, self.clock, self._outdated, self._bring_program)

    def _create_tables(self) -> Tables:
        number = max(self._pins.tables(), default=0) + 1
        return Tables.create(self._pins.tables_of(number), self.limits, self._cpus)

    def activate(self) -> list[Attachment]:
        old = takeover.others(self._pins, self.tables.path)
        if not self.tables.meta["ready"]:
            takeover.carry_over(self.tables, self.applier.bans, old)
        self._bring_programs(old)
        self.tables.meta["ready"] = 1
        for path in old:
            remove_tree(path)
        return self.attachments()

    def _bring_programs(self, old: Sequence[Path] = ()) -> None:
        """In place, on every interface where something else is running."""
        if self._learns:
            self._learner.run(self.program, self._links())
        for instance, running in self._outdated(old):
            self._bring_program(instance, running)
        if not self._learns:
            self._learner.end(self._pins.linked())
        self.tables.note_features(self.program.features)

    def _outdated(self, old: Sequence[Path] = ()) -> Iterator[tuple[Instance, int]]:
        for name in self._pins.linked():
            instance = self._instances.open(name, old)
            state = instance.link_state()
            if state and state[1] and not instance.is_current(self.program, state[0], self._flows):
                yield instance, state[0]

    @property
    def _learns(self) -> bool:
        return Feature.ESTABLISHED in self.program.features

    def _links(self) -> list[Link]:
        """Those with a program of ours."""
        indexes = {state[1] for name in self._pins.linked() if (state := link_state(self._pins.link(name)))}
        return [seen.link for seen in netlink.interfaces() if seen.link.index in indexes]

    def _bring_program(self, instance: Instance, running: int) -> None:
        if refused := closed.native_refused(running):
            instance.maps.config["native_error"] = refused
        fd = self._load(instance)
        instance.replace(fd)
        os.close(fd)

    def compile(self, features: Features) -> None:
        self.program.made_for(features).have()

    def prepare(self, features: Features) -> None:
        program = self.program.quickest(features)
        program.prepare()
        if Feature.ESTABLISHED in features:
            self._learner.prepare(program, self._links())
            self._learner.wait()
        _ = program.compiled

    def use(self, features: Features) -> Features:
        before, self.program = self.program, self.program.quickest(features)
        if self.program is before:
            return before.features
        try:
            # New tables come into force with `activate`; until then the old program goes with the old ones.
            if self.tables.meta["ready"]:
                self._bring_programs()
        except XdpfwError:
            self.program = before
            raise
        self.program.keep()
        self._twins.close()
        return self.program.features

    def stop(self, detach: bool) -> None:
        if self._opened is None:
            return
        if detach:
            names = self._pins.linked()
            for name in names:
                detach_link(self._pins.link(name))
            self._learner.end(names)
            self._pins.remove()
        self._instances.close_all()
        self._twins.close()
        self._opened.close()
        self._opened = None

    # policy

    def execute(self, ops: Sequence[Op], revision: int) -> None:
        self.applier.execute(ops, revision)

    def verify(self, expected: Expected, *, mend: bool = False, quick: bool = False) -> list[Deviation]:
        if mend:
            self._pins.prepare()
        return self.verifier.look(expected, mend=mend, quick=quick)

    @property
    def bans(self) -> BanTable:
        return self.applier.bans

    # interfaces

    def interfaces(self) -> list[Link]:
        return [seen.link for seen in netlink.interfaces()]

    def foreign_program(self, name: str) -> ForeignProgram | None:
        seen = netlink.find(name)
        return attaching.foreign_program(seen, self._own_programs()) if seen else None

    def attach(self, name: str, mode: AttachMode) -> Attachment:
        if (seen := netlink.find(name)) is None:
            raise NotFound(f"there is no interface {name!r}")
        self._pins.prepare()  # somebody may have unmounted what they were in
        if other := attaching.foreign_program(seen, self._own_programs()):
            raise attaching.conflict(name, other)
        self._follow_rename(seen.link)
        instance = self._instances.open(name)
        state = instance.link_state()
        if state and state[1] == seen.link.index and closed.is_stand_in(state[0]):
            self._bring_program(instance, state[0])
            seen, state = netlink.find(name) or seen, instance.link_state()
        if state and state[1] == seen.link.index:
            present = seen.mode_of(state[0])
            fell_back = present is AttachMode.GENERIC and bool(instance.maps.config["native_error"])
            if mode is present or (mode is AttachMode.AUTO and (present is AttachMode.NATIVE or fell_back)):
                return self._attachment(instance, seen, state[0])
            return self._change_mode(instance, seen.link, present, mode)
        try:
            if self._learns:
                self._learner.run(self.program, [seen.link])
            self._attach_anew(instance, seen.link, mode)
        except XdpfwError:
            if state is None:
                self._forget(name)
            raise
        return self._attached_now(instance)

    def _follow_rename(self, link: Link) -> None:
        """An interface that was renamed while attached keeps its program; its pins follow it to its new name."""
        for name in self._pins.linked():
            state = link_state(self._pins.link(name))
            if state and state[1] == link.index and name != link.name:
                self._instances.close(link.name)
                self._instances.close(name)
                self._pins.rename(self.tables.path, name, link.name)

    def _change_mode(self, instance: Instance, link: Link, old: AttachMode, new: AttachMode) -> Attachment:
        """The one change with a gap: the kernel knows no way from one mode to the other."""
        instance.detach()
        try:
            self._attach_anew(instance, link, new)
        except XdpfwError:
            self._attach_anew(instance, link, old)
            raise
        return self._attached_now(instance)

    def _attach_anew(self, instance: Instance, link: Link, mode: AttachMode) -> None:
        fd = self._load(instance)
        try:
            _, refused = attaching.attach(instance, fd, link, mode)
        finally:
            os.close(fd)
        instance.maps.config["native_error"] = refused

    def _attached_now(self, instance: Instance) -> Attachment:
        seen, state = netlink.find(instance.name), instance.link_state()
        if seen is None or state is None or state[1] != seen.link.index:
            raise NotFound(f"{instance.name} went away while the program was attached")
        return self._attachment(instance, seen, state[0])

    def detach(self, name: str) -> None:
        if name not in self._pins.linked():
            raise NotFound(f"{name} is not attached")
        self._forget(name)

    def _forget(self, name: str) -> None:
        self._instances.open(name).remove()
        self._instances.close(name)  # last: whoever looks meanwhile would open it again
        self._learner.detach(name)

    def mend(self) -> dict[str, str]:
        if not self._learns:
            self._learner.end_if_unused(self._pins.linked())
            return {}
        self._learner.run(self.program, self._links())
        return dict(self._learner.problems)

    def attachments(self) -> list[Attachment]:
        links = {seen.link.name: seen for seen in netlink.interfaces()}
        found = []
        for name in self._pins.linked():
            state, seen = link_state(self._pins.link(name)), links.get(name)
            if not (state and seen and state[1] == seen.link.index):
                continue
            if closed.is_stand_in(state[0]):
                found.append(Attachment(name, state[1], seen.mode_of(state[0]), state[0], closed=True))
            else:
                found.append(self._attachment(self._instances.open(name), seen, state[0]))
        return found

    def shut(self, wanted: Mapping[str, AttachMode], management: Iterable[Prefix]) -> dict[str, str]:
        """Nothing passes on these interfaces until the packet program can be attached; see closed.py."""
        return closed.close(wanted, management, self.instance, self._pins.root)

    def _attachment(self, instance: Instance, seen: netlink.Seen, program: int) -> Attachment:
        mode, refused = seen.mode_of(program), int(instance.maps.config["native_error"])
        warning = ""
        if mode is AttachMode.GENERIC and refused:
            warning = attaching.fallback_warning(refused, seen.link)
        return Attachment(seen.link.name, seen.link.index, mode, program, warning)

    def changes(self) -> AsyncIterator[None]:
        return netlink.changes()

    def _own_programs(self) -> set[int]:
        states = (link_state(self._pins.link(name)) for name in self._pins.linked())
        return {state[0] for state in states if state and state[1]}

    def _load(self, instance: Instance) -> int:
        return instance.load(self.program, self.descriptors(), self._flows)

    def descriptors(self) -> dict[str, int]:
        """Of the tables that all interfaces share."""
        return {**self.tables.descriptors(), **self._learner.descriptors()}

    @property
    def _flows(self) -> int:
        return self._learner.identity if self._learns else 0

    # counters

    def read_tally(self, name: str) -> npt.NDArray[np.uint64]:
        return self._counting(name).maps.read_tally()

    def read_talkers(self, name: str) -> TalkerTable:
        return self._counting(name).maps.read_talkers(self.clock)

    def reset_talkers(self, name: str) -> None:
        self._counting(name).maps.reset_talkers()

    def read_rules(self) -> npt.NDArray[np.uint64]:
        return self.applier.rules.counts()

    def read_leaves(self, leaves: Ids) -> npt.NDArray[np.uint64]:
        return self.tables.hits.read(leaves)

    def _counting(self, name: str) -> Instance:
        if instance := self._instances.get(name):
            return instance
        raise NotFound(f"{name} is not attached")

    # events

    def wish(self, wish: Wish) -> None:
        self._instances.wish(wish)

    def read_events(self) -> EventBatch:
        self._rings = self._rings or EventRings(self.tables.maps["log_states"], self.tables.maps["events"])
        return self._rings.read()

    def event_interfaces(self) -> dict[int, str]:
        return dict(enumerate(self._instances.names))

    # sight

    def fill(self) -> list[MapFill]:
        fills = [MapFill(n, used, self.tables.maps[n].spec.entries) for n, used in self.applier.fill.items()]
        return [*fills, *self._learner.fill(self.clock.jiffies())]

    def features(self) -> dict[str, Any]:
        return machine.describe(self.program, self.clock, self._cpus)

    def judge(self, frame: bytes, interface: str | None = None) -> Judgement:
        judgement = self._twins.judge(frame, self._vector_of(interface))
        return replace(judgement, tier=self.tables.tier_of(judgement.leaf))

    def judge_all(self, frames: Sequence[bytes], interface: str | None = None) -> list[Brief]:
        return self._twins.judge_all(frames, self._vector_of(interface))

    def _vector_of(self, interface: str | None) -> int:
        return self._instances.vector_of(interface, self.tables.generation)

    def program_facts(self, name: str, seconds: float = 0.0) -> ProgramFacts:
        return program_facts(self._counting(name), self.tables, self._learner, self.program, seconds)

    def neighbours(self) -> list[Neighbour]:
        return neighbours.found()

    def route(self, address: str) -> Route:
        return neighbours.route(address)
