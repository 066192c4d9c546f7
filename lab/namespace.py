# SPDX-License-Identifier: Apache-2.0
"""One network namespace: commands and sockets in it.

Commands enter by `nsenter --net` and not by `ip netns exec`, which mounts a /sys of its own and so hides bpffs.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

# A socket belongs to the namespace in which it was made, whoever uses it: a child makes it there and hands it over.
_HAND_OVER = """
import socket, sys
parent = socket.socket(fileno=int(sys.argv[1]))
made = socket.socket(*map(int, sys.argv[2:]))
socket.send_fds(parent, [b"!"], [made.fileno()])
"""


@dataclass(frozen=True, slots=True)
class Namespace:
    """`children`: what `popen` started, for whoever takes the namespace down."""

    name: str
    children: list[subprocess.Popen[bytes]] = field(default_factory=list, compare=False, repr=False)

    @property
    def path(self) -> Path:
        return Path("/run/netns") / self.name

    def command(self, *argv: str) -> list[str]:
        return ["nsenter", f"--net={self.path}", "--", *argv]

    def run(self, *argv: str, text: str | None = None, timeout: float = 60) -> str:
        """Run to the end and answer stdout.

        Raises:
            subprocess.CalledProcessError: with stderr, when it fails.
        """
        done = subprocess.run(
            self.command(*argv), input=text, capture_output=True, text=True, timeout=timeout, check=False
        )
        if done.returncode:
            print(done.stderr, file=sys.stderr)
            raise subprocess.CalledProcessError(done.returncode, argv, done.stdout, done.stderr)
        return done.stdout

    def popen(
        self, *argv: str, output: IO[bytes] | int = subprocess.DEVNULL, keep: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        """Start in the background. The lab's end ends it. `keep`: descriptors that it inherits."""
        child = subprocess.Popen(
            self.command(*argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[1],
            pass_fds=keep,
        )
        self.children.append(child)
        return child

    def ip(self, *commands: str) -> None:
        """Run several `ip` commands at once, each as `ip` takes it after its own name."""
        subprocess.run(
            ["ip", "-n", self.name, "-batch", "-"], input="\n".join(commands), text=True, check=True, timeout=30
        )

    def sysctl(self, **values: int) -> None:
        """Set /proc/sys/net values; `__` in a name stands for a slash."""
        script = "; ".join(f"echo {value} >/proc/sys/net/{name.replace('__', '/')}" for name, value in values.items())
        self.run("sh", "-ec", script)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            subprocess.run(
                self.command(
                    "/usr/bin/python3", "-SEc", _HAND_OVER, *map(str, (theirs.fileno(), family, kind, protocol))
                ),
                pass_fds=(theirs.fileno(),),
                check=True,
                timeout=30,
            )
            _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        return socket.socket(fileno=descriptors[0])
