# SPDX-License-Identifier: Apache-2.0
"""A newer version with another layout of its maps takes over what an older one left running, and back again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.daemon import Daemon
from lab.flow import Flow
from lab.network import ROOT, Network
from lab.probes import start_services
from lab.waiting import eventually
from tests.netns.conftest import Site, attach_all, xdp
from tests.netns.test_crash import BLOCKS, RATE, SOURCES, check_flow
from xdpfw.hold import Hold

pytestmark = pytest.mark.netns

LIMITED = "198.18.0.1"
LAYOUT = (
    ("bpf/maps.h", "\t__u16 ethertypes[", "\t__u64 added;\n\t__u16 ethertypes["),
    ("bpf/maps.h", "sizeof(struct policy) == 24", "sizeof(struct policy) == 32"),
    ("xdpfw/kernel/layouts.py", '("ethertypes", "u2", 8)', '("added", "u8"), ("ethertypes", "u2", 8)'),
)
"""Another layout of a record that packets read."""

SCHEMA = (("xdpfw/kernel/layouts.py", "SCHEMA = 1\n", "SCHEMA = 2\n"),)


def version(home: Path, changes: tuple[tuple[str, str, str], ...]) -> Path:
    """A copy of this version with some text changed."""
    copy = home / "version"
    for part in ("api", "bpf", "cli", "xdpfw"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path, old, new in changes:
        text = (copy / path).read_text()
        assert old in text, f"{path} does not have {old!r} any more"
        (copy / path).write_text(text.replace(old, new))
    return copy


@pytest.fixture
def site(make_network: Callable[..., Network]) -> Site:
    network = make_network(1)
    start_services(network)
    arguments = ("--listen", "none", *attach_all(network))
    site = Site(network, Daemon(network.firewall, network.home, arguments=arguments).start())
    for prefix in BLOCKS:
        site.put("block", prefix)
    limit = {"rate": 5, "unit": "packets", "burst": 5, "per": "source", "ban": 3600}
    rule = {"match": {"source": [LIMITED]}, "action": "limit", "limit": limit}
    site.daemon.rest.must("PUT", "rules/limited?force=true", rule)
    return site


def counted(site: Site) -> dict[str, int]:
    found = {prefix: site.daemon.rest.get(f"sets/block/entries/{prefix}")["packets"] for prefix in BLOCKS}
    counters = site.daemon.rest.get("interfaces/lan1/counters")
    return found | {"dropped": counters["dropped"]["packets"], "passed": counters["passed"]["packets"]}


def banned(site: Site) -> list[Any]:
    return [(item["prefix"], item["added_at"][:19]) for item in site.daemon.rest.get("sets/banned/entries")["items"]]


def test_another_layout_takes_over_without_a_gap_and_goes_back(site: Site) -> None:
    newer = version(site.network.home, LAYOUT)
    flow = Flow(site.network, site.clients[0], SOURCES | {"limited": [LIMITED]}, RATE)
    eventually(lambda: banned(site), "a source is banned")
    flow.wait(RATE // 4)
    for wrapped in (("env", f"PYTHONPATH={newer}"), ()):
        before, bans, program = counted(site), banned(site), xdp(site.network.firewall, "lan1")
        site.daemon.stop()
        site.daemon.wrapped = wrapped
        site.daemon.start()
        status = site.daemon.rest.get("status")
        assert any("another layout" in warning for warning in status["warnings"]), "it was adopted as it is"
        assert xdp(site.network.firewall, "lan1") != program
        assert banned(site) == bans
        assert all(after >= before[name] for name, after in counted(site).items())
        assert site.daemon.rest.get("verification")["ok"]
        flow.wait(RATE // 4)
    check_flow(flow)


def test_pins_of_a_newer_version_are_refused_with_the_way_out(site: Site) -> None:
    newer = version(site.network.home, SCHEMA)
    site.daemon.stop()
    site.daemon.wrapped = ("env", f"PYTHONPATH={newer}")
    # The same layout of everything: what it pins is new because the old pins are gone.
    site.daemon.offline_detach()
    Hold(site.daemon.state).clear()
    site.daemon.start()
    program = xdp(site.network.firewall, "lan1")
    assert program is not None
    site.daemon.stop()
    site.daemon.wrapped = ()
    site.daemon.launch()
    assert site.daemon.process is not None
    assert site.daemon.process.wait(timeout=60) == 4
    said = site.daemon.log.read_text()
    assert "newer xdpfw (schema 2; this one knows 1)" in said
    assert "xdpfw detach --all --offline" in said
    assert xdp(site.network.firewall, "lan1") == program, "the newer one's filter is left as it is"
    site.daemon.offline_detach()
    site.daemon.launch()
    eventually(lambda: site.daemon.answers("/healthz"), "that was the way out", 60)
    site.daemon.cli("attach", "lan1", "--force")
    assert xdp(site.network.firewall, "lan1") is not None
