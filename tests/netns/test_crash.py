# SPDX-License-Identifier: Apache-2.0
"""The daemon dies under traffic: nothing from a blocked prefix passes then, nor while it starts again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.flow import Flow
from lab.probes import expect, reach
from tests.netns.conftest import Site

pytestmark = pytest.mark.netns

RATE = 8_000
SOURCES = {
    "blocked": ["192.0.2.1", "203.0.113.77", "2001:db8:bad::1"],
    "clean": ["198.51.100.1", "2001:db8:900d::1"],
}
BLOCKS = ("192.0.2.0/24", "203.0.113.77", "2001:db8:bad::/48")


def check_flow(flow: Flow) -> None:
    """Not one blocked datagram arrived, and not one clean datagram got lost."""
    flow.stop()
    assert flow.sent["blocked"] > RATE // 4
    assert flow.received["blocked"] == 0
    assert (flow.received["clean"], flow.missing["clean"]) == (flow.sent["clean"], [])


def test_killed_under_traffic_and_started_again(make_site: Callable[..., Site]) -> None:
    site = make_site(1)
    for prefix in BLOCKS:
        site.put("block", prefix)
    flow = Flow(site.network, site.clients[0], SOURCES, RATE)
    program = site.daemon.rest.get("interfaces/lan1")["program_id"]
    flow.wait(RATE // 2)
    site.daemon.kill()
    flow.wait(RATE // 2)
    site.daemon.start()
    flow.wait(RATE // 2)
    check_flow(flow)
    status = site.daemon.rest.get("status")
    assert [view["state"] for view in status["interfaces"] if view["name"] == "lan1"] == ["attached"]
    assert site.daemon.rest.get("interfaces/lan1")["program_id"] == program, "the pinned program was not adopted"
    for prefix in BLOCKS:
        assert site.daemon.rest.get(f"sets/block/entries/{prefix}")["packets"] > 0


def test_stopped_and_started_with_everything_rebuilt(make_site: Callable[..., Site]) -> None:
    """Sets as before, but the pinned tables cannot be adopted: the new ones take over in place."""
    site = make_site(1)
    for prefix in BLOCKS:
        site.put("block", prefix)
    flow = Flow(site.network, site.clients[0], SOURCES, RATE)
    site.daemon.stop()
    # Another size of a table means another layout: nothing of the old maps fits.
    config = site.network.home / "xdpfw.toml"
    config.write_text("[limits]\nleaves = 100000\nmemberships = 20000\n")
    site.daemon.arguments = ("--config", str(config), *site.daemon.arguments)
    site.daemon.start()
    flow.wait(RATE // 2)
    check_flow(flow)


def test_what_was_acknowledged_survives_a_kill(make_site: Callable[..., Site]) -> None:
    site = make_site()
    blocked, other = site.clients
    rest = site.daemon.rest
    revision = site.put("block", blocked.network4)["revision"]
    rest.must("PATCH", "sets/block/entries", {"add": [blocked.network6, "2001:db8::/48"]})
    site.daemon.kill()
    assert not any(reach(blocked).values())
    site.daemon.start()
    assert rest.get("status")["revision"] > revision
    prefixes = {item["prefix"] for item in rest.get("sets/block/entries")["items"]}
    assert prefixes == {blocked.network4, blocked.network6, "2001:db8::/48"}
    assert not any(reach(blocked).values())
    expect(other, reached=True)
    site.remove("block", blocked.network4)
    site.remove("block", blocked.network6)
    expect(blocked, reached=True)
