# SPDX-License-Identifier: Apache-2.0
"""Sets, sources and policies that the frame tests judge under: in no set, allowed within blocked, blocked."""

from __future__ import annotations

import os
import random

import pytest

from tests.frame_table import LISTED
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Address
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Mode
from xdpfw.policy import reference
from xdpfw.policy.sets import Sets

ALLOW = ["203.0.113.0/28", "2001:db8:bad:a::/64", "10.9.0.1", "2001:db8:bad:b::1"]
BLOCK = ["203.0.113.0/24", "2001:db8:bad::/48", "10.9.0.0/16", "10.9.0.2", "2001:db8:bad:b::2"]

SOURCES: dict[str | None, tuple[str, str]] = {
    None: ("192.0.2.1", "2001:db8::1"),
    "allow": ("203.0.113.7", "2001:db8:bad:a::7"),
    "block": ("203.0.113.66", "2001:db8:bad::66"),
}
"""By the set that decides."""

HOSTS = [("10.9.0.1", "2001:db8:bad:b::1"), ("10.9.0.2", "2001:db8:bad:b::2")]

POLICIES = [Policy(default, mode, ethertypes=(LISTED,)) for default in Verdict for mode in Mode]


def policy_id(policy: Policy) -> str:
    return f"{policy.default}-{policy.mode}"


def sources(membership: str | None, *, mapped: bool) -> tuple[str, str]:
    """Of both families; `mapped`: the IPv6 one is the IPv4-mapped form of the other."""
    source4, source6 = SOURCES[membership]
    return source4, f"::ffff:{source4}" if mapped else source6


def all_sources() -> tuple[list[str], list[str]]:
    pairs = [*SOURCES.values(), *HOSTS]
    sources4 = [source4 for source4, _ in pairs]
    return sources4, [source6 for _, source6 in pairs] + [f"::ffff:{source4}" for source4 in sources4]


def seeds() -> list[int]:
    """Fixed where results must repeat; elsewhere a new one each time too, which pytest prints in the test's name."""
    fixed = [1, 2]
    return fixed if os.environ.get("CI") == "true" else [*fixed, random.SystemRandom().randrange(1 << 32)]


def remember_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference asks the sets once per address: captures hold many frames of few sources."""
    known: dict[tuple[Address, int], set[str]] = {}
    ask = reference.names_of

    def names_of(address: Address, sets: Sets, now: int) -> set[str]:
        key = address, id(sets)
        if key not in known:
            known[key] = ask(address, sets, now)
        return known[key]

    monkeypatch.setattr(reference, "names_of", names_of)
