# SPDX-License-Identifier: Apache-2.0
"""The mark that an operator leaves who detached everything by hand, without a daemon.

While it is there, no daemon of that instance attaches anything by itself, after a restart or a reboot neither. It lies
in the state directory and not beside the pins, because bpffs is empty after a reboot.
"""

from __future__ import annotations

from pathlib import Path

NAME = "detached-by-hand"


class Hold:
    """The mark of the instance with this state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / NAME

    @property
    def on(self) -> bool:
        return self.path.exists()

    def set(self) -> None:
        """Raises OSError when the state directory cannot be written."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path.touch()

    def clear(self) -> None:
        """Raises OSError when the state directory cannot be written."""
        self.path.unlink(missing_ok=True)
