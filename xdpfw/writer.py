# SPDX-License-Identifier: Apache-2.0
"""One write at a time: validated, then stored, then applied; or else nothing at all.

State is an immutable value. A change makes the next one beside it, and it takes the place of the old one only when
the store has it durably and the packet path enforces it. Long changes are cut into pieces that packets do not
notice (new prefixes that carry what covers them today), and others get their turn between the pieces.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import ParamSpec, TypeVar

from xdpfw.clock import ClockAnchor
from xdpfw.kernel.port import Kernel
from xdpfw.model.ban import Ban
from xdpfw.model.errors import StoreError, XdpfwError
from xdpfw.model.feature import Feature, Features
from xdpfw.model.interface import Epoch
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Prefix
from xdpfw.policy.compiler import Compiler, Plan
from xdpfw.policy.long import LongChange
from xdpfw.policy.memberships import Make, MembershipsFull
from xdpfw.policy.rows import features_of
from xdpfw.policy.sets import Edit
from xdpfw.state import NOTHING, Beside, Made, State, Undo, reverse
from xdpfw.store.port import Ledger, Packed, Store, StoredChange
from xdpfw.turns import Turns

LONG = 5_000
"""Edits that touch more prefixes than this are applied in pieces."""

ROUNDS = 3
"""How often a long change begins anew because others changed too much of what it is about. The last time it lands
however much has to be looked at again."""

log = logging.getLogger("xdpfw.writer")

P = ParamSpec("P")
T = TypeVar("T")
Progress = Callable[[int, int], None]


def ignore_progress(done: int, total: int) -> None:
    """For changes that nobody watches."""


class Writer:
    """Owns the state. `lock` is held by whoever looks at the state in order to change it. `features`: what the program
    can do."""

    def __init__(
        self,
        kernel: Kernel,
        store: Store,
        compiler: Compiler,
        state: State,
        features: Features,
        give_back: Callable[[], None] = lambda: None,
    ) -> None:
        self.state = state
        self.lock = asyncio.Lock()
        self._kernel = kernel
        self._store = store
        self._compiler = compiler
        self._bases = dict(compiler.bases)
        self._features = features
        # What the program has to do beside what the policy asks for, by who wants it.
        self._extra: dict[str, Features] = {}
        self._give_back = give_back
        self._thread = ThreadPoolExecutor(1, "xdpfw-writer")
        self.closed = False
        self._long = asyncio.Lock()
        self._tidying: asyncio.Task[None] | None = None
        self.performed = 0
        """Counts what was done to tables and programs."""

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something that blocks in the one thread that touches the store and the tables."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))

    @asynccontextmanager
    async def no_long_change(self) -> AsyncIterator[None]:
        """Long changes wait; others do not."""
        async with self._long:
            yield

    @property
    def changes_long(self) -> bool:
        """Whether a long change is under way."""
        return self._long.locked()

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._tidying:
            await self._tidying
        self._thread.shutdown()
        self.closed = True

    # Everything below without `async` runs in the writer's thread, with the lock held.

    def apply(
        self,
        edit: Edit | None = None,
        beside: Beside = NOTHING,
        *,
        counts: bool = True,
        anchor: ClockAnchor | None = None,
    ) -> State:
        """Store and enforce. `counts`: whether the revision rises (expiry and clock steps are no change of the policy).

        Raises MapFull, StoreError or KernelError; then everything is as it was.
        """
        beside = self._following(beside)
        sets = edit.sets if edit else self.state.sets
        plan = self._compiler.plan(sets, edit.touched if edit else {}, policy=beside.policy)
        return self._carry_out(plan, edit, beside, counts=counts, anchor=anchor)

    def _following(self, beside: Beside) -> Beside:
        """Rules that stay keep their counters."""
        return replace(beside, policy=beside.policy.following(self.state.policy)) if beside.policy else beside

    def _carry_out(
        self,
        plan: Plan,
        edit: Edit | None,
        beside: Beside,
        *,
        counts: bool,
        anchor: ClockAnchor | None = None,
        packed: Packed | None = None,
    ) -> State:
        old, policy = self.state, beside.policy
        revision = old.revision + 1 if counts else old.revision
        new = State(revision, edit.sets if edit else old.sets, policy or old.policy)
        forgotten = {name: None for name, mode in beside.interfaces.items() if mode is None}
        try:
            ledger = beside.ledger() if beside.ledger else None
            change = StoredChange(revision, edit, policy, beside.interfaces, anchor, ledger=ledger)
            self._store.save(replace(change, epochs=forgotten, packed=packed or Packed()))
        except Exception:
            self._compiler.abort(plan)
            raise
        undo: Undo = NOTHING.after
        try:
            if policy:
                self.use(self.wanted_between(old.policy, policy))
            undo = beside.attach()
            self._kernel.execute(plan.ops, revision)
        except Exception:
            undo()
            self._compiler.abort(plan)
            back = reverse(edit, old.sets) if edit else None
            withdrawn = Ledger(withdrawn=revision) if ledger else None
            self._store.save(StoredChange(old.revision, back, old.policy, beside.were, ledger=withdrawn))
            raise
        self.state = new
        self._committed(plan)
        beside.after()
        return new

    def use(self, features: Features) -> None:
        """The program can do at least this; it is compiled and swapped only if it could not, or could do more."""
        if features != self._features:
            self._features = self._kernel.use(features)
            self.performed += 1

    def ask(self, who: str, features: Features) -> None:
        """Somebody wants the program to be able to do this too; `use` and the next trim see to it."""
        self._extra[who] = features

    @property
    def wanted(self) -> Features:
        """What the program has to do now."""
        return self.wanted_for(self.state.policy)

    def wanted_for(self, *policies: Policy) -> Features:
        """What it has to do while any of these policies is in force."""
        return frozenset[Feature]().union(*map(features_of, policies), *self._extra.values())

    def wanted_between(self, *policies: Policy) -> Features:
        """What it has to do while one of these policies takes the place of the other, and no less than it can do now:
        a daemon that starts amid that asks for as much, and finds it compiled."""
        return self._features | self.wanted_for(*policies)

    @property
    def has_too_much(self) -> bool:
        """Whether the program has features that nobody asks for (any more)."""
        return self._features != self.wanted

    def rehearse(self, edit: Edit | None = None, policy: Policy | None = None) -> None:
        """Raise what `apply` would raise for lack of room, and change nothing."""
        sets = edit.sets if edit else self.state.sets
        policy = policy.following(self.state.policy) if policy else None
        self._compiler.abort(self._compiler.plan(sets, edit.touched if edit else {}, policy=policy))

    def record(self, ledger: Ledger) -> None:
        """Write down what changes neither sets, policy nor interfaces."""
        self._store.save(StoredChange(self.state.revision, ledger=ledger))

    def save_bans(self, bans: Mapping[Prefix, Ban | None], ledger: Ledger | None = None) -> None:
        """Store which bans are in force (None: not any more). The revision rises if somebody wrote that (`ledger`)."""
        revision = self.state.revision + 1 if ledger else self.state.revision
        self._store.save(StoredChange(revision, bans=bans, ledger=ledger))
        self.state = replace(self.state, revision=revision)

    def _perform(self, plan: Plan) -> None:
        try:
            self._kernel.execute(plan.ops, self.state.revision)
        except Exception:
            self._compiler.abort(plan)
            raise
        self._committed(plan)

    def _committed(self, plan: Plan) -> None:
        """Counts that changed hands are stored too: without them a restarted daemon could not tell whose they are."""
        self.performed += 1
        self._compiler.commit(plan, self._kernel.read_leaves)
        bases = self._compiler.bases
        if bases == self._bases:
            return
        try:
            self._store.save(StoredChange(self.state.revision, bases=bases))
        except StoreError as error:  # the change itself is stored and in force; the next one tries this again
            log.error("hit counts could not be stored: %s", error.detail)
        else:
            self._bases = dict(bases)

    def _retire(self, limit: int) -> bool:
        plan = self._compiler.retire(limit)
        if plan is None:
            return False
        self._perform(plan)
        return True

    def settle(self) -> None:
        """Make what earlier changes freed usable again: for idle moments."""
        plan = self._compiler.settle()
        if plan is not None:
            self._perform(plan)

    def save_epoch(self, name: str, epoch: Epoch, ledger: Ledger) -> None:
        """Store when an interface's talkers were last counted afresh."""
        self._store.save(StoredChange(self.state.revision, epochs={name: epoch}, ledger=ledger))

    async def change(
        self,
        make_edit: Callable[[State], Edit],
        progress: Progress = ignore_progress,
        *,
        counts: bool = True,
        beside: Callable[[Edit], Beside] = lambda _: NOTHING,
    ) -> Edit:
        """Apply an edit of any size, made from the state at the moment when it takes effect.

        `make_edit` is called to learn how much is to be done, and once more if others wrote meanwhile. It raises to
        refuse. `beside` is asked for what goes with the edit at that moment.
        """
        made = Made(make_edit)
        edit = await asyncio.to_thread(made, self.state)
        if not is_long(edit):
            return await self._change_now(made, beside, counts=counts)
        await self._long.acquire()
        try:
            edit = await self._change_long(made, beside, progress, counts=counts)
        except BaseException:
            await self._tidy_up()
            raise
        # It is stored and enforced: nobody needs to wait for what is left over.
        self._tidying = asyncio.create_task(self._tidy_up())
        return edit

    async def _tidy_up(self) -> None:
        """The end of a long change; the next one begins when its leaves are free again."""
        try:
            await self._clear_up()
            await asyncio.to_thread(self._store.tidy)
            await asyncio.to_thread(self._give_back)
        except XdpfwError as error:  # a later change or the next start takes the rest
            log.error("prefixes that no set holds could not be taken out: %s", error.detail)
        except Exception:
            log.exception("prefixes that no set holds could not be taken out: this is a defect")
        finally:
            self._long.release()

    async def _change_now(self, made: Made, beside: Callable[[Edit], Beside], *, counts: bool) -> Edit:
        def work() -> Edit:
            edit = made(self.state)
            goes_with = beside(edit)
            if edit.changed or goes_with.ledger:
                self.apply(edit, goes_with, counts=counts)
            return edit

        async with self.lock:
            return await self.call(work)

    async def _change_long(
        self, made: Made, beside: Callable[[Edit], Beside], progress: Progress, *, counts: bool
    ) -> Edit:
        for left in reversed(range(ROUNDS)):
            async with self.lock:
                change = await self.call(lambda: self._compiler.begin(made(self.state), self._in_thread))
            try:
                await asyncio.to_thread(self._look, change)
                async with self.lock:
                    await self.call(self._reserve, change)
                finishing = asyncio.create_task(asyncio.to_thread(self._finish, change))
                try:
                    await self._announce(change, progress)
                finally:
                    packed = await finishing
                most = LONG if left else None
                async with self.lock:
                    edit = await self.call(self._land, made, beside, packed, counts=counts, most=most)
            finally:
                async with self.lock:
                    await self.call(self._compiler.end)
            if edit is not None:
                break
        assert edit is not None
        return edit

    def _in_thread(self, make: Make) -> list[int]:
        """From another thread: call in the writer's."""
        return self._thread.submit(make).result()

    def _look(self, change: LongChange) -> None:
        try:
            change.look()
        except MembershipsFull:
            if not self._thread.submit(self._compiler.sweep).result():
                raise
            change.look()

    def _reserve(self, change: LongChange) -> None:
        while (plan := self._compiler.make_room(change)) is not None:
            self._perform(plan)
        self._compiler.reserve(change)

    async def _announce(self, change: LongChange, progress: Progress) -> None:
        done, total = 0, sum(map(len, change.added().values()))
        turns = Turns(self.lock)
        while True:
            async with turns.turn() as limit:
                count = await self.call(self._announce_piece, limit)
            if not count:
                return
            done += count
            progress(done, total)

    def _announce_piece(self, limit: int) -> int:
        plan = self._compiler.piece(limit)
        if plan is None:
            return 0
        self._perform(plan)
        return sum(map(len, plan.outcome.announced))

    def _finish(self, change: LongChange) -> Packed:
        change.finish()
        return self._store.pack(change.edit)

    def _land(
        self, made: Made, beside: Callable[[Edit], Beside], packed: Packed, *, counts: bool, most: int | None
    ) -> Edit | None:
        """None when it is better to begin anew."""
        edit = made(self.state)
        goes_with = self._following(beside(edit))
        if edit.changed or goes_with.ledger:
            plan = self._compiler.land(edit.sets, edit.touched, policy=goes_with.policy, most=most)
            if plan is None:
                return None
            self._carry_out(plan, edit, goes_with, counts=counts, packed=packed)
        return edit

    async def _clear_up(self) -> None:
        """Delete leaves that no set holds any more. Packets do not notice; a restarted daemon would do it as well."""
        turns = Turns(self.lock)
        while True:
            async with turns.turn() as limit:
                if not await self.call(self._retire, limit):
                    return


def is_long(edit: Edit) -> bool:
    return sum(len(keys) for keys in edit.touched.values()) > LONG
