# SPDX-License-Identifier: Apache-2.0
"""Leaf ids go round: freed by one list, used by the next, and never held by two prefixes at once."""

from __future__ import annotations

import random

import pytest

from tests import packets as p
from tests.loaded import Loaded
from xdpfw.kernel.fake import FakeKernel
from xdpfw.model.limits import Limits
from xdpfw.model.reason import Verdict
from xdpfw.policy.bulk import parse_text

LIMITS = Limits(leaves=1024, hosts4=1024, hosts6=1024, memberships=64, talkers=64)


def dropped(loaded: Loaded, address: str) -> bool:
    return loaded.kernel.judge(p.ethernet(p.ip(address, p.udp()))).verdict == Verdict.DROP


@pytest.mark.parametrize("seed", range(5))
def test_lists_of_any_size_follow_one_another(seed: int) -> None:
    chance = random.Random(seed)
    loaded = Loaded(FakeKernel([], LIMITS), LIMITS)
    everything = [f"10.0.{high}.{low}" for high in range(2) for low in range(256)]
    everything += [f"2001:db8::{number:x}" for number in range(256)]
    for _ in range(30):
        chosen = set(chance.sample(everything, chance.choice((0, 1, 3, 20, 100, 400))))
        loaded.replace("block", parse_text("\n".join(chosen).encode()))
        assert {address for address in everything if dropped(loaded, address)} == chosen
