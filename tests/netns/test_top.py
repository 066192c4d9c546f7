# SPDX-License-Identifier: Apache-2.0
"""`xdpfw top` in a terminal (tmux), on a daemon that filters real traffic: see a talker, block it, undo."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import traffic
from lab.daemon import XDPFW
from lab.namespace import Namespace
from lab.probes import expect, reach
from lab.waiting import eventually
from tests.conftest import lacks
from tests.netns.conftest import Site

pytestmark = pytest.mark.netns


@dataclass
class Tmux:
    """A terminal of its own in a namespace, where it ends with the lab at the latest."""

    space: Namespace
    socket: str

    def run(self, *arguments: str) -> str:
        return self.space.run("tmux", "-S", self.socket, "-f", "/dev/null", *arguments)

    def press(self, *keys: str) -> None:
        """Names as tmux has them (Enter, BSpace…), or characters."""
        self.run("send-keys", *keys)

    def type(self, text: str) -> None:
        self.run("send-keys", "-l", text)

    @property
    def screen(self) -> list[str]:
        return self.run("capture-pane", "-p").splitlines()

    def shows(self, text: str, within: float = 20) -> None:
        try:
            eventually(lambda: any(text in line for line in self.screen), f"the screen shows {text}", within)
        except TimeoutError as error:
            raise TimeoutError("\n".join([str(error), *self.screen])) from None

    def row(self, address: str) -> list[str]:
        """The words of a talker's row: rank, address, pps, bit/s, packets, bytes, dropped share, and what drops it."""
        return next((line.split() for line in self.screen if line.split()[1:2] == [address]), [])


@pytest.fixture
def tmux(site: Site) -> Iterator[Tmux]:
    if shutil.which("tmux") is None:
        lacks("no tmux; script/bootstrap --test installs it")
    tmux = Tmux(site.network.firewall, str(site.network.home / "tmux"))
    command = f"{XDPFW} top lan2 --socket {site.daemon.socket}; echo left with $?; exec sleep 1000"
    tmux.run("new-session", "-d", "-x", "100", "-y", "30", "env", "-u", "NO_COLOR", "sh", "-c", command)
    yield tmux
    tmux.run("kill-server")


def test_a_talker_is_seen_blocked_and_released(site: Site, tmux: Tmux) -> None:
    client = site.clients[1]
    address = client.address4
    gateways = (client.gateway4, client.gateway6)
    talking = client.space.popen(sys.executable, "-m", traffic.__name__, *gateways, "2")
    try:
        tmux.shows("lan2  native · enforce")
        # It sends 40 datagrams a second, besides a ping and TCP.
        row = eventually(lambda: (row := tmux.row(address)) and float(row[2]) > 20 and row, "it is seen talking")
        assert row[6] == "0%"
        # The cursor keeps to the one that is filtered for.
        tmux.press("f")
        tmux.type(address)
        tmux.press("Enter", "Down")
        tmux.shows(f"in {address}/32")

        def events(*words: str) -> bool:
            """Whether a packet of this talker is shown with all of these."""
            return any("→" in line and address in line and set(words) <= set(line.split()) for line in tmux.screen)

        tmux.press("e")
        eventually(lambda: events("pass", "udp"), "its packets pass, one by one")

        # All in one go, as one types ahead over a slow line.
        tmux.press("b", "BSpace", "2", "4", "Tab", "1", "0", "m", "Tab", "n", "o", "i", "s", "e", "Enter")
        tmux.shows(f"blocked {client.network4} for 10 m; z undoes it")
        entry = site.daemon.rest.get(f"sets/block/entries/{client.network4}")
        assert (entry["comment"], entry["origin"]) == ("noise", "manual")
        assert 0 < entry["ttl"] <= 600
        assert not any(reach(client, ["ping4", "udp4"]).values())
        eventually(lambda: tmux.row(address)[6:8] == ["100%", "block"], "all of it is dropped, by block")
        eventually(lambda: events("drop", "rule:block"), "its packets are dropped, one by one")
        tmux.press("e")
        dropped = next(line.split() for line in tmux.screen if line.startswith("dropped"))
        assert float(dropped[1]) > 0

        tmux.press("Enter")
        tmux.shows(f"{address} is dropped")
        tmux.shows("noise")
        tmux.press("z")
        tmux.shows(f"undone: {client.network4} is out of block again")
        tmux.shows(f"{address} passes")
        assert site.daemon.rest.call("GET", f"/api/v1/sets/block/entries/{client.network4}").status == 404
        expect(client, reached=True)
        tmux.press("q")
        eventually(lambda: tmux.row(address)[6:7] == ["0%"], "nothing of it is dropped any more")

        tmux.press("q")
        tmux.shows("left with 0")
    finally:
        talking.kill()
        talking.wait()


def test_it_outlives_the_daemon_and_follows_the_next_one(site: Site, tmux: Tmux) -> None:
    tmux.shows("lan2  native · enforce")
    site.daemon.stop()
    tmux.shows("trying again")
    tmux.press("2")  # it still answers
    tmux.shows("bit/s▾")
    site.daemon.start()
    eventually(lambda: not any("trying again" in line for line in tmux.screen), "it follows the new daemon", 30)
    site.put("block", "198.51.100.0/24")
    revision = site.daemon.rest.get("status")["revision"]
    tmux.shows(f"revision {revision}")
