# SPDX-License-Identifier: Apache-2.0
"""Events and captures of real traffic, as the command line shows them and as tshark reads them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.network import Client
from lab.probes import reach
from lab.waiting import eventually
from tests.conftest import lacks
from tests.netns.conftest import Site

pytestmark = pytest.mark.netns


@contextmanager
def pinging(client: Client, often: str = "0.05") -> Iterator[None]:
    """A client that sends all the while."""
    process = client.space.popen("ping", "-q", "-i", often, "-w", "60", client.gateway4)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def test_a_sample_of_all_traffic_is_shown_without_any_rule(site: Site) -> None:
    client = site.clients[0]
    with pinging(client):
        done = site.daemon.cli(
            "events", "--limit", "3", "--interface", client.interface, "--protocol", "icmp", "--json"
        )
    events = json.loads(done.stdout)["items"]
    assert [(e["source"], e["interface"], e["verdict"], e["protocol"], e["icmp_type"]) for e in events] == [
        (client.address4, client.interface, "pass", "icmp", 8)
    ] * 3
    status = site.daemon.rest.get("status")["events"]
    assert status["watchers"] == 0 and sum(status["lost"]) == 0


def test_filters_and_fields(site: Site) -> None:
    blocked, other = site.clients[0], site.clients[1]
    site.put("block", blocked.address4)
    with pinging(blocked), pinging(other):
        wanted = ("--verdict", "drop", "--limit", "2", "--fields", "source,rule,verdict")
        done = site.daemon.cli("events", *wanted)
    assert done.stdout.splitlines() == [f"{blocked.address4}\tblock\tdrop"] * 2


def test_one_event_a_second_for_each_source_unless_asked(site: Site) -> None:
    client = site.clients[0]
    within = ("--within", client.address4, "--for", "3s", "--json")
    with pinging(client, "0.02"):
        few = json.loads(site.daemon.cli("events", *within).stdout)["items"]
        many = json.loads(site.daemon.cli("events", *within, "--repeat").stdout)["items"]
    assert 1 <= len(few) <= 8
    assert len(many) > 40


def test_a_rule_that_logs_is_what_is_shown(site: Site) -> None:
    client = site.clients[0]
    rule = {"action": "pass", "match": {"protocol": "icmp", "source": client.network4}, "log": {"rate": 100}}
    site.daemon.rest.must("PUT", "rules/pings", rule)
    try:
        with pinging(client), pinging(site.clients[1]):
            events = json.loads(site.daemon.cli("events", "--limit", "3", "--json").stdout)["items"]
        assert {(event["source"], event["rule"]) for event in events} == {(client.address4, "pings")}
    finally:
        site.daemon.rest.must("DELETE", "rules/pings")


def test_a_capture_opens_in_tshark(site: Site, tmp_path: Path) -> None:
    if not shutil.which("tshark"):
        lacks("no tshark; script/bootstrap --test installs it")
    client, path = site.clients[0], tmp_path / "drops.pcapng"
    site.put("block", client.address4)
    with pinging(client):
        site.daemon.cli("events", "--write", str(path), "--verdict", "drop", "--limit", "3", "--snap", "64")
    fields = ("frame.interface_name", "frame.len", "frame.cap_len", "ip.src", "frame.comment")
    wanted = [word for name in fields for word in ("-e", name)]
    shown = subprocess.run(
        ["tshark", "-r", str(path), "-T", "fields", *wanted], capture_output=True, text=True, check=True
    )
    lines = [line.split("\t") for line in shown.stdout.splitlines()]
    assert lines[:3] == [[client.interface, "98", "64", client.address4, "rule block"]] * 3
    whole = subprocess.run(
        ["tshark", "-r", str(path), "-V", "-c", "1"], capture_output=True, text=True, check=True
    ).stdout
    assert "eBPF XDP: XDP_DROP (1)" in whole
    assert "Interface queue: 0" in whole


def test_captures_begin_anew_at_a_size(site: Site, tmp_path: Path) -> None:
    client = site.clients[0]
    with pinging(client, "0.01"):
        site.daemon.cli(
            "events", "--write", str(tmp_path / "ring.pcapng"), "--repeat", "--limit", "60",
            "--rotate-size", "2k", "--rotate-count", "3",
        )  # fmt: skip
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 3
    for path in kept:
        subprocess.run(["tshark", "-r", str(path)], capture_output=True, check=True)


def test_the_packet_path_writes_for_nobody_once_the_watcher_is_gone(site: Site) -> None:
    client = site.clients[0]
    watching = subprocess.Popen(
        site.daemon.command("events", "--follow"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert watching.stdout is not None
    with pinging(client):
        assert watching.stdout.readline()
        watching.kill()
        watching.communicate()
        eventually(lambda: site.daemon.rest.get("status")["events"]["watchers"] == 0, "nobody watches any more")
    assert reach(client, ["ping4"])["ping4"]
