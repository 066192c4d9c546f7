# SPDX-License-Identifier: Apache-2.0
"""A backup of a daemon that runs, put back: packets are judged as they were then."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.probes import expect, reach
from tests.netns.conftest import Site

pytestmark = pytest.mark.netns


def test_packets_are_judged_as_when_the_copy_was_made(make_site: Callable[..., Site]) -> None:
    site = make_site(2)
    daemon, (first, second) = site.daemon, site.clients
    where = ("--config", "/dev/null", "--state-dir", str(daemon.state))
    copy = site.network.home / "copy.db"
    for network in (first.network4, first.network6):
        site.put("block", network)
    daemon.cli("backup", str(copy), *where)
    site.reset()
    for network in (second.network4, second.network6):
        site.put("block", network)
    refused = daemon.cli("restore", str(copy), *where, check=False)
    assert refused.returncode == 4
    assert "stop it first" in refused.stderr
    assert not any(reach(second).values())
    daemon.stop()
    daemon.cli("restore", str(copy), *where)
    assert not any(reach(second).values()), "filters stay in force meanwhile"
    daemon.start()
    assert not any(reach(first).values())
    expect(second, reached=True)
    prefixes = {item["prefix"] for item in daemon.rest.get("sets/block/entries")["items"]}
    assert prefixes == {first.network4, first.network6}
