# SPDX-License-Identifier: Apache-2.0
"""`xdpfw doctor --verify` where the daemon does not start: what is pinned, compared with the database; neither is
changed."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.daemon import Daemon
from lab.network import Network
from tests.netns.conftest import Site, attach_all
from tests.netns.test_drift import bpftool, octets, pin

pytestmark = pytest.mark.netns

RULES: tuple[dict[str, Any], ...] = (
    {"match": {"source": ["192.0.2.0/25"], "destination_ports": ["80-90"], "protocol": ["tcp"]}, "action": "drop"},
    {"match": {"source": ["198.18.0.0/15"]}, "action": "limit",
     "limit": {"rate": 20, "unit": "packets", "burst": 20, "per": "source", "ban": 60}},
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tools: None) -> Iterator[Site]:
    """Its daemon is gone, as after a crash, in the midst of a life: numbers were given out, taken back, given again."""
    with Network(1) as network:
        daemon = Daemon(network.firewall, network.home, arguments=("--listen", "none", *attach_all(network))).start()
        site = Site(network, daemon)
        for number, rule in enumerate(RULES):
            daemon.rest.must("PUT", f"rules/r{number}?force=true", rule)
        site.put("block", "10.0.0.0/8")
        site.remove("block", "10.0.0.0/8")
        for prefix in ("203.0.113.0/24", "203.0.113.7", "2001:db8:5::/48", "2001:db8:5::1"):
            site.put("block", prefix)
        site.put("allow", "203.0.113.7", ttl=3600)
        site.put("block", "198.51.100.0/24", ttl=1)
        site.put("block", "2001:db8:6::/48", ttl=7200)
        daemon.kill()
        yield site


def verify(site: Site, *more: str) -> subprocess.CompletedProcess[str]:
    daemon = site.daemon
    where = ("--state-dir", str(daemon.state), "--instance", daemon.instance, "--config", "/dev/null")
    command = daemon.space.command(*daemon.command("doctor", "--verify", *where, *more))
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def fingerprints(site: Site) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in site.daemon.state.glob("xdpfw.db*")}


def entries(path: Path) -> Any:
    return bpftool("map", "dump", "pinned", str(path))


def test_what_a_killed_daemon_left_is_what_the_database_says(site: Site) -> None:
    before = fingerprints(site), entries(site.daemon.pins / "tables-1" / "hosts4")
    done = verify(site)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing differs: " in done.stdout
    assert "no daemon answers" in done.stderr
    assert (fingerprints(site), entries(site.daemon.pins / "tables-1" / "hosts4")) == before


def test_what_differs_is_named(site: Site) -> None:
    """A host taken out, a prefix with other sets, a rule that does something else, an interface that lost its link."""
    host = octets(bytes([203, 0, 113, 7]))
    bpftool("map", "delete", "pinned", pin(site, "hosts4"), "key", *host)
    bpftool("map", "update", "pinned", pin(site, "leaf"), "key", "3", "0", "0", "0", "value", *["0"] * 8)
    for generation in "01":
        value = ["1", "0", "0", "0", *["0"] * 20]
        bpftool("map", "update", "pinned", pin(site, "policy"), "key", generation, "0", "0", "0", "value", *value)
    (site.daemon.pins / "links" / "lan1").unlink()
    done = verify(site, "--json")
    assert done.returncode == 10, done.stderr
    told = {each["table"]: each["details"] for each in json.loads(done.stdout)["deviations"]}
    assert told.keys() == {"hosts4", "leaf", "policy", "link"}
    assert told["hosts4"] == ["203.0.113.7/32 is missing"]
    assert "is in other sets" in told["leaf"][0] and "default_drop" in told["policy"][0]

    site.daemon.start()
    assert site.daemon.rest.must("POST", "verification", {})["prefixes"]
    site.daemon.kill()
    assert verify(site).returncode == 0


def test_what_the_database_does_not_say_is_named(site: Site) -> None:
    """A copy of an earlier day was put in its place."""
    copy = site.daemon.state / "copy.db"
    where = ("--state-dir", str(site.daemon.state), "--config", "/dev/null")
    subprocess.run(site.daemon.command("backup", str(copy), *where), check=True, timeout=60)
    site.daemon.start()
    site.put("block", "192.0.2.0/24")
    site.remove("block", "203.0.113.0/24")
    site.daemon.kill()
    subprocess.run(site.daemon.command("restore", str(copy), *where), check=True, timeout=60, capture_output=True)
    done = verify(site)
    assert done.returncode == 10
    assert "203.0.113.0/24 is missing" in done.stdout
    assert "192.0.2.0/24 is there, and in no set" in done.stdout


def test_a_daemon_that_does_not_answer_is_told(site: Site) -> None:
    site.daemon.start()
    site.daemon.socket.rename(site.daemon.socket.with_suffix(".gone"))
    done = verify(site)
    assert done.returncode == 5
    assert "does not answer" in done.stderr
