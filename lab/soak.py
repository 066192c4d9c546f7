# SPDX-License-Identifier: Apache-2.0
"""What `script/soak` runs: everything that a firewall does, at once, while it is killed again and again.

Ends with one line of figures; exit code 1 if a blocked packet passed, a clean one did not, an acknowledged write was
lost, the kernel held something else than the policy says, or it grew while nobody killed it: the daemon's memory, the
kernel's maps, descriptors.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import threading
import time
from ipaddress import ip_address
from statistics import median

from lab.daemon import Daemon
from lab.flow import Flow
from lab.growth import Sizes, at_rest, grows, growth, least
from lab.kills import LATE, Kills
from lab.network import Network
from lab.work import Work

RATE = 8_000
SPOOFED = 2_000
SETTINGS = """
listen = "none"
attach = ["lan1"]
log_format = "json"

[limits]
leaves = 200000
hosts4 = 100000
"""
BLOCKED = ("192.0.2.0/24", "203.0.113.77", "2001:db8:bad::/48", "100.64.0.0/10", "2001:db8:f::/48")
CLEAN = ("198.51.100.1", "198.51.100.2", "fd00:1::1")
KILLED, EVERY = 0.6, 3.0
"""The part of the time in which it is killed, and seconds from one kill to the next."""

REST, APART, WORK = 7.0, 15.0, 1.0
"""Seconds of each rest, from one to the next, and of work between them at least. Within a rest there is a look at who
talks, after which a daemon that nobody asks gives back what it has too much."""
FEWEST = 3
"""Rests, however short the time."""
TOLD, TOLD_SIZES = 30.0, 20
"""Seconds from one sign of life to the next; and how many of the sizes are told."""


def sources(seed: int) -> dict[str, list[str]]:
    chosen = random.Random(seed)
    spoofed = [str(ip_address("100.64.0.0") + chosen.randrange(1 << 22)) for _ in range(SPOOFED)]
    spoofed += [str(ip_address("2001:db8:f::") + chosen.randrange(1 << 80)) for _ in range(SPOOFED // 4)]
    return {
        "blocked": ["192.0.2.1", "203.0.113.77", "2001:db8:bad::1"],
        "flood": spoofed,
        "clean": [*CLEAN],
        "limited": ["198.18.0.1", "198.18.0.2"],
    }


class Soak:
    def __init__(self, network: Network, seed: int) -> None:
        settings = network.home / "xdpfw.toml"
        settings.write_text(SETTINGS)
        self.daemon = Daemon(network.firewall, network.home, arguments=("--config", str(settings))).start()
        self._prepare()
        self.work, self._chosen = Work(self.daemon, seed), random.Random(seed)
        self.kills = Kills(self.work, seed)
        self.flow = Flow(network, network.clients[0], sources(seed), RATE)
        self.sizes: list[Sizes] = []
        self.lost_events = 0
        self._over = threading.Event()
        self._began = self._told = time.monotonic()

    def _prepare(self) -> None:
        rest = self.daemon.rest
        rest.must("PATCH", "sets/block/entries?force=true", {"add": [*BLOCKED]})
        limit = {"rate": 20, "unit": "packets", "burst": 20, "per": "source", "ban": 1}
        match = {"source": ["198.18.0.0/15"]}
        rule = {"match": match, "action": "limit", "limit": limit, "log": {"rate": 50}}
        rest.must("PUT", "rules/limited?force=true", rule)

    def run(self, seconds: float, kills: int) -> None:
        """Killed for a part of the time, or so often; then undisturbed, to see whether anything grows. Ctrl-C ends it
        early."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._over.set())
        self.work.start()
        names = list(self.kills.points)
        while not self._over.is_set() and (
            len(self.kills.started) < kills or (not kills and time.monotonic() - self._began < seconds * KILLED)
        ):
            self.kills.once(names[len(self.kills.started) % len(names)])
            self._over.wait(0 if kills else self._chosen.uniform(0, EVERY))
            self._tell(f"killed {len(self.kills.started)} times")
        self._rest_now_and_then(seconds * (1 - KILLED))
        self.work.stop()
        self.flow.stop()
        self.kills.differences += [str(each) for each in self.daemon.rest.get("verification")["deviations"]]
        self.lost_events = sum(self.daemon.rest.get("status")["events"]["lost"])

    def _rest_now_and_then(self, seconds: float) -> None:
        """The first rest is still part of the beginning."""
        rests = max(FEWEST, round(seconds / APART))
        for number in range(rests):
            self._over.wait(max(WORK, seconds / rests - REST))
            with self.work.resting():
                found = at_rest(lambda: Sizes.of(self.daemon), REST)
            self.sizes += [found] * bool(number)
            self._tell(f"at rest {number + 1} of {rests}")

    def _tell(self, what: str) -> None:
        """Now and then how far it is."""
        now = time.monotonic()
        if now - self._told > TOLD:
            self._told = now
            print(f"{now - self._began:.0f} s: {what}, {self.flow.arriving():,} packets so far", file=sys.stderr)

    # what came of it

    def leaks(self) -> int:
        return self.flow.received["blocked"] + self.flow.received["flood"]

    def wrong_drops(self) -> int:
        """Of clean packets, by the program: it counts each source."""
        seen = [self.daemon.rest.get(f"addresses/{address}")["interfaces"] for address in CLEAN]
        return sum(each["dropped"]["packets"] for found in seen for each in found)

    def lost(self) -> int:
        """Clean packets that did not arrive, for whatever reason: a busy machine's links drop some too."""
        return self.flow.sent["clean"] - self.flow.received["clean"]

    def lost_writes(self) -> list[str]:
        body = self.daemon.rest.call("GET", "sets/block/entries?within=192.0.3.0/24&limit=1000").json()
        there = {item["prefix"].partition("/")[0] for item in body["items"]}
        return [host for host, wanted in self.work.entries.items() if (host in there) != wanted]

    def judged(self) -> int:
        counters = self.daemon.rest.get("interfaces/lan1/counters")
        return int(counters["passed"]["packets"] + counters["dropped"]["packets"])

    def report(self, seconds: float) -> bool:
        """Prints what was wrong, and the line; answers whether all is well."""
        lost, in_force, started = self.lost_writes(), self.kills.in_force, self.kills.started
        grown, sizes = growth(self.sizes), least(self.sizes)
        for told in (
            *self.kills.late,
            *self.kills.differences,
            *self.work.refused[:20],
            *(f"lost write: {host}" for host in lost),
        ):
            print(told, file=sys.stderr)
        figures = [
            f"{seconds:.0f} s",
            f"{self.judged():,} packets judged",
            f"{self.leaks()} leaks",
            f"{self.wrong_drops()} wrong drops",
            f"{self.lost()} lost on the way",
            f"{len(started)} restarts (filters in force after {_seconds(in_force)}, "
            f"answering after {_seconds(started)}, {median(self.kills.worked):.1f} s of a processor)",
            f"{len(self.kills.differences)} differences",
            f"{len(lost)} lost writes",
            f"{len(self.work.refused)} refused",
            f"daemon {grown.daemon / 1e6:+.1f} of {sizes.daemon / 1e6:.0f} MB",
            f"kernel maps {grown.maps / 1e6:+.1f} of {sizes.maps / 1e6:.0f} MB",
            f"descriptors {grown.descriptors:+} of {sizes.descriptors}",
            f"{self.lost_events} lost events",
            f"sizes at {len(self.sizes)} rests",
        ]
        print(f"soak: {', '.join(figures)}")
        memory = [each.daemon >> 20 for each in self.sizes[:: max(1, len(self.sizes) // TOLD_SIZES)]]
        kills, slowest = self.kills.at, self.kills.slowest
        found = {"killed during": kills, "slowest": slowest, "done": self.work.done, "MB at rest": memory}
        print(json.dumps(found), file=sys.stderr)
        wrong = (self.leaks(), self.wrong_drops(), self.kills.differences, lost, self.work.refused)
        return not any(wrong) and not grows(self.sizes)


def _seconds(taken: list[float]) -> str:
    late = sum(each > LATE for each in taken)
    return f"{median(taken):.1f} s, slowest {max(taken):.1f} s" + f", {late} later than {LATE:g} s" * bool(late)


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/soak", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=30.0, help="for so long (30)")
    parser.add_argument("--kills", type=int, default=0, help="kill it so often, as fast as it starts again")
    parser.add_argument("--seed", type=int, default=1, help="another order of everything (1)")
    wish = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("needs root: sudo script/soak")
    with Network(2) as network:
        began = time.monotonic()
        soak = Soak(network, wish.seed)
        soak.run(wish.seconds, wish.kills)
        good = soak.report(time.monotonic() - began)
        if not good:
            print(soak.daemon.tail(), file=sys.stderr)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
