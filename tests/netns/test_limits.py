# SPDX-License-Identifier: Apache-2.0
"""Limits and bans on real links: how exact they are, whether floods upset them, and bans without a daemon."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import pytest

from benchmarks.flood import LOUD, flooding
from lab.network import Client
from lab.paced import paced
from lab.probes import expect, reach
from lab.waiting import eventually
from tests.conftest import lacks
from tests.netns.conftest import Site
from tests.netns.test_start import reboot

pytestmark = [pytest.mark.netns, pytest.mark.alone]

RATE = 1000
BURST = 2 * RATE
SECONDS = 10
SHARES = (0.5, 1.0, 2.0)
EXACT = 0.05


def limit(id: str, source: str, **said: Any) -> dict[str, Any]:
    limit = {"rate": RATE, "burst": BURST, **said}
    mode = limit.pop("mode", "enforce")
    return {"id": id, "action": "limit", "match": {"source": source}, "mode": mode, "limit": limit}


def use(site: Site, *rules: dict[str, Any]) -> None:
    defaults = [
        {"id": name, "action": do, "match": {"source": name}} for name, do in (("allow", "pass"), ("block", "drop"))
    ]
    site.daemon.rest.must("PUT", "rules", [*defaults, *rules])


def passed(site: Site, what: str = "passed") -> tuple[float, Mapping[str, int]]:
    """By rule, over all interfaces, and when."""
    before, found = time.monotonic(), dict[str, int]()
    for client in site.clients:
        for reason, counts in site.daemon.rest.get(f"interfaces/{client.interface}/counters")["reasons"].items():
            found[reason] = found.get(reason, 0) + counts[what]["packets"]
    return (before + time.monotonic()) / 2, found


def both_cpus() -> tuple[int, int]:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        lacks("a limit is shared by CPUs only where there are two")
    return cpus[0], cpus[1]


@pytest.fixture
def limited(make_site: Callable[..., Site]) -> Iterator[Site]:
    yield make_site(2)


def test_what_passes_is_the_rate_whatever_is_offered_on_one_core_and_on_two(limited: Site) -> None:
    """After the burst, over ten seconds, at half the rate, at the rate, at twice the rate; by source and by rule."""
    cpus, rules, one, two = both_cpus(), [], dict[str, int](), dict[str, int]()
    offered: dict[str, float] = {}
    for number, (per, cores, share) in enumerate((p, c, s) for p in ("source", "rule") for c in (1, 2) for s in SHARES):
        source, id = f"198.51.100.{number + 1}", f"{per}-{cores}-{int(100 * share)}"
        rules.append(limit(id, source, per=per))
        offered[id] = share * RATE
        one[source] = int(share * RATE / cores)
        if cores == 2:
            two[source] = int(share * RATE / cores)
    use(limited, *rules)
    with ExitStack() as flows:
        pauses = [
            flows.enter_context(paced(limited.network, client, rates, cpu))
            for client, rates, cpu in zip(limited.clients, (one, two), cpus, strict=True)
        ]
        # At twice the rate the burst is used up after as long as it takes to fill.
        over = [f"rule:{id}" for id, rate in offered.items() if rate > RATE]
        eventually(lambda: all(passed(limited, "dropped")[1].get(id) for id in over), "bursts are used up", 20)
        began, before = passed(limited)
        eventually(lambda: time.monotonic() > began + SECONDS, "ten seconds", SECONDS + 5)
        ended, after = passed(limited)
    if max(map(sum, pauses)) > BURST / RATE / 2:
        pytest.skip(f"this machine is too busy to send evenly: it paused for {max(map(sum, pauses)):.1f} s")
    found = {id: (after[f"rule:{id}"] - before.get(f"rule:{id}", 0)) / (ended - began) for id in offered}
    print({id: f"{rate:.0f}/s of {offered[id]:.0f}" for id, rate in found.items()})
    for id, rate in found.items():
        assert rate == pytest.approx(min(RATE, offered[id]), rel=EXACT), id
    assert not [id for id, rate in offered.items() if rate <= RATE and passed(limited, "dropped")[1][f"rule:{id}"]]


def test_limits_hold_in_a_flood_of_spoofed_sources(limited: Site) -> None:
    """One that keeps talking keeps its bucket, a limit per rule keeps its rate, and others are reached meanwhile."""
    use(
        limited,
        limit("each", "10.0.0.0/8", rate=1, burst=1, mode="monitor"),  # a bucket for every address of the flood
        limit("loud", LOUD),
        limit("all", "10.0.0.0/8", per="rule"),
    )
    flooded, other = limited.clients
    with flooding(limited.network, flooded, 1 << 20):
        eventually(lambda: passed(limited, "dropped")[1].get("rule:loud"), "the loud one exceeds its limit", 20)
        eventually(lambda: passed(limited, "dropped")[1].get("rule:all"), "the flood exceeds its limit", 20)
        began, before = passed(limited)
        eventually(lambda: all(reach(other, ["ping4", "udp6"]).values()), "others are reached", SECONDS / 2)
        eventually(lambda: time.monotonic() > began + SECONDS / 2, "five seconds", SECONDS)
        ended, after = passed(limited)
        dropped = passed(limited, "dropped")[1]
    for id in ("rule:loud", "rule:all"):
        rate = (after[id] - before[id]) / (ended - began)
        print(f"[{id}: {rate:.0f}/s]", end=" ")
        assert rate == pytest.approx(RATE, rel=EXACT)
        assert dropped[id] > 10 * after[id]


def banned(site: Site) -> dict[str, dict[str, Any]]:
    return {item["prefix"]: item for item in site.daemon.rest.get("sets/banned/entries")["items"]}


def exceed(site: Site, client: Client) -> None:
    """Datagrams until the client is banned: nothing of it is answered any more, pings neither."""
    match = {"protocol": "udp"}
    ban = {"rate": 1, "burst": 3, "ban": BAN}
    use(site, {"id": "eager", "action": "limit", "match": match, "limit": ban})
    expect(client, reached=True, kinds=["ping4"])
    eventually(lambda: not reach(client, ["udp4"])["udp4"], "the client exceeds its limit", 10)
    assert not reach(client, ["ping4"])["ping4"]


BAN = 600


def test_a_ban_shows_is_lifted_and_survives_kill_and_reboot(limited: Site) -> None:
    eager, other = limited.clients
    exceed(limited, eager)
    prefix = f"{eager.address4}/32"
    first = eventually(lambda: banned(limited).get(prefix), "the ban shows")
    assert first["origin"] == "rule:eager" and 0 < first["ttl"] <= BAN
    assert first["packets"] >= 1
    shown = limited.daemon.cli("list", "banned").stdout
    assert eager.address4 in shown and "rule:eager" in shown
    assert "banned" in limited.daemon.cli("show", eager.address4).stdout

    limited.daemon.kill()
    assert not reach(eager, ["ping4"])["ping4"], "a ban does not wait for a daemon"
    limited.daemon.start()
    again = banned(limited)[prefix]
    assert abs(_ends(again) - _ends(first)) < 1
    assert not reach(eager, ["ping4"])["ping4"]

    reboot(limited.daemon)
    limited.daemon.start()
    restored = banned(limited)[prefix]
    assert abs(_ends(restored) - _ends(first)) < 1
    assert restored["packets"] >= first["packets"]
    assert not reach(eager, ["ping4"])["ping4"]
    expect(other, reached=True, kinds=["ping4"])

    assert "removed 1" in limited.daemon.cli("unban", eager.address4).stdout
    expect(eager, reached=True, kinds=["ping4"])
    assert prefix not in banned(limited)


def test_a_ban_made_without_a_daemon_ends_without_one_and_shows_when_one_comes(limited: Site) -> None:
    eager = limited.clients[0]
    use(limited, {"id": "eager", "action": "limit", "match": {"protocol": "udp"},
                  "limit": {"rate": 20, "burst": 20, "ban": 4}})  # fmt: skip
    limited.daemon.kill()
    with paced(limited.network, eager, {eager.address4: 200}, min(os.sched_getaffinity(0))):
        eventually(lambda: not reach(eager, ["ping4"])["ping4"], "it is banned", 10)
    began = time.monotonic()
    expect(eager, reached=True, kinds=["ping4"], within=10)
    assert time.monotonic() - began < 8, "a ban ends at its time"
    limited.daemon.start()
    assert banned(limited) == {}
    assert limited.daemon.rest.get("status")["bans"]["made"] >= 1


def _ends(entry: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(entry["expires_at"]).timestamp()
