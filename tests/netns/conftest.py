# SPDX-License-Identifier: Apache-2.0
"""Real links, real packets, real clients: labs with and without a daemon, which end with the test or its death."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from lab.daemon import Daemon
from lab.namespace import Namespace
from lab.network import Client, Network
from lab.probes import start_services
from tests.conftest import lacks

TOOLS = ("ip", "nsenter", "ping", "ethtool", "bpftool", "tcpreplay")
SETS = ("allow", "block")


@dataclass(frozen=True, slots=True)
class Site:
    """A lab whose firewall filters in native mode on every client's interface."""

    network: Network
    daemon: Daemon

    @property
    def clients(self) -> list[Client]:
        return self.network.clients

    def put(self, name: str, prefix: str, *, force: bool = False, **fields: object) -> dict[str, object]:
        answer = self.daemon.rest.must("PUT", f"sets/{name}/entries/{prefix}" + "?force=true" * force, fields)
        assert isinstance(answer, dict)
        return answer

    def remove(self, name: str, prefix: str) -> None:
        self.daemon.rest.must("DELETE", f"sets/{name}/entries/{prefix}")

    def policy(self, **fields: str) -> None:
        self.daemon.rest.must("PATCH", "policy?force=true", fields)

    def reset(self) -> None:
        """As it was at first."""
        self.policy(default="pass", mode="enforce")
        for name in SETS:
            self.daemon.rest.must("PUT", f"sets/{name}/entries?force=true", b"", kind="text/plain")


def attach_all(network: Network) -> tuple[str, ...]:
    return tuple(word for client in network.clients for word in ("--attach", f"{client.interface}:native"))


def xdp(space: Namespace, link: str) -> dict[str, Any] | None:
    """What `ip` says about a link's XDP program."""
    found = json.loads(space.run("ip", "-j", "-d", "link", "show", link))[0].get("xdp")
    assert found is None or isinstance(found, dict)
    return found


@pytest.fixture(scope="session")
def tools() -> None:
    for tool in TOOLS:
        if shutil.which(tool) is None:
            lacks(f"no {tool}; script/bootstrap --test installs it")


@pytest.fixture
def make_network(tools: None) -> Iterator[Callable[..., Network]]:
    """Makes labs that this test alone uses; arguments as of Network."""
    made: list[Network] = []

    def make(clients: int = 2, *, mtu: int = 1500) -> Network:
        network = Network(clients, mtu=mtu)
        made.append(network)
        return network

    yield make
    for network in made:
        network.close()


@pytest.fixture
def make_site(make_network: Callable[..., Network]) -> Callable[..., Site]:
    """Makes labs with a daemon, for tests that kill it or pull its links."""

    def make(clients: int = 2, *, mtu: int = 1500) -> Site:
        network = make_network(clients, mtu=mtu)
        start_services(network)
        return Site(
            network,
            Daemon(network.firewall, network.home, arguments=("--listen", "none", *attach_all(network))).start(),
        )

    return make


@pytest.fixture(scope="session")
def _shared_site(tools: None) -> Iterator[Site]:
    with Network(3) as network:
        start_services(network)
        yield Site(
            network,
            Daemon(network.firewall, network.home, arguments=("--listen", "none", *attach_all(network))).start(),
        )


@pytest.fixture
def site(_shared_site: Site) -> Iterator[Site]:
    """One lab for all tests that leave it as it was: empty sets, default pass."""
    yield _shared_site
    _shared_site.reset()
