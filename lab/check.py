# SPDX-License-Identifier: Apache-2.0
"""The proof of `script/server --check`: a blocked client is dropped, another is not, and all pass once released."""

from __future__ import annotations

from contextlib import suppress

from lab.daemon import Daemon
from lab.network import Client, Network
from lab.probes import KINDS, Kind, expect, reach


class _Report:
    def __init__(self) -> None:
        self.good = True

    def line(self, good: bool, text: str) -> None:
        self.good &= good
        print(f"  {'ok  ' if good else 'FAIL'}  {text}", flush=True)

    def reached(self, client: Client, wanted: bool, when: str) -> None:
        """Every kind of traffic of a client, all at once; what should get through may take a moment to do so."""
        if wanted:
            with suppress(TimeoutError):
                expect(client, reached=True)
        answers = reach(client)
        good = all(answer == wanted for answer in answers.values())
        self.line(good, f"client {client.number} {when}: {_words(answers)}")


def _words(answers: dict[Kind, bool]) -> str:
    told = (("answered", True), ("unanswered", False))
    return ", ".join(
        f"{' '.join(k for k in KINDS if answers[k] is state)} {word}"
        for word, state in told
        if state in answers.values()
    )


def check(network: Network, daemon: Daemon) -> int:
    """Print what was proved. 0: all of it."""
    report, rest = _Report(), daemon.rest
    other, blocked = network.clients[:2]
    prefixes = (blocked.network4, blocked.network6)
    for view in rest.get("interfaces")["items"]:
        if view["name"].startswith("lan"):
            report.line(view["mode"] == "native", f"{view['name']}: {view['state']}, {view['mode']}, MTU {view['mtu']}")
    report.reached(blocked, True, "before")
    for prefix in prefixes:
        rest.must("PUT", f"sets/block/entries/{prefix}", {})
    report.reached(blocked, False, "blocked")
    report.reached(other, True, "not blocked")
    for prefix in prefixes:
        entry = rest.get(f"sets/block/entries/{prefix}")
        report.line(entry["packets"] > 0, f"{prefix} dropped {entry['packets']} packets, {entry['bytes']} bytes")
    for prefix in prefixes:
        rest.must("DELETE", f"sets/block/entries/{prefix}")
    report.reached(blocked, True, "released")
    for client in network.clients:
        counters = rest.get(f"interfaces/{client.interface}/counters")
        passed, dropped = counters["passed"], counters["dropped"]
        print(f"        {client.interface}: passed {passed['packets']}, dropped {dropped['packets']} packets")
    print("check: all proved" if report.good else "check: FAILED", flush=True)
    return 0 if report.good else 1
