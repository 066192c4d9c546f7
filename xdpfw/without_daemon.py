# SPDX-License-Identifier: Apache-2.0
"""Whether what is pinned is what the database says, for whom no daemon answers. Neither is changed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from xdpfw.clock import ClockAnchor, SystemClock
from xdpfw.hold import Hold
from xdpfw.kernel import pinned, takeover
from xdpfw.model.errors import Conflict, NotFound, StoreError, told_as
from xdpfw.model.limits import Limits
from xdpfw.model.views import DeviationView, VerificationView
from xdpfw.policy.compiler import Compiler
from xdpfw.policy.expected import Expected
from xdpfw.settings import DATABASE, Settings
from xdpfw.store.port import Saved
from xdpfw.store.sqlite import SqliteStore

MEMORY = Path("/dev/shm")
"""Where a copy of the database finds room when the disk is full."""


def verify(settings: Settings) -> VerificationView:
    """Raises Conflict (a daemon is there, or a newer version was), NotFound, NotAllowed, StoreError, KernelError and
    MapFull."""
    began = time.monotonic()
    with told_as(StoreError):
        _refuse_while_one_runs(settings.state_dir)
        saved = _saved(settings.state_dir / DATABASE)
        expected = _compiled(saved, settings.limits)
        wanted = saved.interfaces.keys() | {name for name, _ in settings.attach}
        if Hold(settings.state_dir).on:
            wanted = set()
        found = pinned.compare(settings.instance_name, settings.bpffs, settings.limits, expected, wanted)
    shown = [DeviationView(each.table, each.places, list(each.details)) for each in found]
    return VerificationView(not found, shown, expected.prefixes, round(time.monotonic() - began, 3))


def _refuse_while_one_runs(state_dir: Path) -> None:
    """The lock is only looked at: a daemon that starts now shall find it free."""
    with contextlib.suppress(FileNotFoundError), (state_dir / "lock").open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"a daemon runs with the state directory {state_dir}, and does not answer: journalctl -u xdpfw"
            ) from None


def _saved(database: Path) -> Saved:
    """Read from a copy: opening a database writes beside it, and may bring it up to date."""
    if not database.exists():
        raise NotFound(f"there is no database {database}; --state-dir says where it is")
    home = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="xdpfw-", dir=home) as scratch:
        for path in (database, database.with_name(f"{database.name}-wal")):
            if path.exists():
                shutil.copyfile(path, Path(scratch, path.name))
        with contextlib.closing(SqliteStore(Path(scratch, database.name))) as store:
            return store.load()


def _compiled(saved: Saved, limits: Limits) -> Expected:
    """As a start with empty tables would do it. What has run out since is still in the tables, and so in the sets."""
    sets = saved.sets
    if step := ClockAnchor.take(SystemClock()).step_since(saved.anchor):
        sets = sets.shift(step).sets
    compiler = Compiler(limits, takeover.nothing())
    for plan in compiler.compile_all(sets, saved.policy):
        compiler.commit(plan, lambda leaves: np.zeros((len(leaves), 2), np.uint64))
    return compiler.expected()
