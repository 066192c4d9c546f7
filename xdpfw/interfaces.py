# SPDX-License-Identifier: Apache-2.0
"""Which interfaces are to be filtered, and which are. What is desired is by name and outlives the interface."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from xdpfw.hold import Hold
from xdpfw.kernel.port import Kernel
from xdpfw.model.errors import Conflict, Guarded, NotFound, XdpfwError
from xdpfw.model.interface import Attachment, AttachMode, InterfaceState, Link
from xdpfw.model.views import Count, InterfaceView

log = logging.getLogger("xdpfw.interfaces")


class Interfaces:
    """Methods block: call them in a worker thread, one at a time where they change something.

    `hold`: somebody detached everything by hand with the daemon away; nothing attaches again until asked to.
    """

    def __init__(self, kernel: Kernel, desired: Mapping[str, AttachMode], hold: Hold | None = None) -> None:
        self._kernel = kernel
        self.desired: dict[str, AttachMode] = dict(desired)
        self.attached: dict[str, Attachment] = {}
        self.closed: frozenset[str] = frozenset()
        """Where nothing passes until the packet program can be attached (the setting `on_start_failure`)."""
        self.errors: dict[str, str] = {}
        self.incomplete: dict[str, str] = {}
        """Attached, but answers to what leaves are not let in under a default of drop: why, by name."""
        self._hold = hold
        self._taken_off: set[str] = set()

    @property
    def held(self) -> bool:
        return self._hold is not None and self._hold.on

    def refresh(self) -> set[str]:
        """Read what is attached; answers the names that came or went since the last look."""
        before = self.attached
        found = self._kernel.attachments()
        self.attached = {attachment.name: attachment for attachment in found if not attachment.closed}
        self.closed = frozenset(attachment.name for attachment in found if attachment.closed)
        gone = (self.desired.keys() & before.keys()) - self.attached.keys()
        if gone and not self.held:
            links = {link.name: link.index for link in self._kernel.interfaces()}
            self._taken_off |= {name for name in gone if links.get(name) == before[name].index}
        return {n for n in before.keys() | self.attached.keys() if before.get(n) != self.attached.get(n)}

    def reconcile(self) -> set[str]:
        """Attach what is desired, present and not attached. Answers the names whose state changed.

        Failures are kept in `errors`, shown as the interface's state, and tried again at the next call.
        """
        changed = self.refresh()
        present = {link.name for link in self._kernel.interfaces()}
        for name, mode in self.desired.items() if not self.held else ():
            if name not in self.attached and name in present:
                changed |= self._try_attach(name, mode)
        for name in self.errors.keys() - self.desired.keys():
            del self.errors[name]
        before, self.incomplete = self.incomplete, self._kernel.mend()
        return changed | {n for n in before.keys() | self.incomplete.keys() if before.get(n) != self.incomplete.get(n)}

    def taken_off(self) -> list[str]:
        """Interfaces that stayed, and from which somebody took the program, since the last call."""
        found, self._taken_off = sorted(self._taken_off), set()
        return found

    def _try_attach(self, name: str, mode: AttachMode) -> set[str]:
        try:
            self.attached[name] = self._kernel.attach(name, mode)
        except XdpfwError as error:
            new = self.errors.get(name) != error.detail
            self.errors[name] = error.detail
            return {name} if new else set()
        self.errors.pop(name, None)
        return {name}

    def check_attach(self, name: str, mode: AttachMode, *, force: bool) -> bool:
        """Whether `attach` would change anything.

        Raises:
            NotFound: no such interface.
            Conflict: somebody else's program is attached; its id and name are told.
            Guarded: it runs in another mode, and changing that leaves a gap.
        """
        self.refresh()
        if name not in {link.name for link in self._kernel.interfaces()}:
            raise NotFound(f"there is no interface {name!r} here; `xdpfw status` lists those that are")
        if foreign := self._kernel.foreign_program(name):
            raise Conflict(foreign_detail(name, foreign.id, foreign.name))
        running = self.attached.get(name)
        if running and mode not in (running.mode, AttachMode.AUTO) and not force:
            raise Guarded(
                f"{name} is attached in {running.mode} mode; changing to {mode} needs a detach in between, "
                "and packets pass unfiltered for some milliseconds. Force it to do so all the same"
            )
        return running is None or self.desired.get(name) != mode

    def attach(self, name: str, mode: AttachMode) -> None:
        """Attach now, in this mode; what `check_attach` allowed."""
        running = self.attached.get(name)
        if running and mode not in (running.mode, AttachMode.AUTO):
            self._kernel.detach(name)
            del self.attached[name]
        if name not in self.attached:
            self.attached[name] = self._kernel.attach(name, mode)
        if self._hold is not None:
            self._hold.clear()
        self.errors.pop(name, None)

    def switch(self, wanted: Mapping[str, AttachMode]) -> Callable[[], None]:
        """Attach those that are here, each in its mode: all, or none and it raises. Answers what takes it back."""
        present = {link.name for link in self._kernel.interfaces()} if wanted else ()  # asking takes milliseconds
        running, held = dict(self.attached), self.held
        done: list[str] = []

        def undo() -> None:
            for name in reversed(done):
                try:
                    self.detach(name)
                    if name in running:
                        self.attach(name, running[name].mode)
                except XdpfwError as error:  # what remains to be done is done all the same
                    log.error("%s could not be brought back to what it was: %s", name, error.detail)
            if held and self._hold is not None:
                self._hold.set()

        try:
            for name, mode in wanted.items():
                before = self.attached.get(name)
                if name in present:
                    self.attach(name, mode)
                if self.attached.get(name) != before:
                    done.append(name)
        except Exception:
            undo()
            raise
        return undo

    def detach(self, name: str) -> None:
        if name in self.attached or name in self.closed:
            self._kernel.detach(name)
        self.attached.pop(name, None)
        self.closed -= {name}
        self.errors.pop(name, None)

    def view(self, name: str) -> InterfaceView:
        view = next((view for view in self.views() if view.name == name), None)
        if view is None:
            raise NotFound(f"there is no interface {name!r} here, nor is one of that name wanted")
        return view

    def views(self) -> list[InterfaceView]:
        """Every interface of the namespace by index, then those that are desired and absent."""
        self.refresh()
        links = {link.name: link for link in self._kernel.interfaces()}
        names = [link.name for link in sorted(links.values(), key=lambda link: link.index)]
        names += sorted(self.desired.keys() - links.keys())
        return [self._view(name, links.get(name)) for name in names]

    def _view(self, name: str, link: Link | None) -> InterfaceView:
        attachment = self.attached.get(name)
        desired = self.desired.get(name)
        passed = dropped = None
        if attachment:
            passed, dropped = self._totals(name)
        return InterfaceView(
            name=name,
            index=link.index if link else None,
            mac=link.mac if link else None,
            mtu=link.mtu if link else None,
            driver=link.driver if link else None,
            desired=desired,
            state=self._state(name, link).value,
            mode=attachment.mode if attachment else None,
            program_id=attachment.program_id if attachment else None,
            passed=passed,
            dropped=dropped,
            warning=self._warning(name, link, attachment),
        )

    def _state(self, name: str, link: Link | None) -> InterfaceState:
        if name in self.attached:
            return InterfaceState.ATTACHED
        if link is None:
            return InterfaceState.ABSENT
        if name in self.desired and not self.held:
            return InterfaceState.ERROR
        return InterfaceState.DETACHED

    def _warning(self, name: str, link: Link | None, attachment: Attachment | None) -> str | None:
        if attachment:
            return "; ".join(filter(None, (attachment.warning, self.incomplete.get(name)))) or None
        if name not in self.desired:
            return None
        if self.held:
            return f"everything was detached by hand; `xdpfw attach {name}` attaches it again"
        if link is None:
            return f"{name} is not here now; it is attached as soon as it comes back"
        error = self.errors.get(name, "not attached yet")
        if name in self.closed:
            return f"{error}; until that is mended only management prefixes pass there (on_start_failure is drop)"
        return error

    def _totals(self, name: str) -> tuple[Count | None, Count | None]:
        try:
            totals: npt.NDArray[np.uint64] = self._kernel.read_tally(name).sum(axis=0)
        except NotFound:  # it went away since we looked
            return None, None
        return Count(int(totals[0]), int(totals[1])), Count(int(totals[2]), int(totals[3]))


def foreign_detail(name: str, program_id: int, program_name: str) -> str:
    return (
        f"{name} has an XDP program that is not ours: id {program_id}, name {program_name or '(none)'}. "
        f"It is never replaced or removed; whoever owns it can take it off with `ip link set dev {name} xdp off`"
    )
