# SPDX-License-Identifier: Apache-2.0
"""What `script/server` runs: the daemon on a lab of its own or on a real interface, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from lab import captures, janitor, traffic
from lab.check import check
from lab.daemon import XDPFW, Daemon
from lab.forward import forward
from lab.network import Network
from lab.probes import start_services
from lab.rest import Rest
from lab.waiting import eventually

CLIENTS = 4
REPLAY_MBPS = 2.0
LISTEN = "127.0.0.1:8484"

LAB_TEXT = """
The lab is up. Ctrl-C ends it and leaves nothing behind.

{hosts}
  firewall   {interfaces}: {mode} XDP, MTU {mtu}

  live page  http://{page}/      sign in with the token
             {token}
  REST       http://{page}/api/v1, with that token
             unix socket {socket}, as root, without

Try, in another terminal:

  # block client 2's network, see the drops counted, let it go again
  sudo curl --unix-socket {socket} -X PUT http://localhost/api/v1/sets/block/entries/{network}
  sudo curl --unix-socket {socket} http://localhost/api/v1/sets/block/entries/{network}
  sudo curl --unix-socket {socket} -X DELETE http://localhost/api/v1/sets/block/entries/{network}

  # the same by the command line, and who is talking
  sudo {xdpfw} block {network6} --for 1m --socket {socket}
  sudo {xdpfw} top --socket {socket}
  sudo {xdpfw} status --socket {socket}

  # be client 2; be a caller over TCP
  sudo nsenter --net={client} ping {gateway}
  curl -H 'Authorization: Bearer {token}' http://{page}/api/v1/status
"""

REAL_TEXT = """
Filtering {interface} ({mode} XDP). Ctrl-C detaches and ends; the sets stay in {state}.

  live page  http://{listen}/      sign in with the token
             {token}

  sudo curl --unix-socket {socket} -X PUT http://localhost/api/v1/sets/block/entries/192.0.2.0/24
  sudo curl --unix-socket {socket} http://localhost/api/v1/sets/block/entries/192.0.2.0/24
  sudo curl --unix-socket {socket} -X DELETE http://localhost/api/v1/sets/block/entries/192.0.2.0/24

  sudo {xdpfw} top {interface} --socket {socket}
  sudo {xdpfw} status --socket {socket}
"""


class Ended(BaseException):
    """Ctrl-C, or asked to end."""


def _end(number: int, frame: FrameType | None) -> NoReturn:
    # Once is enough: the way out is not to be cut short by a second Ctrl-C.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise Ended


def make_lab(network: Network) -> Daemon:
    """Services, traffic and a daemon attached to every client's interface."""
    start_services(network)
    attach = [word for client in network.clients for word in ("--attach", f"{client.interface}:native")]
    daemon = Daemon(network.firewall, network.home, arguments=("--listen", LISTEN, *attach)).start()
    janitor.SOCKET_LINK.unlink(missing_ok=True)
    janitor.SOCKET_LINK.symlink_to(daemon.socket)
    return daemon


def start_traffic(network: Network) -> None:
    *talking, replaying = network.clients
    for client in talking:
        client.space.popen(sys.executable, "-m", traffic.__name__, client.gateway4, client.gateway6, str(client.number))
    found = captures.ethernet_captures(captures.corpora() / "pcap")
    if found:
        captures.replay(replaying.space, "eth0", found, REPLAY_MBPS)


def describe(network: Network, daemon: Daemon, page: str) -> str:
    *talking, replaying = network.clients
    hosts = [
        f"  client {each.number}   {each.address4}  {each.address6}  behind {each.interface}: ping, TCP, UDP"
        for each in talking
    ]
    found = captures.ethernet_captures(captures.corpora() / "pcap")
    what = f"replays {len(found)} captures" if found else f"idle (no captures in {captures.corpora()}/pcap)"
    hosts.append(f"  client {replaying.number}   {replaying.address4}  behind {replaying.interface}: {what}")
    second = network.clients[1]
    return LAB_TEXT.format(
        hosts="\n".join(hosts),
        interfaces=" ".join(client.interface for client in network.clients),
        mode=daemon.rest.get("interfaces/lan1")["mode"],
        mtu=network.mtu,
        socket=janitor.SOCKET_LINK,
        page=page,
        token=daemon.token("script/server"),
        network=second.network4,
        network6=second.network6,
        xdpfw=XDPFW.relative_to(Path.cwd()) if XDPFW.is_relative_to(Path.cwd()) else XDPFW,
        replay=replaying.number,
        client=second.space.path,
        gateway=second.gateway4,
    )


def run_lab(*, checking: bool) -> int:
    with Network(CLIENTS + 1, mtu=9000) as network:
        daemon = make_lab(network)
        start_traffic(network)
        if checking:
            return check(network, daemon)
        print(describe(network, daemon, forward(network.firewall, LISTEN)), flush=True)
        try:
            assert daemon.process is not None
            daemon.process.wait()
            print(f"the daemon ended by itself:\n{daemon.tail()}", file=sys.stderr)
            return 1
        except Ended:
            print("\nTaking the lab down.", flush=True)
            return 0


def run_real(interface: str, mode: str, state: Path, socket: Path) -> int:
    """On a real interface. The usual socket is where `xdpfw` looks by itself."""
    command = [str(XDPFW), "serve", "--socket", str(socket), "--state-dir", str(state), "--detach-on-exit"]
    daemon = subprocess.Popen([*command, "--listen", LISTEN, "--attach", f"{interface}:{mode}"])
    rest = Rest(socket)
    token = {}
    try:

        def ready() -> bool:
            if daemon.poll() is not None:
                raise RuntimeError(f"xdpfw serve ended with status {daemon.returncode}")
            try:
                return rest.call("GET", "/readyz").status == 200
            except OSError:
                return False

        eventually(ready, "the daemon is ready", 60)
        view = rest.get(f"interfaces/{interface}")
        token = rest.must("POST", "tokens", {"name": "script/server", "role": "admin", "ttl": "1d"})
        words = {"interface": interface, "mode": view["mode"], "state": state, "socket": socket, "xdpfw": XDPFW}
        print(REAL_TEXT.format(**words, listen=LISTEN, token=token["secret"]), flush=True)
        return daemon.wait()
    except Ended:
        return 0
    finally:
        if token and daemon.poll() is None:
            with suppress(OSError):
                rest.call("DELETE", f"tokens/{token['id']}")
        if daemon.poll() is None:
            daemon.terminate()
        daemon.wait()


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/server", description="Run the firewall until Ctrl-C.")
    parser.add_argument("interface", nargs="?", help="a real interface; without one, a lab is built")
    parser.add_argument("--check", action="store_true", help="lab: prove that a blocked client is dropped, and end")
    parser.add_argument("--mode", choices=("auto", "native", "generic"), default="auto", help="attach mode")
    parser.add_argument("--state-dir", type=Path, default=Path("/var/lib/xdpfw"), help="where the sets are kept")
    parser.add_argument("--socket", type=Path, default=Path("/run/xdpfw/xdpfw.sock"), help="where it listens")
    wish = parser.parse_args()
    if wish.interface and wish.check:
        parser.error("--check makes its own lab; leave out the interface")
    if os.geteuid() != 0:
        parser.error("needs root: sudo script/server")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        if wish.interface:
            return run_real(wish.interface, wish.mode, wish.state_dir, wish.socket)
        return run_lab(checking=wish.check)
    except Ended:
        return 130
    except (RuntimeError, TimeoutError, OSError, subprocess.SubprocessError, AssertionError) as error:
        print(f"script/server: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
