# SPDX-License-Identifier: Apache-2.0
"""The proof behind `script/server --check`: a blocked client is dropped, another one is not, and it ends with the block."""

from __future__ import annotations

from collections.abc import Iterable

from lab.daemon import Daemon
from lab.network import Client, Network
from lab.probes import KINDS, Kind, reach
from lab.waiting import eventually


class _Report:
    def __init__(self) -> None:
        self.good = True

    def line(self, good: bool, text: str) -> None:
        self.good &= good
        print(f"  {'ok  ' if good else 'FAIL'}  {text}", flush=True)

    def reached(self, client: Client, wanted: bool, when: str) -> None:
        """Every kind of traffic of a client, all at once; what should get through may take a moment to do so."""
        answers = reach(client)
        try:
            if wanted:
                answers = eventually(lambda: _if_all(reach(client)), "all answered", 5)
        except TimeoutError:
            answers = reach(client)
        good = all(answer == wanted for answer in answers.values())
        self.line(good, f"client {client.number} {when}: {_words(answers)}")


def _if_all(answers: dict[Kind, bool]) -> dict[Kind, bool] | None:
    return answers if all(answers.values()) else None


def _words(answers: dict[Kind, bool]) -> str:
    def join(kinds: Iterable[Kind]) -> str:
        return " ".join(kinds) or "nothing"

    return f"{join(k for k in KINDS if answers[k])} answered; {join(k for k in KINDS if not answers[k])} not"


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
