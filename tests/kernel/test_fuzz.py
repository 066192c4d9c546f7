# SPDX-License-Identifier: Apache-2.0
"""A quick share of script/fuzz: every kind of frame, and every beginning of some captured frames."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests import packets as p
from tests.fuzz import plan
from tests.fuzz.frames import BATCH, KINDS, LONGEST, SHORTEST, batch, truncations
from tests.fuzz.judging import LATER, judge, ports_are_there
from tests.loaded import Loaded
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Mode

pytestmark = pytest.mark.kernel

SEED = 20
POLICY = 1
"""Under which most of 22 rows decide something."""
CAPTURED = 150
NAMES = [f"{kind.__name__[1:]}-{at}" for at, kind in enumerate(KINDS)]
LENGTHS = 60


@pytest.fixture(scope="module")
def loaded(loaded_kernel: Loaded) -> Loaded:
    plan.fill(loaded_kernel, [])
    return loaded_kernel


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=NAMES)
def test_made_and_mutated_frames(loaded: Loaded, kind: int) -> None:
    loaded.use(**plan.policy(SEED, POLICY))
    with judge(loaded) as differences:
        assert differences(batch(SEED, kind, [])) == []


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=NAMES)
def test_frames_in_two_buffers(loaded: Loaded, kind: int) -> None:
    loaded.use(**plan.policy(SEED, POLICY, split=True))
    with judge(loaded, random.Random(kind)) as differences:
        assert differences(batch(SEED, len(KINDS) + kind, [])[::4]) == []


@pytest.mark.corpora
def test_every_beginning_of_captured_frames(loaded: Loaded, corpora: Path) -> None:
    captured = random.Random(SEED).sample(plan.captured_frames(corpora), CAPTURED)
    plan.fill(loaded, captured)
    with judge(loaded) as differences:
        assert [found for frame in captured for found in differences(truncations(frame))] == []


def test_every_length_is_among_the_frames() -> None:
    """In as many turns as it takes, for a frame that is cut short is no frame of its length."""
    turns = -(-(LONGEST - SHORTEST + 1) // BATCH)
    lengths = KINDS.index(next(kind for kind in KINDS if kind.__name__ == "_lengths"))
    found = {len(frame) for turn in range(turns) for frame in batch(SEED, lengths + turn * len(KINDS), [])}
    assert found == set(range(SHORTEST, LONGEST + 1))


def test_a_program_that_judges_by_another_policy_is_found_out(loaded: Loaded) -> None:
    """Every field of the outcome that another policy changes, for a frame whose ports decide."""
    loaded.use(rules=(), default=Verdict.PASS, mode=Mode.ENFORCE)
    frame = p.ethernet(p.ip("192.0.2.1", p.udp(4000, 53)))
    with judge(loaded) as differences:
        assert differences([frame]) == []
        loaded.use(default=Verdict.DROP)
        assert [set(found.fields) for found in differences([frame])] == [{"drop"}]


@pytest.mark.parametrize(
    "change", [{"transport": 35}, {"end": 41}, {"end": 61}, {"fragment": LATER}, {"source_port": 1}], ids=str
)
def test_ports_that_are_not_there_are_found_out(change: dict[str, int]) -> None:
    frame = p.ethernet(p.ip("192.0.2.1", p.udp(4000, 53)), pad_to=60)
    sound = {"transport": 34, "end": 42, "protocol": p.UDP, "fragment": 0, "source_port": 4000, "destination_port": 53}
    assert ports_are_there(frame, sound)
    assert not ports_are_there(frame, sound | change)
