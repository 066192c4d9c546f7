# SPDX-License-Identifier: Apache-2.0
"""One write at a time: validated, then stored, then applied; or else nothing at all.

State is an immutable value. A change makes the next one beside it, and it takes the place of the old one only when
the store has it durably and the packet path enforces it. Long changes are cut into pieces that packets do not
notice (new prefixes that carry what covers them today), and others get their turn between the pieces.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ParamSpec, TypeVar

from xdpfw.clock import ClockAnchor
from xdpfw.kernel.port import Kernel
from xdpfw.model.errors import StoreError, XdpfwError
from xdpfw.model.feature import Features
from xdpfw.model.interface import AttachMode, Epoch
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy.compiler import Compiler, Plan
from xdpfw.policy.ops import Keys
from xdpfw.policy.rows import features_of
from xdpfw.policy.sets import Edit, Sets
from xdpfw.store.port import Store, StoredChange

LONG = 5_000
"""Edits that touch more prefixes than this are applied in pieces."""

PIECE = 20_000
"""Prefixes that a long change inserts or deletes before others get their turn: some tens of milliseconds."""

log = logging.getLogger("xdpfw.writer")

P = ParamSpec("P")
T = TypeVar("T")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class State:
    """What is in force and in the store."""

    revision: int
    sets: Sets
    policy: Policy


def ignore_progress(done: int, total: int) -> None:
    """For changes that nobody watches."""


class Writer:
    """Owns the state. `lock` is held by whoever looks at the state in order to change it."""

    def __init__(
        self,
        kernel: Kernel,
        store: Store,
        compiler: Compiler,
        state: State,
        after_long: Callable[[], None] = lambda: None,
    ) -> None:
        self.state = state
        self.lock = asyncio.Lock()
        self._kernel = kernel
        self._store = store
        self._compiler = compiler
        self._bases = dict(compiler.bases)
        self._features = features_of(state.policy)
        self._after_long = after_long
        self._thread = ThreadPoolExecutor(1, "xdpfw-writer")
        self._long = asyncio.Lock()
        self._tidying: asyncio.Task[None] | None = None

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something that blocks in the one thread that touches the store and the tables."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))

    async def close(self) -> None:
        """Wait for what is under way."""
        if self._tidying:
            await self._tidying
        self._thread.shutdown()

    # Everything below without `async` runs in the writer's thread, with the lock held.

    def apply(
        self,
        edit: Edit | None = None,
        policy: Policy | None = None,
        *,
        counts: bool = True,
        anchor: ClockAnchor | None = None,
        keep_leaves: bool = False,
    ) -> State:
        """Store and enforce. `counts`: whether the revision rises (expiry and clock steps are no change of the policy).

        Raises MapFull, StoreError or KernelError; then everything is as it was.
        """
        old = self.state
        revision = old.revision + 1 if counts else old.revision
        policy = policy.following(old.policy) if policy else None
        new = State(revision, edit.sets if edit else old.sets, policy or old.policy)
        plan = self._compiler.plan(new.sets, edit.touched if edit else {}, policy=policy, keep_leaves=keep_leaves)
        try:
            self._store.save(StoredChange(revision, edit, policy, anchor=anchor))
        except Exception:
            self._compiler.abort(plan)
            raise
        try:
            if policy:
                self.use(features_of(old.policy) | features_of(policy))
            self._kernel.execute(plan.ops, revision)
        except Exception:
            self._compiler.abort(plan)
            self._store.save(StoredChange(old.revision, reverse(edit, old.sets) if edit else None, old.policy))
            raise
        self.state = new
        self._committed(plan)
        return new

    def use(self, features: Features) -> None:
        """The program can do at least this; it is compiled and swapped only if it could not, or could do more."""
        if features != self._features:
            self._kernel.use(features)
            self._features = features

    @property
    def has_too_much(self) -> bool:
        """Whether the program has features that the policy does not ask for (any more)."""
        return self._features != features_of(self.state.policy)

    def rehearse(self, edit: Edit | None = None, policy: Policy | None = None) -> None:
        """Raise what `apply` would raise for lack of room, and change nothing."""
        sets = edit.sets if edit else self.state.sets
        policy = policy.following(self.state.policy) if policy else None
        self._compiler.abort(self._compiler.plan(sets, edit.touched if edit else {}, policy=policy))

    def save_interfaces(self, desired: Mapping[str, AttachMode | None]) -> None:
        """Store which interfaces are wanted (None: not any more, and nothing is remembered of its talkers)."""
        revision = self.state.revision + 1
        forgotten = {name: None for name, mode in desired.items() if mode is None}
        self._store.save(StoredChange(revision, interfaces=desired, epochs=forgotten))
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

    def _retire(self) -> bool:
        plan = self._compiler.retire(PIECE)
        if plan is None:
            return False
        self._perform(plan)
        return True

    def settle(self) -> None:
        """Make what earlier changes freed usable again: for idle moments."""
        plan = self._compiler.settle()
        if plan is not None:
            self._perform(plan)

    def save_epoch(self, name: str, epoch: Epoch) -> None:
        """Store when an interface's talkers were last counted afresh."""
        self._store.save(StoredChange(self.state.revision, epochs={name: epoch}))

    async def change(
        self, make_edit: Callable[[State], Edit], progress: Progress = ignore_progress, *, counts: bool = True
    ) -> Edit:
        """Apply an edit of any size, made from the state at the moment when it takes effect.

        `make_edit` is called to learn how much is to be done, and once more if others wrote meanwhile. It raises to
        refuse.
        """
        before = self.state
        edit = await asyncio.to_thread(make_edit, before)

        def again(state: State) -> Edit:
            return edit if state is before else make_edit(state)

        if not is_long(edit):
            return await self._change_now(again, counts=counts, keep_leaves=False)
        await self._long.acquire()
        try:
            await self.call(self._compiler.check, edit.touched)
            await self._announce(edit, progress)
            edit = await self._change_now(again, counts=counts, keep_leaves=True)
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
            await asyncio.to_thread(self._after_long)
        except XdpfwError as error:  # a later change or the next start takes the rest
            log.error("prefixes that no set holds could not be taken out: %s", error.detail)
        finally:
            self._long.release()

    async def _change_now(self, make_edit: Callable[[State], Edit], *, counts: bool, keep_leaves: bool) -> Edit:
        def work() -> Edit:
            edit = make_edit(self.state)
            if edit.changed:
                self.apply(edit, counts=counts, keep_leaves=keep_leaves)
            return edit

        async with self.lock:
            return await self.call(work)

    async def _announce(self, edit: Edit, progress: Progress) -> None:
        done, total = 0, sum(len(keys) for keys in edit.touched.values())
        for family, keys in edit.touched.items():
            for start in range(0, len(keys), PIECE):
                piece = keys[start : start + PIECE]
                async with self.lock:
                    await self.call(self._announce_piece, family, piece)
                done += len(piece)
                progress(done, total)

    def _announce_piece(self, family: Family, keys: Keys) -> None:
        plan = self._compiler.announce({family: keys})
        if plan:
            self._perform(plan)

    async def _clear_up(self) -> None:
        """Delete leaves that no set holds any more. Packets do not notice; a restarted daemon would do it as well."""
        while True:
            async with self.lock:
                if not await self.call(self._retire):
                    return


def is_long(edit: Edit) -> bool:
    return sum(len(keys) for keys in edit.touched.values()) > LONG


def reverse(edit: Edit, old: Sets) -> Edit:
    """What takes a stored edit back: the tables that it wrote, as they were."""
    written = frozenset(edit.rows) | frozenset(edit.gone) | edit.bulk
    before = {info.id for info in old.infos()}
    brought_back = {(number, family) for number in edit.dropped for family in FAMILIES}
    return Edit(
        sets=old,
        touched=edit.touched,
        changed=True,
        bulk=frozenset(key for key in written | brought_back if key[0] in before),
        defined=edit.defined or bool(edit.dropped),
        dropped=tuple(info.id for info in edit.sets.infos() if info.id not in before),
    )
