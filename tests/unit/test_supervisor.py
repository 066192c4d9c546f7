# SPDX-License-Identifier: Apache-2.0
"""What a service manager is told and hands over. The test plays systemd: sd_notify(3), sd_listen_fds(3)."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from xdpfw.supervisor import Supervisor


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(5)
        yield sock


def heard(manager: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in manager.recv(4096).decode().splitlines())


def test_what_is_said_arrives(manager: socket.socket) -> None:
    said = Supervisor({"NOTIFY_SOCKET": str(manager.getsockname())})
    assert said.there
    said.status("starting\nREADY=1")
    assert heard(manager) == {"STATUS": "starting READY=1"}
    assert not said.told_ready
    said.ready("revision 1")
    assert heard(manager) == {"READY": "1", "STATUS": "revision 1"}
    assert said.told_ready
    said.alive("revision 2")
    assert heard(manager) == {"WATCHDOG": "1", "STATUS": "revision 2"}
    said.reloading()
    reloading = heard(manager)
    assert reloading["RELOADING"] == "1"
    assert int(reloading["MONOTONIC_USEC"]) > 0
    said.stopping()
    assert heard(manager) == {"STOPPING": "1"}


def test_abstract_names_are_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0xdpfw-test-{os.getpid()}")
        sock.settimeout(5)
        Supervisor({"NOTIFY_SOCKET": f"@xdpfw-test-{os.getpid()}"}).status("x")
        assert heard(sock) == {"STATUS": "x"}


def test_a_manager_that_is_gone_or_deaf_disturbs_nobody(manager: socket.socket, tmp_path: Path) -> None:
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "absent")}).ready("x")
    said = Supervisor({"NOTIFY_SOCKET": str(manager.getsockname())})
    for _ in range(2000):  # nobody reads: its queue is full long before
        said.alive("x")


def test_without_a_manager_nothing_happens() -> None:
    alone = Supervisor({})
    alone.ready("x")
    assert (alone.there, alone.watchdog, alone.sockets(), alone.told_ready) == (False, None, [], True)


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_watchdog_is_kept_when_it_is_ours(environment: dict[str, str], seconds: float | None) -> None:
    assert Supervisor(environment).watchdog == seconds


def test_children_are_told_nothing() -> None:
    environment = dict.fromkeys(
        ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"), "1"
    )
    environment["PATH"] = "/bin"
    Supervisor(environment)
    assert environment == {"PATH": "/bin"}


HANDED_OVER = """
import os
from xdpfw.supervisor import Supervisor
os.environ["LISTEN_PID"] = str(os.getpid() + OFFSET)
for sock in Supervisor(os.environ).sockets():
    print(sock.family.name, sock.getsockname()[1] if sock.family.name == "AF_INET" else sock.getsockname(),
          os.get_inheritable(sock.fileno()))
"""


@pytest.mark.parametrize("ours", [True, False])
def test_sockets_are_taken_over_when_they_are_meant_for_us(tmp_path: Path, ours: bool) -> None:
    with socket.socket(socket.AF_UNIX) as unix, socket.create_server(("127.0.0.1", 0)) as tcp:
        unix.bind(str(tmp_path / "s"))
        unix.listen()
        # The child finds them as 3 and 4, whatever they are called here.
        high = [fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD, 50) for sock in (unix, tcp)]
        script = f"exec 3<&{high[0]} 4<&{high[1]}; exec {sys.executable} -c '{HANDED_OVER}'"
        done = subprocess.run(
            ["bash", "-c", script.replace("OFFSET", "0" if ours else "1")],
            env={"LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"},
            cwd=Path(__file__).parents[2],
            pass_fds=high,
            capture_output=True,
            text=True,
            check=True,
        )
        for descriptor in high:
            os.close(descriptor)
        expected = [f"AF_UNIX {tmp_path / 's'} False", f"AF_INET {tcp.getsockname()[1]} False"]
    assert done.stdout.splitlines() == (expected if ours else [])
