# SPDX-License-Identifier: Apache-2.0
"""The state, and a change of it on its way to store and kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from xdpfw.model.interface import AttachMode
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import FAMILIES
from xdpfw.policy.sets import Edit, Sets
from xdpfw.store.port import Ledger

Undo = Callable[[], None]


@dataclass(frozen=True, slots=True)
class State:
    """What is in force and in the store."""

    revision: int
    sets: Sets
    policy: Policy


class Made:
    """The edit of a state, made again only when that is another one."""

    def __init__(self, make_edit: Callable[[State], Edit]) -> None:
        self._make_edit = make_edit
        self._last: tuple[State, Edit] | None = None

    def __call__(self, state: State) -> Edit:
        if self._last is None or self._last[0] is not state:
            self._last = state, self._make_edit(state)
        return self._last[1]


@dataclass(frozen=True, slots=True)
class Beside:
    """What goes with an edit of the sets, in one step: another policy, other wanted interfaces (None: not any more;
    `were`: what was wanted), and what is written down, which is asked for when it is. `attach` is called when all is
    stored and no packet has met it; it raises when it did nothing, else answers what takes it back. `after` is called
    when all is in force."""

    policy: Policy | None = None
    interfaces: Mapping[str, AttachMode | None] = field(default_factory=dict)
    were: Mapping[str, AttachMode | None] = field(default_factory=dict)
    attach: Callable[[], Undo] = lambda: lambda: None
    after: Callable[[], None] = lambda: None
    ledger: Callable[[], Ledger] | None = None


NOTHING = Beside()


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
