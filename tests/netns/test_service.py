# SPDX-License-Identifier: Apache-2.0
"""The daemon under a service manager, which these tests play: notices, watchdog, sockets that are handed over."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.daemon import Daemon
from lab.network import Network
from lab.waiting import eventually
from tests.conftest import lacks
from tests.netns.conftest import attach_all, xdp

pytestmark = pytest.mark.netns

WATCHDOG = 1.5

# Opens the sockets that its arguments name, as 3 and up, and becomes the command behind "--".
ACTIVATE = """
import os, socket, sys
at = sys.argv.index("--")
for number, name in enumerate(sys.argv[1:at]):
    if name.startswith("/"):
        made = socket.socket(socket.AF_UNIX)
        made.bind(name)
    else:
        host, port = name.rsplit(":", 1)
        made = socket.socket()
        made.bind((host, int(port)))
    made.listen()
    os.dup2(made.detach(), 3 + number)
    os.set_inheritable(3 + number, True)
os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = str(at - 1), str(os.getpid())
os.execv(sys.argv[at + 1], sys.argv[at + 1:])
"""


class Manager:
    """What the daemon says."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.sock.setblocking(False)
        self.heard: list[dict[str, str]] = []

    def listen(self) -> list[dict[str, str]]:
        while True:
            try:
                said = self.sock.recv(4096).decode()
            except BlockingIOError:
                return self.heard
            self.heard.append(dict(line.split("=", 1) for line in said.splitlines()))

    def count(self, key: str) -> int:
        return sum(key in said for said in self.listen())

    def wait(self, key: str, times: int = 1) -> None:
        eventually(lambda: self.count(key) >= times, f"{key} is said {times} times", 60)


@pytest.fixture
def network(make_network: Callable[..., Network]) -> Network:
    return make_network(1)


@pytest.fixture
def manager(network: Network) -> Iterator[Manager]:
    made = Manager(network.home / "notify")
    yield made
    made.sock.close()


def managed(network: Network, manager: Manager, *more: str, listen: str = "none") -> Daemon:
    notify = f"NOTIFY_SOCKET={manager.sock.getsockname()}"
    return Daemon(
        network.firewall,
        network.home,
        arguments=("--listen", listen, *attach_all(network)),
        wrapped=("env", notify, f"WATCHDOG_USEC={int(WATCHDOG * 1e6)}", *more),
    )


def test_ready_is_said_when_it_filters(network: Network, manager: Manager) -> None:
    daemon = managed(network, manager)
    daemon.launch()
    manager.wait("READY")
    assert xdp(network.firewall, "lan1") is not None
    [said] = [said for said in manager.heard if "READY" in said]
    assert "filtering on lan1" in said["STATUS"]
    assert daemon.ready()
    assert daemon.stop() == 0
    assert manager.listen()[-1] == {"STOPPING": "1"}


def test_a_start_that_fails_is_never_ready(network: Network, manager: Manager) -> None:
    daemon = managed(network, manager)
    daemon.state.mkdir()
    (daemon.state / "xdpfw.db").write_text("this is no database")
    daemon.launch()
    assert daemon.process is not None
    assert daemon.process.wait(timeout=60) == 1
    assert manager.count("READY") == 0
    assert "damaged" in manager.heard[-1]["STATUS"]


def test_the_watchdog_is_fed_while_it_works_and_not_while_it_hangs(network: Network, manager: Manager) -> None:
    daemon = managed(network, manager)
    daemon.launch()
    began = time.monotonic()
    manager.wait("WATCHDOG", 5)
    assert time.monotonic() - began >= WATCHDOG  # not in one burst
    assert daemon.process is not None
    os.kill(daemon.process.pid, signal.SIGSTOP)
    manager.listen()
    before = manager.count("WATCHDOG")
    with pytest.raises(TimeoutError):
        eventually(lambda: manager.count("WATCHDOG") > before, "it says that it is alive", WATCHDOG)
    os.kill(daemon.process.pid, signal.SIGCONT)
    eventually(lambda: manager.count("WATCHDOG") > before, "it says that it is alive")


def test_reload_is_said_and_the_filters_stay(network: Network, manager: Manager) -> None:
    daemon = managed(network, manager)
    daemon.start()
    before = daemon.rest.get("interfaces/lan1")["program_id"]
    assert daemon.process is not None
    os.kill(daemon.process.pid, signal.SIGHUP)
    manager.wait("RELOADING")
    manager.wait("READY", 2)
    assert daemon.ready()
    assert daemon.rest.get("interfaces/lan1")["program_id"] == before


def test_nobody_meets_a_daemon_that_is_half_stopped(network: Network, manager: Manager) -> None:
    """Whoever asks is answered, or not let in any more."""
    daemon = managed(network, manager)
    daemon.start()
    statuses: list[int] = []

    def ask() -> None:
        while True:
            try:
                statuses.append(daemon.rest.call("GET", "interfaces/lan1/counters").status)
            except (OSError, http.client.HTTPException):
                return

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    eventually(lambda: len(statuses) > 20, "answers come")
    assert daemon.stop() == 0
    for asker in askers:
        asker.join(30)
    assert set(statuses) == {200}


def activated(network: Network, manager: Manager, *names: str) -> Daemon:
    return managed(network, manager, sys.executable, "-c", ACTIVATE, *names, "--")


def test_sockets_that_are_handed_over_are_served_and_left(network: Network, manager: Manager) -> None:
    path = network.home / "daemon.sock"
    daemon = activated(network, manager, str(path), "127.0.0.1:8484")
    # Whoever calls while it starts is answered when it has started.
    daemon.launch()
    eventually(path.exists, "the socket is there")
    answer = eventually(lambda: daemon.answers("/healthz"), "somebody answers", 60)
    assert answer
    manager.wait("READY")
    token = daemon.token("t")
    asked = network.firewall.run(
        "curl", "-sS", "-H", f"Authorization: Bearer {token}", "http://127.0.0.1:8484/api/v1/status"
    )
    assert '"ready":true' in asked.replace(" ", "")
    inode = path.stat().st_ino
    assert daemon.stop() == 0
    assert path.stat().st_ino == inode, "the socket is its owner's to remove"


def test_tcp_that_others_reach_is_not_served_in_the_clear(network: Network, manager: Manager) -> None:
    """Whoever opens the socket; filtering and the unix socket go on."""
    daemon = activated(network, manager, str(network.home / "daemon.sock"), "10.77.1.1:8484")
    daemon.start()
    [warning] = daemon.rest.get("status")["warnings"]
    assert "10.77.1.1" in warning
    assert "in the clear" in warning


def test_tls_for_other_machines_and_a_new_certificate_while_it_runs(network: Network, manager: Manager) -> None:
    if shutil.which("openssl") is None:
        lacks("no openssl; script/bootstrap --test installs it")
    cert, key, config = (network.home / name for name in ("cert.pem", "key.pem", "xdpfw.toml"))
    config.write_text(f'tls_cert = "{cert}"\ntls_key = "{key}"\n')

    def sign() -> None:
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key))
        about = ("-subj", "/CN=fw", "-addext", "subjectAltName=IP:10.77.1.1", "-days", "2", "-out", str(cert))
        subprocess.run(["openssl", "req", "-x509", *new, *about], check=True, capture_output=True)

    sign()
    daemon = managed(network, manager, listen="10.77.1.1:8484")
    daemon.arguments = ("--config", str(config), *daemon.arguments)
    daemon.start()
    token = daemon.token("t")

    def ask() -> str:
        trusted = ("curl", "-sS", "--cacert", str(cert), "-H", f"Authorization: Bearer {token}")
        return network.clients[0].space.run(*trusted, "https://10.77.1.1:8484/api/v1/status").replace(" ", "")

    assert '"ready":true' in ask()
    sign()
    assert daemon.process is not None
    os.kill(daemon.process.pid, signal.SIGHUP)
    # Nobody has connected meanwhile, which would have it look at the files too.
    eventually(lambda: "was read again" in daemon.log.read_text(), "the new certificate is read")
    assert '"ready":true' in ask()


def test_tcp_that_cannot_be_served_is_no_reason_not_to_filter(network: Network, manager: Manager) -> None:
    taken = network.firewall.socket(socket.AF_INET, socket.SOCK_STREAM)
    with taken:
        taken.bind(("127.0.0.1", 8484))
        taken.listen()
        daemon = managed(network, manager, listen="127.0.0.1:8484")
        daemon.start()
        assert xdp(network.firewall, "lan1") is not None
        [warning] = daemon.rest.get("status")["warnings"]
        assert warning.startswith("TCP is not served: cannot listen on 127.0.0.1:8484")
