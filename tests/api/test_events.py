# SPDX-License-Identifier: Apache-2.0
"""Events over REST: filters, both forms, watchers that come and go. What the packet path writes is given by hand."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from typing import Any

import dpkt
import numpy as np
import pytest

from lab.waiting import eventually
from tests import packets as p
from tests.api.conftest import WAN, Api, problem
from tests.api.test_streams import keeping, stream
from xdpfw.events import MOST_WATCHERS
from xdpfw.kernel.layouts import EVENT
from xdpfw.model.feature import Feature
from xdpfw.model.reason import MAX_REASONS, Reason

BLOCK = MAX_REASONS + 1


def pretend(api: Api, frame: bytes, cause: int = Reason.DEFAULT, *, drop: bool = False, snap: int = 128) -> None:
    """The packet path wrote an event."""
    row = np.zeros(1, EVENT)
    row["time"], row["cause"], row["drop"] = time.clock_gettime_ns(time.CLOCK_MONOTONIC), cause, drop
    row["frame_length"], row["captured"] = len(frame), min(len(frame), snap)
    row["interface"] = list(api.kernel.links).index(WAN)
    row["frame"][0, : min(len(frame), snap)] = np.frombuffer(frame[:snap], np.uint8)
    api.kernel.pending_events.append(row)


WEB = p.ethernet(p.ip("192.0.2.1", p.tcp(40000, 80)), p.tag(7))
DNS = p.ethernet(p.ip("2001:db8::1", p.udp(40000, 53)))


@pytest.fixture
def watched(fake: Api) -> Iterator[Api]:
    with keeping(fake):
        yield fake


def first(api: Api, **wanted: Any) -> Any:
    """The first event that is told after both were written."""
    with stream(api.client, "events", **wanted) as events:
        pretend(api, WEB, BLOCK, drop=True)
        pretend(api, DNS)
        return next(events)


def test_an_event_in_full(watched: Api) -> None:
    told = first(watched)
    assert told.pop("time")
    assert told == {
        "interface": WAN, "verdict": "drop", "monitored": False, "reason": "rule", "rule": "block", "watching": None,
        "source": "192.0.2.1", "destination": told["destination"], "protocol": "tcp", "source_port": 40000,
        "destination_port": 80, "icmp_type": None, "tcp_flags": "syn", "vlan": 7, "length": len(WEB),
    }  # fmt: skip


@pytest.mark.parametrize("wanted", [
    {"verdict": "pass"}, {"within": "2001:db8::/32"}, {"protocol": "udp"}, {"protocol": "17"}, {"port": "53"},
])  # fmt: skip
def test_filters(watched: Api, wanted: dict[str, str]) -> None:
    assert first(watched, **wanted)["source"] == "2001:db8::1"


def test_by_rule(watched: Api) -> None:
    assert first(watched, rule="block")["source"] == "192.0.2.1"
    problem(watched.client.get("events", params={"rule": "nowhere"}), 404)


@pytest.mark.parametrize("wanted", [
    {"verdict": "maybe"}, {"within": "10.0.0.1/8"}, {"protocol": "tpc"}, {"port": "65536"}, {"snap": "257"},
    {"format": "pcap"}, {"interface": "a/b"}, {"color": "red"},
])  # fmt: skip
def test_other_filters_are_422(fake: Api, wanted: dict[str, str]) -> None:
    problem(fake.client.get("events", params=wanted), 422)


def test_the_program_writes_only_while_somebody_watches(watched: Api) -> None:
    kernel = watched.kernel
    assert Feature.EVENTS not in kernel.features_used and not kernel.wished.sample
    with stream(watched.client, "events", repeat="true") as events:
        pretend(watched, WEB)
        assert next(events)
        assert Feature.EVENTS in kernel.features_used and kernel.wished.sample and kernel.wished.repeat
        assert watched.get("status")["events"]["watchers"] == 1
    eventually(lambda: not kernel.wished.sample, "nothing is wished any more")
    eventually(lambda: Feature.EVENTS not in kernel.features_used, "the program is the small one again")


def test_where_a_rule_logs_nothing_else_is_sampled(watched: Api) -> None:
    watched.put("rules/log", {"action": "drop", "match": {"vlan": 7}, "log": {"rate": 5}})
    with stream(watched.client, "events") as events:
        pretend(watched, WEB)
        assert next(events) and not watched.kernel.wished.sample
    with stream(watched.client, "events", sample="true") as events:
        pretend(watched, WEB)
        assert next(events) and watched.kernel.wished.sample


def test_a_capture(watched: Api) -> None:
    with watched.client.stream("GET", "events", params={"format": "pcapng", "snap": 64}) as response:
        assert response.headers["content-type"] == "application/x-pcapng"
        pieces = response.iter_raw()
        text = next(pieces)
        pretend(watched, WEB, BLOCK, drop=True)
        text += next(pieces)
    assert b"rule block" in text
    [packet] = [frame for _, frame in dpkt.pcapng.Reader(io.BytesIO(text))]
    assert packet == WEB[:64]


def test_watchers_are_bounded(watched: Api) -> None:
    events = watched.firewall.events
    events.watchers += [None] * MOST_WATCHERS  # type: ignore[list-item]
    try:
        problem(watched.client.get("events"), 503)
    finally:
        events.watchers.clear()
