# SPDX-License-Identifier: Apache-2.0
"""A firewall and its clients, each in a namespace of its own, one veth pair per client::

    client 1   eth0 10.77.1.2/24 fd00:77:1::2/64  ===  lan1 10.77.1.1 fd00:77:1::1   firewall
    client 2   eth0 10.77.2.2/24 fd00:77:2::2/64  ===  lan2 10.77.2.1 fd00:77:2::1

Links are made inside the namespaces, so that no name of theirs is ever seen outside.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import janitor
from lab.namespace import Namespace

ROOT = Path(__file__).resolve().parents[1]

# No waiting for duplicate address detection, answers to spoofed sources allowed, no noise of its own.
_QUIET = {
    "ipv6__conf__all__accept_dad": 0,
    "ipv6__conf__default__accept_dad": 0,
    "ipv6__conf__default__router_solicitations": 0,
    "ipv4__conf__all__rp_filter": 0,
    "ipv4__conf__default__rp_filter": 0,
    "ipv4__icmp_ratelimit": 0,
}


@dataclass(frozen=True, slots=True)
class Client:
    """A host behind the firewall's interface `interface`. `gateway*` are the firewall's addresses there."""

    number: int
    space: Namespace
    interface: str

    @property
    def address4(self) -> str:
        return f"10.77.{self.number}.2"

    @property
    def address6(self) -> str:
        return f"fd00:77:{self.number}::2"

    @property
    def gateway4(self) -> str:
        return f"10.77.{self.number}.1"

    @property
    def gateway6(self) -> str:
        return f"fd00:77:{self.number}::1"

    @property
    def network4(self) -> str:
        return f"10.77.{self.number}.0/24"

    @property
    def network6(self) -> str:
        return f"fd00:77:{self.number}::/64"


class Network:
    """The lab itself; a context manager that leaves nothing behind, however its process ends."""

    _numbers = itertools.count()

    def __init__(self, clients: int = 4, *, mtu: int = 1500) -> None:
        janitor.sweep()
        self.name = f"{janitor.PREFIX}{os.getpid()}-{next(self._numbers)}"
        self.home = janitor.RUN / self.name
        with janitor.registry():
            self.home.mkdir(mode=0o700)
            self._claim = janitor.claim(self.home)
        self._janitor = subprocess.Popen(
            [sys.executable, "-m", "lab.janitor", self.name],
            stdin=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,
        )
        self.firewall = Namespace(f"{self.name}-firewall")
        self.mtu = mtu
        self.clients: list[Client] = []
        self._make(self.firewall)
        for number in range(1, clients + 1):
            self.add_client(number)

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        assert self._janitor.stdin is not None
        self._janitor.stdin.close()
        self._janitor.wait(timeout=60)
        for space in (self.firewall, *(client.space for client in self.clients)):
            for child in space.children:
                child.wait(timeout=10)
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def add_client(self, number: int) -> Client:
        client = Client(number, Namespace(f"{self.name}-client{number}"), f"lan{number}")
        self._make(client.space)
        self.clients.append(client)
        self.connect(client)
        return client

    def connect(self, client: Client) -> None:
        """Lay the link between the firewall and a client: at first, and after `disconnect`."""
        ours, theirs = self.firewall, client.space
        ours.ip(
            f"link add {client.interface} mtu {self.mtu} type veth peer name eth0 mtu {self.mtu} netns {theirs.name}"
        )
        # With the tag taken out of the frame, as these offloads do, the program would never see it.
        for space, link in ((ours, client.interface), (theirs, "eth0")):
            space.run("ethtool", "-K", link, "rxvlan", "off", "txvlan", "off")
        ours.ip(
            f"address add {client.gateway4}/24 dev {client.interface}",
            f"address add {client.gateway6}/64 dev {client.interface} nodad",
            f"link set {client.interface} up",
        )
        theirs.ip(
            f"address add {client.address4}/24 dev eth0",
            f"address add {client.address6}/64 dev eth0 nodad",
            "link set eth0 up",
            f"route add default via {client.gateway4}",
            f"route add default via {client.gateway6}",
        )

    def disconnect(self, client: Client) -> None:
        """Take the link away, both ends."""
        self.firewall.ip(f"link delete {client.interface}")

    def add_addresses(self, client: Client, prefixes: Sequence[str]) -> None:
        """Give a client more addresses (`10.1.0.1/32`), and the firewall the routes to them."""
        for prefix in prefixes:
            gateway = client.address6 if ":" in prefix else client.address4
            client.space.ip(f"address add {prefix} dev eth0" + (" nodad" if ":" in prefix else ""))
            self.firewall.ip(f"route replace {prefix} via {gateway} dev {client.interface}")

    def _make(self, space: Namespace) -> None:
        subprocess.run(["ip", "netns", "add", space.name], check=True, timeout=30)
        space.sysctl(**_QUIET)
        space.ip("link set lo up")
