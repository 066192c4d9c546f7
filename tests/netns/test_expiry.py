# SPDX-License-Identifier: Apache-2.0
"""Entries with a time to live stop matching at their time: the packet path sees to it, daemon or no daemon."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from lab.network import Client
from lab.probes import Kind, reach
from lab.services import PORT
from tests.netns.conftest import Site

pytestmark = [pytest.mark.netns, pytest.mark.alone]

TTL = 2
LATE = 0.5
"""Seconds that an entry may live beyond its time."""
SLACK = 0.25
"""For the test's own clocks: scheduling, one echo, the interval between two datagrams."""
INTERVAL = 0.02

EXPIRING: tuple[Kind, ...] = ("udp4", "udp6")


def answered_from(client: Client, kind: Kind, *, answered: bool, within: float) -> float:
    """Wall clock time at which echoes begin to come back, or cease to. Each question is from a port of its own: under a
    default of drop a conversation that was let in goes on."""
    family, target = (socket.AF_INET6, client.gateway6) if kind == "udp6" else (socket.AF_INET, client.gateway4)
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with client.space.socket(family, socket.SOCK_DGRAM) as talk:
            talk.settimeout(INTERVAL)
            talk.connect((target, PORT))
            now = time.time()
            talk.send(b"?")
            try:
                talk.recv(16)
                got = True
            except TimeoutError:
                got = False
        if got == answered:
            return now
        if got:
            time.sleep(INTERVAL)
    raise TimeoutError(f"{kind} of client {client.number}: no change in {within:g} s")


def check_release(client: Client, expected: float, kind: Kind) -> None:
    at = answered_from(client, kind, answered=True, within=expected - time.time() + 5)
    assert expected - SLACK <= at <= expected + LATE + SLACK


@pytest.mark.parametrize("kind", EXPIRING)
def test_block_ends_at_its_time(site: Site, kind: Kind) -> None:
    client = site.clients[1]
    began = time.time()
    site.put("block", client.network4 if kind == "udp4" else client.network6, ttl=TTL)
    assert not reach(client, [kind])[kind]
    check_release(client, began + TTL, kind)


def test_allow_ends_at_its_time(site: Site) -> None:
    client = site.clients[1]
    site.policy(default="drop")
    began = time.time()
    site.put("allow", client.network4, ttl=TTL)
    assert reach(client, ["udp4"])["udp4"]
    at = answered_from(client, "udp4", answered=False, within=10)
    assert began + TTL - SLACK <= at <= began + TTL + LATE + SLACK


def test_what_lies_under_an_expired_entry_holds_again(site: Site) -> None:
    client = site.clients[1]
    site.put("block", client.network4)
    began = time.time()
    site.put("allow", client.address4, ttl=TTL)
    assert reach(client, ["udp4"])["udp4"]
    at = answered_from(client, "udp4", answered=False, within=10)
    assert began + TTL - SLACK <= at <= began + TTL + LATE + SLACK


def test_expires_at_is_taken_as_wall_clock(site: Site) -> None:
    client = site.clients[1]
    until = datetime.now(UTC) + timedelta(seconds=TTL)
    site.put("block", client.network4, expires_at=until.isoformat())
    assert not reach(client, ["udp4"])["udp4"]
    check_release(client, until.timestamp(), "udp4")


def test_block_ends_at_its_time_without_a_daemon(make_site: Callable[..., Site]) -> None:
    site = make_site()
    timed, lasting = site.clients
    began = time.time()
    site.put("block", timed.network4, ttl=TTL)
    site.put("block", lasting.network4)
    site.daemon.kill()
    assert not reach(timed, ["udp4"])["udp4"]
    check_release(timed, began + TTL, "udp4")
    assert not reach(lasting, ["udp4"])["udp4"]


def test_block_ends_at_its_time_across_a_restart(make_site: Callable[..., Site]) -> None:
    site = make_site()
    client = site.clients[1]
    ttl = 8
    began = time.time()
    site.put("block", client.network4, ttl=ttl)
    site.daemon.kill()
    site.daemon.start()
    assert time.time() < began + ttl, "the machine is too slow for this test: the daemon took longer than the ttl"
    assert not reach(client, ["udp4"])["udp4"]
    check_release(client, began + ttl, "udp4")
