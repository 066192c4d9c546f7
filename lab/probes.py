# SPDX-License-Identifier: Apache-2.0
"""Whether a client reaches the firewall's services: ping, TCP and UDP, over IPv4 and IPv6."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from lab.network import Client, Network
from lab.services import PORT
from lab.waiting import eventually

Kind = Literal["ping4", "ping6", "tcp4", "tcp6", "udp4", "udp6"]
KINDS: tuple[Kind, ...] = ("ping4", "ping6", "tcp4", "tcp6", "udp4", "udp6")
PATIENCE = 0.7
"""Seconds after which an answer counts as absent; over veth it comes within one or two milliseconds."""


def start_services(network: Network) -> None:
    """Start the echo services in the firewall's namespace and wait until they answer every client."""
    network.firewall.popen("/usr/bin/python3", "-m", "lab.services")
    for client in network.clients:
        expect(client, reached=True, within=20)


def reach(client: Client, kinds: Iterable[Kind] = KINDS, *, source4: str = "", source6: str = "") -> dict[Kind, bool]:
    """Try all at once and tell which were answered. `source4`, `source6`: one of the client's further addresses."""
    wanted = tuple(kinds)

    def one(kind: Kind) -> bool:
        source = source4 or client.address4 if kind.endswith("4") else source6 or client.address6
        target = client.gateway4 if kind.endswith("4") else client.gateway6
        if kind.startswith("ping"):
            return _ping(client, source, target)
        return _talk(client, kind, source, target)

    with ThreadPoolExecutor(len(wanted)) as pool:
        return dict(zip(wanted, pool.map(one, wanted), strict=True))


def expect(client: Client, *, reached: bool, kinds: Iterable[Kind] = KINDS, within: float = 5, **source: str) -> None:
    """Wait until all of `kinds` are answered, or none is.

    Raises:
        TimeoutError: says which were answered at last.
    """
    wanted = tuple(kinds)
    seen: list[dict[Kind, bool]] = []

    def as_wanted() -> bool:
        seen[:] = [reach(client, wanted, **source)]
        return all(answered == reached for answered in seen[0].values())

    try:
        eventually(as_wanted, f"client {client.number} {'is' if reached else 'is not'} answered", within)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {seen}") from None


def _ping(client: Client, source: str, target: str) -> bool:
    done = subprocess.run(
        client.space.command("ping", "-n", "-c", "1", "-W", str(PATIENCE), "-I", source, target),
        capture_output=True,
        check=False,
        timeout=20,
    )
    return done.returncode == 0


def _talk(client: Client, kind: Kind, source: str, target: str) -> bool:
    family = socket.AF_INET if kind.endswith("4") else socket.AF_INET6
    text = os.urandom(64)
    with client.space.socket(family, socket.SOCK_STREAM if kind.startswith("tcp") else socket.SOCK_DGRAM) as talk:
        talk.settimeout(PATIENCE)
        talk.bind((source, 0))
        try:
            talk.connect((target, PORT))
            talk.send(text)
            return talk.recv(len(text)) == text
        except OSError:
            return False
