# SPDX-License-Identifier: Apache-2.0
"""What a run goes through: stretches of some 100,000 frames, each under a policy of its own.

The seed and a stretch's number say what it is; of captures, the frames that were found too.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests import random_rules, samples
from tests.corpora import ethernet_captures
from tests.frame_table import LISTED
from tests.fuzz.frames import BATCH, SHORTEST, batch, truncations
from tests.loaded import Loaded
from xdpfw.model.policy import DEFAULT_RULES
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Action, Mode
from xdpfw.policy.reference_parse import parse

STRETCH = 50 * BATCH
RULES = (0, 0, 4, 20, 64)


@dataclass(frozen=True, slots=True)
class Stretch:
    """`numbers`: of batches, or else `cut`: frames whose every beginning is a frame."""

    number: int
    numbers: range
    cut: tuple[bytes, ...] = ()

    @property
    def frames(self) -> int:
        """About how many it has."""
        return len(self.numbers) * BATCH + sum(len(frame) - SHORTEST + 1 for frame in self.cut)

    def split(self, seed: int) -> random.Random | None:
        """Every third stretch is of frames in two buffers."""
        return None if self.number % 3 else random.Random(seed << 40 | self.number)

    def batches(self, seed: int, captured: Sequence[bytes]) -> Iterator[list[bytes]]:
        yield from map(truncations, self.cut)
        for number in self.numbers:
            yield batch(seed, number, captured)


def captured_frames(corpora: Path) -> list[bytes]:
    """All different ones, in the order of the captures."""
    found = (frame for capture in ethernet_captures(corpora) for frame in capture.frames if len(frame) >= SHORTEST)
    return list(dict.fromkeys(found))


def stretches(seed: int, count: int, captured: Sequence[bytes]) -> list[Stretch]:
    """All beginnings of the captured frames, in an order of chance, and then about `count` other frames."""
    shuffled = random.Random(seed).sample(captured, len(captured))
    cuts = list(_portions(shuffled))
    made = range(0, -(-count // BATCH), STRETCH // BATCH)
    last = -(-count // BATCH)
    batches = [range(first, min(first + STRETCH // BATCH, last)) for first in made]
    parts = [(range(0), cut) for cut in cuts] + [(numbers, ()) for numbers in batches]
    return [Stretch(number, *part) for number, part in enumerate(parts)]


def _portions(frames: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Of about STRETCH bytes."""
    portion: list[bytes] = []
    left = STRETCH
    for frame in frames:
        portion.append(frame)
        left -= len(frame)
        if left <= 0:
            yield tuple(portion)
            portion, left = [], STRETCH
    if portion:
        yield tuple(portion)


def fill(loaded: Loaded, captured: Iterable[bytes]) -> None:
    """A third of the captures' sources allowed, a third blocked, beside those that made frames have."""
    sources = sorted({str(ipaddress.ip_address(parsed.source)) for each in captured if (parsed := parse(each)).source})
    loaded.add("allow", [*samples.ALLOW, *sources[::3]])
    loaded.add("block", [*samples.BLOCK, *sources[1::3]])


def policy(seed: int, number: int, *, split: bool = False) -> dict[str, Any]:
    """Of a stretch. Limits become drops: a bucket is no matter of one frame. With `split` no rule asks for the length,
    in which padding may not be counted then."""
    r = random.Random(seed << 40 | number)
    rules = random_rules.rules(r.getrandbits(32), r.choice(RULES), ("allow", "block"))
    unlimited = [replace(rule, action=Action.DROP, limit=None) if rule.limit else rule for rule in rules]
    if split:
        unlimited = [replace(rule, match=replace(rule.match, length=())) for rule in unlimited]
    return {
        "rules": (*unlimited, *DEFAULT_RULES),
        "default": r.choice(list(Verdict)),
        "mode": r.choices(list(Mode), (3, 1))[0],
        "ethertypes": (LISTED,),
    }
