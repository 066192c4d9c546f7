# SPDX-License-Identifier: Apache-2.0
"""The daemon's log as journald takes it: lines of JSON with the security events of real traffic and real requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab.daemon import Daemon
from lab.network import Network
from lab.probes import reach
from lab.waiting import eventually

pytestmark = pytest.mark.netns

LIMIT = {"action": "limit", "match": {"protocol": "icmp"}, "limit": {"rate": 1, "burst": 1, "per": "source", "ban": 60}}


def test_security_events_are_lines_of_json(make_network: Callable[..., Network]) -> None:
    network = make_network(1)
    [client] = network.clients
    log = network.home / "daemon.log"
    log.touch()
    stream = f"JOURNAL_STREAM={log.stat().st_dev}:{log.stat().st_ino}"
    arguments = ("--listen", "none", "--attach", f"{client.interface}:native")
    daemon = Daemon(network.firewall, network.home, arguments=arguments, wrapped=("env", stream)).start()

    def told() -> dict[str, dict[str, Any]]:
        """The latest line of each event; each line is marked with its priority."""
        lines = [text for text in log.read_text().splitlines() if text.endswith("}")]
        assert all(text[0] == "<" and text[2:4] == ">{" for text in lines)
        return {line.get("event", ""): line | {"priority": text[1]} for text in lines if (line := json.loads(text[3:]))}

    daemon.cli("block", "198.51.100.0/24", "--comment", "noise")
    daemon.cli("block", "0.0.0.0/0", check=False)
    secret = daemon.rest.must("POST", "tokens", {"name": "x", "role": "read"})["secret"]
    daemon.rest.must("PUT", "rules/pings", LIMIT)
    for _ in range(5):
        reach(client, ["ping4"])
    events = eventually(lambda: (found := told()).get("ban") and found, "the ban is told")
    daemon.cli("detach", client.interface)

    assert events["ready"]["interfaces"] == [client.interface]
    assert events["block"]["differences"][0]["path"] == "sets/block/entries/198.51.100.0/24"
    assert (events["refused"]["status"], events["refused"]["priority"]) == (409, "4")
    assert (events["ban"]["prefix"], events["ban"]["rule"]) == (f"{client.address4}/32", "pings")
    assert events["attach"]["differences"][0]["path"] == f"interfaces/{client.interface}"
    assert told()["detach"]["request"] == f"DELETE /interfaces/{client.interface}"
    daemon.stop()
    daemon.stop()
    assert secret.split("_", 2)[2] not in log.read_text()
