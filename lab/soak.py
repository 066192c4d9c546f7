# SPDX-License-Identifier: Apache-2.0
"""What `script/soak` runs: everything that a firewall does, at once, while it is killed again and again.

Ends with one line of figures; exit code 1 if a blocked packet passed, a clean one did not, an acknowledged write was
lost, the kernel held something else than the policy says, or memory grew.
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
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from statistics import median

from lab.daemon import Daemon
from lab.flow import Flow
from lab.kills import Kills
from lab.network import Network
from lab.work import Work

RATE = 8_000
SPOOFED = 2_000
SETTINGS = """
listen = "none"
attach = ["lan1"]

[limits]
leaves = 200000
hosts4 = 100000
"""
BLOCKED = ("192.0.2.0/24", "203.0.113.77", "2001:db8:bad::/48", "100.64.0.0/10", "2001:db8:f::/48")
CLEAN = ("198.51.100.1", "198.51.100.2", "fd00:1::1")
KILLED, EVERY = 0.6, 3.0
"""The part of the time in which it is killed, and seconds from one kill to the next."""

PAGE = 256 << 10
"""Bytes of one page of the tables that grow by pages."""

GROWTH = 32 << 20
"""Bytes by which the memory of the daemon may be more at the end: what an import needs for a while."""


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


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of the daemon and of its maps, and its descriptors."""

    daemon: int
    maps: int
    descriptors: int

    @classmethod
    def of(cls, daemon: Daemon) -> Sizes:
        assert daemon.process is not None
        proc = Path(f"/proc/{daemon.process.pid}")
        resident = next(line for line in (proc / "status").read_text().splitlines() if line.startswith("RssAnon:"))
        return cls(int(resident.split()[1]) << 10, _maps(daemon), len(list((proc / "fd").iterdir())))


def _maps(daemon: Daemon) -> int:
    shared = sum(found["memory"] for found in daemon.rest.get("interfaces/lan1/program")["maps"])
    return int(shared) + PAGE * len(list(daemon.pins.glob("tables-*/*-pages/*")))


class Soak:
    def __init__(self, network: Network, seed: int) -> None:
        settings = network.home / "xdpfw.toml"
        settings.write_text(SETTINGS)
        self.daemon = Daemon(network.firewall, network.home, arguments=("--config", str(settings))).start()
        self._prepare()
        self.work, self._chosen = Work(self.daemon, seed), random.Random(seed)
        self.kills = Kills(self.work, seed)
        self.flow = Flow(network, network.clients[0], sources(seed), RATE)
        self.before = self.after = Sizes.of(self.daemon)
        self.lost_events = 0
        self._over = threading.Event()

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
        began = time.monotonic()
        self.work.start()
        names = list(self.kills.points)
        while not self._over.is_set() and (
            len(self.kills.started) < kills or (not kills and time.monotonic() - began < seconds * KILLED)
        ):
            self.kills.once(names[len(self.kills.started) % len(names)])
            self._over.wait(0 if kills else self._chosen.uniform(0, EVERY))
        settling = max(2.0, seconds * (1 - KILLED) / 2)
        self._over.wait(settling)
        self.before = Sizes.of(self.daemon)
        self._over.wait(settling)
        self.after = Sizes.of(self.daemon)
        self.work.stop()
        self.flow.stop()
        self.kills.differences += [str(each) for each in self.daemon.rest.get("verification")["deviations"]]
        self.lost_events = sum(self.daemon.rest.get("status")["events"]["lost"])

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
        lost, started = self.lost_writes(), self.kills.started
        grown, maps = self.after.daemon - self.before.daemon, self.after.maps - self.before.maps
        for told in (*self.kills.differences, *self.work.refused[:20], *(f"lost write: {host}" for host in lost)):
            print(told, file=sys.stderr)
        figures = [
            f"{seconds:.0f} s",
            f"{self.judged():,} packets judged",
            f"{self.leaks()} leaks",
            f"{self.wrong_drops()} wrong drops",
            f"{self.lost()} lost on the way",
            f"{len(started)} restarts (median {median(started):.1f} s, slowest {max(started):.1f} s, "
            f"{median(self.kills.worked):.1f} s of a processor)",
            f"{len(self.kills.differences)} differences",
            f"{len(lost)} lost writes",
            f"{len(self.work.refused)} refused",
            f"daemon {grown / 1e6:+.1f} of {self.before.daemon / 1e6:.0f} MB",
            f"kernel maps {maps / 1e6:+.1f} of {self.before.maps / 1e6:.0f} MB",
            f"descriptors {self.after.descriptors - self.before.descriptors:+} of {self.before.descriptors}",
            f"{self.lost_events} lost events",
        ]
        print(f"soak: {', '.join(figures)}")
        print(json.dumps({"killed during": self.kills.at, "done": self.work.done}), file=sys.stderr)
        wrong = (self.leaks(), self.wrong_drops(), self.kills.differences, lost, self.work.refused)
        return not any(wrong) and grown < GROWTH and maps < GROWTH


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
