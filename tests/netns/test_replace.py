# SPDX-License-Identifier: Apache-2.0
"""A million prefixes replaced under traffic: nothing leaks, nothing is wrongly dropped, single blocks do not wait."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab import prefixes
from lab.daemon import Daemon
from lab.flow import Flow
from lab.network import Network
from lab.rest import Answer
from lab.stall import asking
from lab.waiting import eventually
from tests.netns.conftest import Site, attach_all

pytestmark = [pytest.mark.netns, pytest.mark.alone]

COUNT = 1_000_000
RATE = 8_000
SOURCES = 500
P99 = 0.25
"""How much of an import one block may take meanwhile; half a second where that takes two."""
ENOUGH = 110
"""Latencies that tell which one in a hundred exceeds."""
STALL = 0.5
"""Seconds that a sign of life may take meanwhile: ten times what is aimed at, for busy machines."""


@dataclass(frozen=True, slots=True)
class Outcome:
    site: Site
    flow: Flow
    second: Answer
    latencies: list[float]
    singles: list[str]
    signs_of_life: list[float]
    import_time: float


def replace(daemon: Daemon, body: bytes) -> Answer:
    return daemon.rest.call("PUT", "sets/block/entries?force=true", body, kind="text/plain")


def block_singles(site: Site, busy: threading.Thread, numbers: Iterator[int]) -> tuple[list[str], list[float]]:
    """Block one host after the other while something else is under way."""
    hosts: list[str] = []
    latencies: list[float] = []
    connection = site.daemon.rest.open()
    while busy.is_alive() and len(hosts) < 5_000:
        number = next(numbers)
        host = f"192.0.2.{number}" if number < 256 else f"2001:db8:ffff::{number:x}"
        began = time.monotonic()
        site.daemon.rest.must("PUT", f"sets/block/entries/{host}", {"origin": "single"}, keep=connection)
        latencies.append(time.monotonic() - began)
        hosts.append(host)
        busy.join(0.02)
    connection.close()
    return hosts, latencies


def replace_meanwhile(site: Site, body: bytes, numbers: Iterator[int]) -> tuple[Answer, list[str], list[float]]:
    """Blocks while a list is put into force."""
    answers: list[Answer] = []
    importing = threading.Thread(target=lambda: answers.append(replace(site.daemon, body)))
    importing.start()
    eventually(lambda: site.daemon.rest.get("status")["operation"], "the import is under way", 60)
    singles, latencies = block_singles(site, importing, numbers)
    importing.join()
    return answers[0], singles, latencies


@pytest.fixture(scope="module")
def outcome(tools: None) -> Iterator[Outcome]:
    pool = prefixes.make(COUNT * 3 // 2)
    first, second = prefixes.body(pool[:COUNT]), prefixes.body(pool[COUNT // 2 :])
    both = random.Random(1).sample(pool[COUNT // 2 : COUNT], SOURCES)
    with Network(1) as network:
        daemon = Daemon(network.firewall, network.home, arguments=("--listen", "none", *attach_all(network))).start()
        site = Site(network, daemon)
        daemon.rest.timeout = 120
        answer = replace(daemon, first)
        assert answer.status == 200, answer.body
        assert answer.json()["total"] == COUNT
        sources = {
            "blocked": [prefixes.inside(prefix) for prefix in both],
            "clean": [f"198.51.100.{n}" for n in range(1, 255)] + [f"fd00:1::{n:x}" for n in range(256)],
        }
        flow, numbers = Flow(network, network.clients[0], sources, RATE), itertools.count()
        began = time.monotonic()
        with asking(daemon.socket) as signs_of_life:
            answer, singles, latencies = replace_meanwhile(site, second, numbers)
        import_time = time.monotonic() - began
        flow.wait(RATE // 2)
        flow.stop()
        while len(latencies) < ENOUGH:
            for body in (first, second):
                _, singles, more = replace_meanwhile(site, body, numbers)
                latencies += more
        yield Outcome(site, flow, answer, latencies, singles, signs_of_life, import_time)


def test_replace_is_one_step(outcome: Outcome) -> None:
    assert outcome.second.status == 200, outcome.second.body
    written = outcome.second.json()
    assert (written["added"], written["removed"], written["kept"]) == (COUNT // 2, COUNT // 2, COUNT // 2)


def test_no_packet_from_what_stays_blocked_leaks(outcome: Outcome) -> None:
    assert outcome.flow.sent["blocked"] > SOURCES
    assert outcome.flow.received["blocked"] == 0


def test_no_packet_from_elsewhere_is_dropped(outcome: Outcome) -> None:
    assert outcome.flow.received["clean"] == outcome.flow.sent["clean"]


def test_single_blocks_do_not_wait_for_the_import(outcome: Outcome) -> None:
    """They also outlive it: a claim made while the body travelled is not replaced away."""
    latencies = sorted(outcome.latencies)
    assert len(latencies) >= 10
    p99 = latencies[int((len(latencies) - 1) * 0.99)]
    print(
        f"single block during the import of {COUNT:,}: median {latencies[len(latencies) // 2] * 1000:.1f} ms, "
        f"p99 {p99 * 1000:.1f} ms, {len(latencies)} blocks; the import took {outcome.import_time:.1f} s"
    )
    assert p99 < P99 * outcome.import_time
    rest = outcome.site.daemon.rest
    present = {
        item["prefix"].partition("/")[0] for item in rest.get("sets/block/entries?origin=single&limit=1000")["items"]
    }
    assert set(outcome.singles[:900]) <= present | set(outcome.singles[900:])


def test_the_daemon_answers_others_meanwhile(outcome: Outcome) -> None:
    """Nothing holds the event loop, or the interpreter, for long."""
    taken = sorted(outcome.signs_of_life)
    assert len(taken) >= 50
    print(
        f"GET /healthz during the import of {COUNT:,}: p99 {taken[int(len(taken) * 0.99)]:.1f} ms, "
        f"longest {taken[-1]:.1f} ms, {len(taken)} answers"
    )
    assert taken[-1] < STALL * 1000


def test_what_left_the_list_passes_and_what_came_is_dropped(outcome: Outcome) -> None:
    pool = prefixes.make(COUNT * 3 // 2)
    rest = outcome.site.daemon.rest
    for prefix, verdict in ((pool[0], "pass"), (pool[-1], "drop")):
        assert rest.get(f"addresses/{prefixes.inside(prefix)}")["verdict"] == verdict
