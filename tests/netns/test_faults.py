# SPDX-License-Identifier: Apache-2.0
"""What a firewall may meet on a bad day: each with a stated behaviour (docs/operations.md, "What happens when…") and a
message that says what to do; what is in force stays in force."""

from __future__ import annotations

import ctypes.util
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.daemon import Daemon
from lab.namespace import Namespace
from lab.network import Network
from lab.probes import expect, reach, start_services
from lab.rest import Answer
from lab.waiting import eventually
from tests.conftest import lacks
from tests.netns.conftest import Site, attach_all, xdp

pytestmark = pytest.mark.netns

LIBBPF = Path("/usr/lib/x86_64-linux-gnu/libbpf.so.1")
BCC = Path("/usr/lib/python3/dist-packages/bcc")
KINDS = ("ping4", "tcp4", "udp4")


def mounting(what: str) -> tuple[str, ...]:
    """The mounts are this command's alone."""
    return ("unshare", "--mount", "sh", "-c", f'{what} && exec "$@"', "sh")


@pytest.fixture
def site(make_site: Callable[..., Site]) -> Site:
    """Its first client is blocked by IPv4."""
    site = make_site(1)
    site.put("block", site.clients[0].network4)
    return site


def blocked(site: Site) -> bool:
    return not any(reach(site.clients[0], list(KINDS)).values())


def fails(site: Site, wrapped: tuple[str, ...], *, status: int = 1) -> str:
    """A start that ends at once; what it said. What was in force is."""
    program = xdp(site.network.firewall, "lan1")
    site.daemon.log.write_text("")
    site.daemon.wrapped = wrapped
    site.daemon.launch()
    assert site.daemon.process is not None
    assert site.daemon.process.wait(timeout=60) == status, site.daemon.tail()
    assert xdp(site.network.firewall, "lan1") == program
    assert blocked(site)
    site.daemon.wrapped = ()
    return site.daemon.log.read_text()


# the store


def test_a_full_disk_refuses_writes_and_filters_on(make_network: Callable[..., Network]) -> None:
    network = make_network(1)
    start_services(network)
    state = network.home / "daemon"
    state.mkdir(mode=0o700)
    wrapped = mounting(f"mount -t tmpfs -o size=16m,mode=700 none {state}")
    arguments = ("--listen", "none", *attach_all(network))
    site = Site(network, Daemon(network.firewall, network.home, arguments=arguments, wrapped=wrapped).start())
    site.put("block", network.clients[0].network4)
    assert site.daemon.process is not None
    filler = Path(f"/proc/{site.daemon.process.pid}/root{state}/filler")
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    body = b"".join(b"10.%d.%d.0/24\n" % (n >> 8, n & 255) for n in range(20_000))

    def write() -> Answer:
        return site.daemon.rest.call("PUT", "sets/block/entries?origin=feed", body, kind="text/plain")

    refused = write()
    assert (refused.status, "retry-after" in refused.headers) == (503, True), refused.body
    assert "make room there" in refused.json()["detail"]
    assert site.daemon.rest.get("sets/block")["entries"] == 1
    assert site.daemon.rest.call("GET", "/readyz").status == 200
    assert blocked(site)
    filler.unlink()
    assert write().status == 200


def test_a_read_only_store_is_told_at_the_start(site: Site) -> None:
    site.daemon.stop()
    state = site.daemon.state
    said = fails(site, mounting(f"mount --bind {state} {state} && mount -o remount,bind,ro {state}"))
    assert "Read-only file system" in said and "--state-dir" in said


def test_a_damaged_database_is_told_at_the_start(site: Site) -> None:
    site.daemon.stop()
    (site.daemon.state / "xdpfw.db").write_bytes(b"this is no database" * 100)
    said = fails(site, ())
    assert "damaged" in said and "xdpfw restore" in said


def test_a_database_deleted_at_run_time_refuses_writes(site: Site) -> None:
    for part in site.daemon.state.glob("xdpfw.db*"):
        part.unlink()
    refused = site.daemon.rest.call("PUT", "sets/block/entries/203.0.113.7", {})
    assert refused.status == 503
    assert "deleted or replaced" in refused.json()["detail"]
    assert site.daemon.rest.get("sets/block")["entries"] == 1
    assert blocked(site)
    # Neither does a start take an empty one for the truth.
    site.daemon.kill()
    said = fails(site, (), status=4)
    assert "hold 1 prefixes" in said and "xdpfw restore" in said and "xdpfw detach --all --offline" in said
    site.daemon.offline_detach()
    site.daemon.start()
    assert site.daemon.rest.get("sets/block")["entries"] == 0


# what it runs on


def test_without_a_mounted_bpffs_it_mounts_one(make_network: Callable[..., Network]) -> None:
    network = make_network(1)
    arguments = ("--listen", "none", *attach_all(network))
    wrapped = mounting("umount /sys/fs/bpf")
    daemon = Daemon(network.firewall, network.home, arguments=arguments, wrapped=wrapped).start()
    assert daemon.rest.get("interfaces/lan1")["state"] == "attached"
    assert not daemon.pins.exists(), "it is another one"


def test_a_bpffs_that_is_unmounted_under_it_is_mounted_and_filled_again(make_network: Callable[..., Network]) -> None:
    """Nothing is pinned any more then, and what only pins held is gone: the program is off."""
    network = make_network(1)
    start_services(network)
    arguments = ("--listen", "none", *attach_all(network))
    wrapped = mounting("umount /sys/fs/bpf")
    site = Site(network, Daemon(network.firewall, network.home, arguments=arguments, wrapped=wrapped).start())
    site.put("block", network.clients[0].network4)
    assert blocked(site)
    assert site.daemon.process is not None
    subprocess.run(["nsenter", f"--mount=/proc/{site.daemon.process.pid}/ns/mnt", "umount", "/sys/fs/bpf"], check=True)
    eventually(lambda: blocked(site), "it filters again", 10)
    eventually(lambda: site.daemon.answers("/readyz"), "it is ready again", 10)
    assert site.daemon.rest.get("verification")["ok"]
    told = [text for each in site.daemon.rest.get("status")["drift"] for text in each["found"]]
    assert any("lan1: somebody took the program off" in text for text in told), told
    assert any("is gone" in text for text in told), told
    pinned = Path(f"/proc/{site.daemon.process.pid}/root{site.daemon.pins}")
    assert {"trie4", "leaf", "on-lan1"} <= {path.name for path in (pinned / "tables-1").iterdir()}
    assert [path.name for path in (pinned / "links").iterdir()] == ["lan1"]


def test_without_libbpf_the_start_says_what_to_install(site: Site) -> None:
    if not LIBBPF.exists():
        lacks(f"no {LIBBPF} (found: {ctypes.util.find_library('bpf')})")
    site.daemon.stop()
    assert "apt-get install libbpf1" in fails(site, mounting(f"mount --bind /dev/null {LIBBPF}"))


def test_without_bcc_what_was_compiled_is_used_and_what_needs_more_is_refused(site: Site) -> None:
    if not BCC.exists():
        lacks(f"no {BCC}")
    site.daemon.kill()
    site.daemon.wrapped = mounting(f"mount -t tmpfs none {BCC}")
    site.daemon.start()
    assert blocked(site)
    program = site.daemon.rest.get("interfaces/lan1")["program_id"]
    rule = {"match": {"length": ["9000-9100"]}, "action": "drop"}
    refused = site.daemon.rest.call("PUT", "rules/more", rule)
    assert refused.status == 503, refused.body
    assert "apt-get install python3-bpfcc" in refused.json()["detail"]
    assert site.daemon.rest.call("GET", "rules/more").status == 404
    assert site.daemon.answers("/readyz")
    assert site.daemon.rest.get("interfaces/lan1")["program_id"] == program
    site.put("block", "203.0.113.0/24")
    assert blocked(site)


def test_without_memory_for_the_maps_the_start_names_the_setting(site: Site) -> None:
    """So many that the kernel refuses without trying."""
    site.daemon.stop()
    config = site.network.home / "xdpfw.toml"
    config.write_text(f"[limits]\nhosts4 = {(1 << 31) - 1}\n")
    arguments, site.daemon.arguments = site.daemon.arguments, ("--config", str(config), *site.daemon.arguments)
    said = fails(site, ())
    assert "no memory for the map" in said and "lower the limit hosts4" in said
    site.daemon.arguments = arguments
    site.daemon.start()
    assert blocked(site)


# the interface


@pytest.fixture
def elsewhere(tools: None) -> Iterator[Namespace]:
    space = Namespace("xdpfw-elsewhere")
    subprocess.run(["ip", "netns", "add", space.name], check=True)
    yield space
    subprocess.run(["ip", "netns", "delete", space.name], check=True)


def state_of(site: Site, name: str) -> str:
    return str(site.daemon.rest.get(f"interfaces/{name}")["state"])


def test_down_up_and_another_mtu_change_nothing(site: Site) -> None:
    space, client = site.network.firewall, site.clients[0]
    before = site.daemon.rest.get("interfaces/lan1")
    space.ip("link set lan1 down", "link set lan1 up")
    client.space.ip("link set eth0 mtu 9000")
    space.ip("link set lan1 mtu 9000")
    eventually(lambda: site.daemon.rest.get("interfaces/lan1")["mtu"] == 9000, "the MTU is shown")
    after = site.daemon.rest.get("interfaces/lan1")
    same = ("state", "mode", "program_id")
    assert [after[name] for name in same] == [before[name] for name in same]
    assert blocked(site)
    site.remove("block", client.network4)
    expect(client, reached=True, kinds=list(KINDS))


def test_a_renamed_interface_is_filtered_and_taken_over_by_its_new_name(site: Site) -> None:
    space = site.network.firewall
    program = site.daemon.rest.get("interfaces/lan1")["program_id"]
    space.ip("link set lan1 down", "link set lan1 name wan7", "link set wan7 up")
    eventually(lambda: state_of(site, "lan1") == "absent", "the old name is absent")
    assert blocked(site), "its program is still on it"
    site.daemon.rest.must("PUT", "interfaces/wan7?force=true", {"mode": "native"})
    assert site.daemon.rest.get("interfaces/wan7")["program_id"] == program, "there was a gap"
    assert site.daemon.rest.get("interfaces/wan7/counters")["dropped"]["packets"] > 0
    assert blocked(site)


def test_an_interface_moved_to_another_namespace_is_absent_and_attached_when_it_comes_back(
    site: Site, elsewhere: Namespace
) -> None:
    space = site.network.firewall
    space.ip(f"link set lan1 netns {elsewhere.name}")
    eventually(lambda: state_of(site, "lan1") == "absent", "it is absent here")
    elsewhere.ip(f"link set lan1 netns {space.name}")
    client = site.clients[0]
    space.ip("link set lan1 up", f"address add {client.gateway4}/24 dev lan1")
    eventually(lambda: state_of(site, "lan1") == "attached", "it is attached again")
    assert blocked(site)
    site.remove("block", client.network4)
    expect(client, reached=True, kinds=list(KINDS))
