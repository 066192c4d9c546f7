# SPDX-License-Identifier: Apache-2.0
"""What every use case stands on: the ports, the state, the one writer; start and stop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from xdpfw.bans import BanList
from xdpfw.clock import Clock, ClockAnchor, SystemClock
from xdpfw.drift import Drift
from xdpfw.events import Events
from xdpfw.hold import Hold
from xdpfw.hub import Hub
from xdpfw.interfaces import Interfaces
from xdpfw.kernel.port import Kernel, Started
from xdpfw.model.errors import Conflict, Unavailable, XdpfwError
from xdpfw.model.feature import Feature
from xdpfw.model.ledger import AuditRecord, Pending
from xdpfw.model.limits import Limits
from xdpfw.model.prefix import Prefix
from xdpfw.model.views import OperationView
from xdpfw.policy.compiler import Compiler
from xdpfw.policy.replacement import Since
from xdpfw.policy.rows import features_of
from xdpfw.policy.sets import Sets
from xdpfw.service.guards import Guards
from xdpfw.service.reading import Readers
from xdpfw.service.telling import tell
from xdpfw.service.undoing import overdue
from xdpfw.state import State
from xdpfw.store.port import Ledger, Saved, Store, StoredChange
from xdpfw.traffic import Traffic
from xdpfw.troubles import Troubles
from xdpfw.versions import Versions
from xdpfw.writer import Writer

T = TypeVar("T")

MOST_NOTES = 1000
"""Refused writes that wait to be written down; the oldest give way."""

RETRY_AFTER = 2
"""Seconds after which a caller who met a starting daemon may try again."""


class Core:
    """`management`: prefixes that no change may cut off by accident; `protect_ssh`: ssh peers and gateways neither.
    `hold`: the mark of a detach by hand. `give_back` is called when what took much memory is done, and may block."""

    def __init__(
        self,
        kernel: Kernel,
        store: Store,
        *,
        clock: Clock | None = None,
        limits: Limits | None = None,
        management: Iterable[Prefix] = (),
        instance: str = "xdpfw",
        protect_ssh: bool = True,
        hold: Hold | None = None,
        give_back: Callable[[], None] = lambda: None,
    ) -> None:
        self.kernel = kernel
        self.store = store
        self.clock = clock or SystemClock()
        self.limits = limits or Limits()
        self.instance = instance
        self.versions = Versions()
        self.traffic = Traffic(kernel, self.clock)
        self.hub = Hub(self.clock)
        self.events = Events(self.clock)
        self.watched = asyncio.Event()
        self.drift = Drift(self.clock)
        self.troubles = Troubles(self.clock)
        self.guards = Guards(kernel, self.clock, tuple(management), protect_ssh=protect_ssh)
        self.bans = BanList(lambda: kernel.bans, self.clock)
        self.operation: OperationView | None = None
        self.lists: list[Since] = []
        """Those that arrive, or take the place of a set's entries."""
        self.readers = Readers()
        self.pending: Pending | None = None
        self.overdue: str | None = None
        self._notes: deque[AuditRecord] = deque(maxlen=MOST_NOTES)
        self._hold = hold
        self.give_back = give_back
        self.warnings: list[str] = []
        # Interfaces that the settings name and that are not attached, and why: until they are, it is not ready.
        self.to_attach: dict[str, str] = {}
        self.started_at = self.clock.wall()
        self.started_monotonic = self.clock.monotonic()
        self.anchor = ClockAnchor.take(self.clock)
        self._writer: Writer | None = None
        self._interfaces: Interfaces | None = None
        self._compiler: Compiler | None = None
        self._start_problem = "starting: the tables of the packet path are being filled"

    @property
    def writer(self) -> Writer:
        return self._ready(self._writer)

    @property
    def interfaces(self) -> Interfaces:
        return self._ready(self._interfaces)

    @property
    def compiler(self) -> Compiler:
        return self._ready(self._compiler)

    @property
    def state(self) -> State:
        return self.writer.state

    @property
    def revision(self) -> int:
        return self._writer.state.revision if self._writer else 0

    def _ready(self, part: T | None) -> T:
        if part is None:
            raise Unavailable(self._start_problem)
        return part

    def notes(self) -> list[AuditRecord]:
        """What waits to be written down, taken out."""
        found = list[AuditRecord]()
        while self._notes:
            found.append(self._notes.popleft())
        return found

    def etag(self, resource: str) -> str:
        return self.versions.tag(resource)

    async def load(self) -> None:
        """Bring store, tables and programs together, then attach what is wanted. Filtering never stops meanwhile.

        Raises StoreError, KernelError or MapFull: what was pinned stays in force as it was.
        """
        try:
            await asyncio.to_thread(self._load)
        except Exception as error:
            self._start_problem = f"the start failed: {error}"
            raise

    def _load(self) -> None:
        saved = self.store.load()
        started = self.kernel.start()
        self._check_not_forgotten(saved, started)
        current = self._without_overdue(replace(saved, sets=self._catch_up(saved)))
        features = features_of(current.policy)
        if saved.bans or len(self.kernel.bans.read()):
            features |= {Feature.BANS}
        # Until the tables hold what is current, packets meet what was in force: to a program that does not look at all
        # fields of a rule, the rule would match more.
        used = self.kernel.use(features | started.features)
        compiler = Compiler(self.limits, started, bases=saved.bases)
        for plan in compiler.compile_all(current.sets, current.policy):
            self.kernel.execute(plan.ops, current.revision)
            compiler.commit(plan, self.kernel.read_leaves)
        step = self.anchor.step_since(saved.anchor)
        if refused := self.bans.restore(saved.bans.values(), current.policy, step):
            self.warnings.append(f"{refused:,} bans found no room; raise bans under [limits] in the configuration file")
        self.kernel.activate()
        if started.reason:
            self.warnings.append(started.reason)
        interfaces = Interfaces(self.kernel, current.interfaces, self._hold)
        interfaces.reconcile()
        if saved.pending and not current.pending:
            self._bring_back(saved.pending, interfaces)
        # Filters that are in force stay so, also when the store that wanted them was lost.
        for name, attachment in interfaces.attached.items():
            interfaces.desired.setdefault(name, attachment.mode)
        self.traffic.epochs.update(saved.epochs)
        self._compiler = compiler
        self._interfaces = interfaces
        state = State(current.revision, current.sets, current.policy)
        self._writer = Writer(self.kernel, self.store, compiler, state, used, self.give_back)
        self._writer.ask("bans", features & {Feature.BANS})
        self.give_back()

    def _check_not_forgotten(self, saved: Saved, started: Started) -> None:
        """Raises Conflict: the tables hold prefixes, and the store has never held any. To follow it would let pass what
        is blocked."""
        held = sum(map(len, started.directory.keys.values()))
        if held and not saved.revision:
            raise Conflict(
                f"the database is new and empty, but the filters in force hold {held:,} prefixes, which stay: put a "
                "backup in its place (xdpfw restore FILE), or take the filters off and begin anew (xdpfw detach --all "
                "--offline)"
            )

    def _catch_up(self, saved: Saved) -> Sets:
        """What the passing of time and steps of the clock did to the sets while no daemon ran."""
        sets = saved.sets
        if step := self.anchor.step_since(saved.anchor):
            edit = sets.shift(step)
            self.store.save(StoredChange(saved.revision, edit, anchor=self.anchor))
            sets = edit.sets
        elif saved.anchor != self.anchor:
            self.store.save(StoredChange(saved.revision, anchor=self.anchor))
        edit = sets.expire(self.clock.wall())
        if edit.changed:
            self.store.save(StoredChange(saved.revision, edit))
        return edit.sets

    def _bring_back(self, pending: Pending, interfaces: Interfaces) -> None:
        """Bring back the interfaces that are still attached as a change wanted it that nobody confirmed."""
        for name, mode in pending.interfaces.items():
            try:
                if mode is None:
                    interfaces.detach(name)
                elif name in pending.ran and name in interfaces.attached:
                    interfaces.attach(name, pending.ran[name])
            except XdpfwError as error:
                self.warnings.append(f"{name} could not be brought back to what it was: {error.detail}")

    def _without_overdue(self, saved: Saved) -> Saved:
        """Without a change that nobody confirmed in time. One whose time is not over goes on waiting."""
        pending = saved.pending
        if pending is None:
            return saved
        boot, wall, monotonic = self.anchor.boot, self.clock.wall(), self.clock.monotonic()
        left = pending.left(boot, wall, monotonic)
        if left > 0:
            self.pending = replace(pending, boot=boot, deadline=monotonic + left)
            self.store.save(StoredChange(saved.revision, ledger=Ledger(pending=self.pending)))
            return saved
        before = self.store.before(pending.revision)
        current, change = overdue(saved, pending, before, wall, self.anchor.step_since(before.anchor))
        self.store.save(change)
        if change.ledger:
            tell(change.ledger.audit[-1])
        self.warnings.append(f"revision {pending.revision} was not confirmed in time, and was taken back at the start")
        return current

    def end_streams(self) -> None:
        """Whoever follows something is told that it is over."""
        self.hub.close()
        self.events.close()

    async def close(self, *, detach: bool = False) -> None:
        """Stop. Filters stay in force, unless `detach`: then nothing of this instance is left in the kernel; neither
        is it where nothing is attached or wanted, because tables that no program reads are memory for nothing."""
        self.end_streams()
        if self._writer and self._interfaces:
            await self._writer.close()
            idle = not self._interfaces.desired and not self._interfaces.attached
            async with self._writer.lock:
                await asyncio.to_thread(self.kernel.stop, detach or idle)
        self.readers.close()
        self.store.close()
