# SPDX-License-Identifier: Apache-2.0
"""The daemon as a user of its own with three capabilities, on a bpffs that is root's alone, as systemd mounts it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.daemon import XDPFW, Daemon
from lab.network import Network
from lab.probes import expect, reach, start_services
from lab.waiting import eventually
from tests.netns.conftest import attach_all

pytestmark = pytest.mark.netns

USER, GROUP = "nobody", "nogroup"
CAPABILITIES = {"bpf": 39, "net_admin": 12, "perfmon": 38}


@dataclass(frozen=True, slots=True)
class Place:
    """A lab with a mount namespace whose bpffs nothing was prepared on."""

    network: Network
    mounts: str

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", f"--mount={self.mounts}", *command], capture_output=True, text=True, check=False, timeout=60
        )

    def prepare(self, user: str = USER) -> subprocess.CompletedProcess[str]:
        daemon = self.daemon()
        where = ("--config", "/dev/null", "--state-dir", str(daemon.state), "--instance", daemon.instance)
        return self.inside(str(XDPFW), "prepare", user, *where)

    def daemon(self, capabilities: tuple[str, ...] = tuple(CAPABILITIES)) -> Daemon:
        listed = ",".join(["-all", *(f"+{name}" for name in capabilities)])
        privileges = ("--reuid", USER, "--regid", GROUP, "--clear-groups", "--no-new-privs")
        sets = (f"--inh-caps={listed}", f"--ambient-caps={listed}", f"--bounding-set={listed}")
        home = self.network.home / USER
        return Daemon(
            self.network.firewall,
            home,
            arguments=("--listen", "none", *attach_all(self.network)),
            wrapped=("nsenter", f"--mount={self.mounts}", "setpriv", *privileges, *sets),
        )


@pytest.fixture
def place(make_network: Callable[..., Network]) -> Place:
    network = make_network(2)
    start_services(network)
    network.home.chmod(0o711)
    home = network.home / USER
    home.mkdir(mode=0o700)
    shutil.chown(home, USER, GROUP)
    # As long as this process lives, so does the bpffs that it mounted.
    script = "mount -t bpf -o mode=0700 bpf /sys/fs/bpf && echo ready && exec sleep infinity"
    log = network.home / "mounts.log"
    with log.open("wb") as output:
        holder = network.firewall.popen("unshare", "--mount", "sh", "-c", script, output=output)
    eventually(lambda: log.read_text() == "ready\n", "bpffs is mounted")
    return Place(network, f"/proc/{holder.pid}/ns/mnt")


def ended(daemon: Daemon) -> str:
    """What a daemon that cannot start says."""
    daemon.launch()
    assert daemon.process is not None
    assert daemon.process.wait(timeout=60) == 1
    return daemon.log.read_text()


def test_it_filters_is_killed_and_adopts(place: Place) -> None:
    assert place.prepare().returncode == 0
    daemon = place.daemon().start()
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    held = sum(1 << bit for bit in CAPABILITIES.values())
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{name}:\t{held:016x}" in status
    assert f"Uid:\t{pwd.getpwnam(USER).pw_uid}\t" in status
    blocked, other = place.network.clients
    for prefix in (blocked.network4, blocked.network6):
        daemon.rest.must("PUT", f"sets/block/entries/{prefix}")
    assert not any(reach(blocked).values())
    expect(other, reached=True)
    view = daemon.rest.get("interfaces/lan1")
    assert (view["mode"], view["driver"], view["warning"]) == ("native", "veth", None)
    assert view["dropped"]["packets"] > 0
    daemon.kill()
    assert not any(reach(blocked).values())
    daemon.start()
    assert daemon.rest.get("interfaces/lan1")["program_id"] == view["program_id"]
    assert not any(reach(blocked).values())
    daemon.rest.must("PUT", "sets/block/entries?force=true", b"", kind="text/plain")
    expect(blocked, reached=True)
    daemon.rest.must("DELETE", "interfaces/lan1")
    daemon.rest.must("PUT", "interfaces/lan1", {"mode": "generic"})
    daemon.rest.must("PATCH", "policy?force=true", {"default": "drop"})
    assert not any(reach(blocked).values())
    place.network.firewall.run("ping", "-n", "-c", "1", "-W", "2", blocked.address4)
    assert daemon.rest.get("status")["problems"] == []
    assert daemon.stop() == 0


def test_root_can_take_its_filters_off(place: Place) -> None:
    place.prepare()
    daemon = place.daemon().start()
    blocked = place.network.clients[0]
    daemon.rest.must("PUT", f"sets/block/entries/{blocked.network4}")
    daemon.kill()
    where = ("--config", "/dev/null", "--state-dir", str(daemon.state), "--instance", daemon.instance)
    assert place.inside(str(XDPFW), "detach", "--all", "--offline", *where).returncode == 0
    expect(blocked, reached=True)
    # The directory that root made for it is still there, empty.
    assert place.inside("find", str(daemon.pins)).stdout.split() == [str(daemon.pins)]
    daemon.start()
    expect(blocked, reached=True)
    assert daemon.rest.get("status")["ready"] is True
    # Root left the mark; the daemon's user may take it away.
    daemon.rest.must("PUT", "interfaces/lan1", {"mode": "auto"})
    assert reach(blocked)["ping4"] is False


def test_without_preparation_it_says_what_to_do(place: Place) -> None:
    assert f"xdpfw prepare {USER}" in ended(place.daemon())


@pytest.mark.parametrize("missing", CAPABILITIES)
def test_a_missing_capability_is_named(place: Place, missing: str) -> None:
    place.prepare()
    capabilities = tuple(name for name in CAPABILITIES if name != missing)
    assert f"CAP_{missing.upper()}" in ended(place.daemon(capabilities))


def owners(place: Place, *paths: str) -> list[str]:
    return place.inside("stat", "-c", "%U", *paths).stdout.split()


def test_pins_of_root_change_hands_and_those_of_others_do_not(place: Place) -> None:
    pins = str(place.daemon().pins)
    place.inside("sh", "-c", f"umask 077; mkdir -p {pins}/links/deep; ln -s /etc/passwd {pins}/link")
    assert place.prepare().returncode == 0
    assert owners(place, pins, f"{pins}/links", f"{pins}/links/deep", f"{pins}/link") == [USER, USER, USER, "root"]
    assert Path("/etc/passwd").stat().st_uid == 0
    # The directory is the user's now: what root finds in it is not given away.
    place.inside("mkdir", f"{pins}/planted")
    assert place.prepare().returncode == 0
    assert owners(place, f"{pins}/planted") == ["root"]
    place.inside("chown", "daemon", pins)
    refused = place.prepare()
    assert refused.returncode != 0
    assert "belongs to daemon" in refused.stderr


def test_only_an_owner_runs_on_a_state_directory(place: Place) -> None:
    """Root's files in there could not be opened by the daemon that is not root."""
    place.prepare()
    daemon = place.daemon().start()
    daemon.stop()
    roots = Daemon(place.network.firewall, place.network.home / USER, arguments=("--listen", "none"))
    roots.launch()
    assert roots.process is not None
    assert roots.process.wait(timeout=60) == 1
    assert f"belongs to {USER}" in roots.log.read_text()
    assert {path.owner() for path in daemon.state.rglob("*")} == {USER}
    assert os.geteuid() == 0
    daemon.start()
