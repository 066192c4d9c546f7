# SPDX-License-Identifier: Apache-2.0
"""What is out there: servers in a client's namespace, and the clients that people use, run from anywhere::

    far === world === (lan1) firewall (lan2) === inside

`world` has the servers and routes to `far`; `inside` is what the firewall forwards for, with translated addresses or
with its own.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

from lab.daemon import Daemon
from lab.namespace import Namespace
from lab.network import Network
from lab.waiting import eventually
from tests.conftest import lacks
from xdpfw.model.prefix import Family

TOOLS = ("curl", "dig", "dnsmasq", "dropbear", "ssh", "apt-get", "iperf3", "nft", "tc", "tracepath", "dhclient")
LARGE = 4 << 30
HTTP, DNS, SSH, IPERF = 8000, 53, 22, 5201
NAME, ANSWERS = "host.example", {4: "192.0.2.80", 6: "2001:db8::80"}
PACKAGE = """Package: nothing
Version: 1
Architecture: all
Maintainer: Nobody <nobody@example.org>
Filename: ./nothing.deb
"""

_MASQUERADE = """
table inet lab {
    chain out { type nat hook postrouting priority 100; oifname "lan1" masquerade; }
}
"""

# An unconnected socket: it answers whoever asks, and its owner does not say whom it asks.
_UNCONNECTED = """
import socket, sys
with socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.settimeout(2)
    asking.sendto(bytes.fromhex(sys.argv[3]), (sys.argv[1], int(sys.argv[2])))
    answer, _ = asking.recvfrom(4096)
    print(len(answer))
"""


class World:
    def __init__(self, network: Network) -> None:
        self.network = network
        self.home = network.home / "world"
        self.home.mkdir()
        self.world, self.inside = network.clients[:2]
        for space in (network.firewall, self.world.space):
            space.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        self._far = self._make_far()
        self._serve(self.world.space)

    def close(self) -> None:
        """End what runs in the namespace that the network does not know of."""
        for child in self._far.children:
            child.terminate()
            child.wait(timeout=10)

    def target(self, family: Family) -> str:
        return self.world.address4 if family == 4 else self.world.address6

    def places(self) -> dict[str, Namespace]:
        return {"host": self.network.firewall, "behind": self.inside.space, "behind a NAT": self.inside.space}

    def translate(self, on: bool) -> None:
        self.network.firewall.run("nft", "flush", "ruleset")
        if on:
            self.network.firewall.run("nft", "-f", "-", text=_MASQUERADE)

    # servers

    def _serve(self, space: Namespace) -> None:
        files = self.home / "files"
        files.mkdir()
        (files / "hello").write_text("hello\n")
        with (files / "large").open("wb") as large:
            large.truncate(LARGE)
        self._make_repository(files)
        self._make_key()
        space.popen("/usr/bin/python3", "-m", "http.server", str(HTTP), "--bind", "::", "--directory", str(files))
        space.popen(
            "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--user=root", "--no-resolv", "--no-hosts",
            *(f"--address=/{NAME}/{address}" for address in ANSWERS.values()),
        )  # fmt: skip
        # A home of its own for root, so that nothing of this machine's is changed.
        space.popen(
            "unshare", "--mount", "sh", "-ec",
            "mount -t tmpfs -o mode=700 none /root; mkdir -m 700 /root/.ssh; "
            f"install -m 600 {self.home}/key.pub /root/.ssh/authorized_keys; "
            f"exec dropbear -F -E -s -p {SSH} -r {self.home}/hostkey",
        )  # fmt: skip
        space.popen("iperf3", "-s", "-p", str(IPERF))
        for port in (HTTP, DNS, SSH, IPERF):
            eventually(lambda port=port: self._listens(space, port), f"something listens at port {port}")  # type: ignore[misc]

    @staticmethod
    def _listens(space: Namespace, port: int) -> bool:
        return bool(space.run("ss", "-Hltn", f"sport = :{port}").strip())

    def _make_key(self) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.home / "key")], check=True)
        subprocess.run(
            ["dropbearkey", "-t", "ed25519", "-f", str(self.home / "hostkey")], check=True, capture_output=True
        )

    @staticmethod
    def _make_repository(files: Path) -> None:
        (files / "Packages").write_text(PACKAGE)
        digest = hashlib.sha256(PACKAGE.encode()).hexdigest()
        (files / "Release").write_text(f"SHA256:\n {digest} {len(PACKAGE)} Packages\n")

    def _make_far(self) -> Namespace:
        """A network behind the world, to which its router takes no packet of more than 1,280 bytes."""
        far = Namespace(f"{self.network.name}-far")
        router = self.world.space
        subprocess.run(["ip", "netns", "add", far.name], check=True)
        far.ip("link set lo up")
        router.ip(f"link add far type veth peer name eth0 netns {far.name}")
        router.ip(
            "address add 10.99.0.1/24 dev far noprefixroute",
            "address add fd00:99::1/64 dev far nodad noprefixroute",
            "link set far up",
            "route add 10.99.0.0/24 dev far mtu 1280",
            "route add fd00:99::/64 dev far mtu 1280",
        )
        far.ip(
            "address add 10.99.0.2/24 dev eth0",
            "address add fd00:99::2/64 dev eth0 nodad",
            "link set eth0 up",
            "route add default via 10.99.0.1",
            "route add default via fd00:99::1",
        )
        client = self.world
        self.network.firewall.ip(
            f"route add 10.99.0.0/24 via {client.address4} dev {client.interface}",
            f"route add fd00:99::/64 via {client.address6} dev {client.interface}",
        )
        far.popen("iperf3", "-s", "-p", str(IPERF))
        eventually(lambda: self._listens(far, IPERF), "iperf3 listens")
        return far

    @property
    def far(self) -> dict[Family, str]:
        return {4: "10.99.0.2", 6: "fd00:99::2"}

    # clients, each of which answers what it got

    def curl(self, space: Namespace, family: Family, path: str = "hello", *options: str) -> str:
        target = self.target(family)
        host = f"[{target}]" if family == 6 else target
        return space.run("curl", "-gsS", "-m", "5", *options, f"http://{host}:{HTTP}/{path}")

    def dig(self, space: Namespace, family: Family, *options: str) -> str:
        kind = "A" if family == 4 else "AAAA"
        return space.run("dig", "+short", "+time=2", "+tries=1", *options, f"@{self.target(family)}", NAME, kind)

    def ask_unconnected(self, space: Namespace, family: Family) -> int:
        """The length of a DNS answer to a socket that is not connected."""
        name = b"".join(bytes([len(part)]) + part.encode() for part in NAME.split(".")) + b"\0"
        query = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + name + (b"\0\1" if family == 4 else b"\0\x1c") + b"\0\1"
        return int(space.run("/usr/bin/python3", "-c", _UNCONNECTED, self.target(family), str(DNS), query.hex()))

    def ssh(self, space: Namespace, family: Family, *command: str) -> str:
        return space.run(*self.ssh_command(family), *command)

    def ssh_command(self, family: Family) -> list[str]:
        options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=5")
        given = [word for option in options for word in ("-o", option)]
        return ["ssh", "-q", "-F", "none", "-i", str(self.home / "key"), *given, f"root@{self.target(family)}"]

    def apt(self, space: Namespace, family: Family) -> str:
        """What apt says of the one package there, after `apt-get update` into a directory of its own."""
        target = self.target(family)
        host = f"[{target}]" if family == 6 else target
        base = self.home / f"apt-{os.urandom(4).hex()}"
        for name in ("etc", "state/lists/partial", "cache/archives/partial"):
            (base / name).mkdir(parents=True)
        (base / "sources.list").write_text(f"deb [trusted=yes] http://{host}:{HTTP}/ ./\n")
        (base / "status").touch()
        options = [
            f"Dir::Etc={base}/etc", f"Dir::Etc::SourceList={base}/sources.list", f"Dir::State={base}/state",
            f"Dir::State::status={base}/status", f"Dir::Cache={base}/cache", "APT::Sandbox::User=root",
            "Acquire::http::Timeout=5", "Acquire::Retries=0", "Acquire::http::Proxy=false", "Acquire::Languages=none",
        ]  # fmt: skip
        given = [word for option in options for word in ("-o", option)]
        space.run("apt-get", *given, "-q", "update")
        return space.run("apt-cache", *given, "show", "nothing")

    def iperf(self, space: Namespace, family: Family, *options: str) -> str:
        return space.run("iperf3", "-c", self.target(family), "-p", str(IPERF), "-n", "2M", *options)

    def ping(self, space: Namespace, family: Family, *options: str) -> str:
        return space.run("ping", "-n", "-c", "2", "-i", "0.2", "-W", "2", *options, self.target(family))

    def reaches(self, space: Namespace, family: Family) -> bool:
        command = space.command("ping", "-n", "-c", "1", "-W", "1", self.target(family))
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def tracepath(self, space: Namespace, family: Family) -> str:
        return space.run("tracepath", "-n", "-m", "6", self.far[family])


class Denied(World):
    """Everything is dropped that comes from the world and that nobody asked for."""

    def __init__(self, network: Network, *, deny: bool = True) -> None:
        super().__init__(network)
        self.daemon = Daemon(network.firewall, network.home, arguments=("--listen", "none")).start()
        self.attach("native")
        if deny:
            self.deny()

    def attach(self, mode: str) -> None:
        self.daemon.rest.must("PUT", "interfaces/lan1?force=true", {"mode": mode})

    def deny(self) -> None:
        self.daemon.rest.must("PATCH", "policy?force=true", {"default": "drop"})

    def counted(self, reason: str, verdict: str = "dropped") -> int:
        reasons = self.daemon.rest.get("interfaces/lan1/counters")["reasons"]
        return int(reasons[reason][verdict]["packets"]) if reason in reasons else 0

    def at(self, place: str) -> Namespace:
        """Where a client runs, with addresses translated or not."""
        self.translate(place == "behind a NAT")
        return self.places()[place]

    def address(self, place: str, family: Family) -> str:
        """Of who is at a place, as the world sees it."""
        shown = self.inside if place == "behind" else self.world
        gateway = place != "behind"
        return {
            (4, True): shown.gateway4, (6, True): shown.gateway6, (4, False): shown.address4, (6, False): shown.address6
        }[family, gateway]  # fmt: skip

    def send(self, frames: list[bytes]) -> None:
        """From the world at the firewall's interface."""
        mac = bytes.fromhex(self.daemon.rest.get("interfaces/lan1")["mac"].replace(":", ""))
        with self.world.space.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
            out.bind(("eth0", 0))
            for frame in frames:
                out.send(mac + frame[6:])

    def filters(self) -> str:
        """What runs on the way out to the world."""
        return self.network.firewall.run("tc", "filter", "show", "dev", "lan1", "egress")


def look_for_clients() -> None:
    """Skip, or fail in CI, where one is missing."""
    for tool in TOOLS:
        if shutil.which(tool, path="/usr/bin:/usr/sbin:/bin:/sbin") is None:
            lacks(f"no {tool}; script/bootstrap --test installs it")
