# SPDX-License-Identifier: Apache-2.0
"""What limits and bans cost a packet, beside what the table of talkers costs it in the same flood (BPF_PROG_TEST_RUN).

usage: python -m benchmarks.limits      prints nanoseconds; script/bench limits prints ratios
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack

import numpy as np

from benchmarks.rules import frame, prepared
from xdpfw.kernel import libbpf
from xdpfw.kernel.port import BAN
from xdpfw.model.rule import Rule
from xdpfw.model.rule_form import parse_rules

RUNS = 500_000
ROUNDS = 7
BANS = 10_000
SLOT = 2
"""Of the one rule: beside those of `allow` and `block`, which are not there."""

PARSED = "	reason = parse(ctx, &frame->packet, &frame->room);\n"
TALKERS = "#define TALKERS 1\n"


def spoofed(source: str) -> str:
    """Each frame comes from one of 2^24 addresses, at random."""
    assert PARSED in source
    return source.replace(
        PARSED, PARSED + "	frame->packet.source.words[3] = bpf_htonl(0x0a000000 | bpf_get_prandom_u32() >> 8);\n"
    )


def silent(source: str) -> str:
    """The same flood, and nobody is a talker."""
    assert TALKERS in source
    return spoofed(source).replace(TALKERS, "#define TALKERS 0\n")


def rule(action: str, **limit: object) -> tuple[Rule, ...]:
    return parse_rules([{"id": "r", "action": action, "limit": limit or None, "match": {"protocol": "udp"}}])


PLAIN = {"one source": "one source: no limit", "flood": "flood: no limit"}
QUIET = "flood: no limit, no table of talkers"
LIMIT = {"rate": 100, "burst": 200}
RULES = {
    PLAIN["one source"]: (rule("pass"), None),
    "one source: a limit per rule": (rule("limit", **LIMIT, per="rule"), None),
    "one source: a limit per source": (rule("limit", **LIMIT), None),
    "one source: banned": (rule("limit", **LIMIT, ban=3600), None),
    QUIET: (rule("pass"), silent),
    PLAIN["flood"]: (rule("pass"), spoofed),
    "flood: a limit per rule": (rule("limit", **LIMIT, per="rule"), spoofed),
    "flood: a limit per source": (rule("limit", **LIMIT), spoofed),
    "flood: a limit per source that bans": (rule("limit", **LIMIT, ban=3600), spoofed),
}
GOALS = {
    "one source: a limit per rule": 1.3,
    "one source: a limit per source": 1.6,
    "one source: banned": 1.7,
    "flood: a limit per rule": 1.3,
    "flood: a limit per source": 1.6,
    "flood: a limit per source that bans": 1.9,
}
"""At most so many times what the same packet costs where a rule passes it."""


def measure() -> list[dict[str, int]]:
    """Nanoseconds a packet, for each round; all take their turn in a round. Where a rule bans in a flood, many are."""
    with ExitStack() as opened:
        programs = {}
        for name, (rules, change) in RULES.items():
            programs[name], kernel = opened.enter_context(prepared(rules, change))
            if "bans" in name:
                kernel.bans.restore(others(time.time_ns()))
        return [{name: libbpf.test_run(fd, frame(1), RUNS)[1] for name, fd in programs.items()} for _ in range(ROUNDS)]


def ratios() -> dict[str, tuple[float, ...]]:
    rounds = measure()
    return {name: tuple(each[name] / each[PLAIN[name.split(":")[0]]] for each in rounds) for name in GOALS}


def others(now: int) -> np.ndarray:
    """Bans of addresses that are not among those of the flood."""
    bans = np.zeros(BANS, BAN)
    numbers = np.arange(BANS, dtype=np.uint32)
    bans["address"][:, 10:12] = 0xFF
    bans["address"][:, 12:] = (0xC0000000 + numbers).astype(">u4").view(np.uint8).reshape(-1, 4)
    bans["length"], bans["slot"], bans["expires"], bans["added"] = 128, SLOT, now + 3600 * 10**9, now
    return bans


if __name__ == "__main__":
    measured = measure()
    for name in RULES:
        print(f"{name:40} {statistics.median(each[name] for each in measured):6.0f} ns")
