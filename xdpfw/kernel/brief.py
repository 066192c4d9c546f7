# SPDX-License-Identifier: Apache-2.0
"""What leaves have in common (bpf/maps.h, struct brief), kept in step with them: packets read it before `leaf`, which
with many prefixes is too large for the caches."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts
from xdpfw.kernel.finding import Finding
from xdpfw.kernel.maps import Map, View, map_memory
from xdpfw.policy.ops import Ids

Blocks = npt.NDArray[np.int64]

LEAVES, ASK = layouts.BRIEF_LEAVES, layouts.BRIEF_ASK


class Brief:
    """`leaf` holds by generation the membership of each leaf; the last block may be shorter."""

    def __init__(self, brief: Map, leaf: Map) -> None:
        self._brief, self._leaf = brief, leaf

    def refresh(self, generation: int, leaves: Ids) -> None:
        """After a generation of these leaves was written, none of which packets find while it is in force."""
        self._derive(generation, np.flatnonzero(np.bincount(leaves // LEAVES)))

    def adopt(self) -> None:
        """Derive it all: a daemon may have been killed after it wrote leaves and before this followed. That was never
        in the generation in force."""
        blocks = self._blocks()
        for generation in (0, 1):
            self._derive(generation, blocks)

    def findings(self) -> Iterator[Finding]:
        """Blocks of which packets are told what does not follow from their leaves."""
        blocks = self._blocks()
        for generation in (0, 1):
            told = np.ascontiguousarray(self._brief.view["membership"][:, generation]).reshape(-1)[blocks]
            wrong = np.flatnonzero(told != self._shared(generation, blocks))
            if len(wrong):
                yield Finding(
                    "brief", len(wrong), partial(_not_shared, wrong), partial(self._derive, generation, wrong)
                )

    def _blocks(self) -> Blocks:
        """All of them."""
        return np.arange(-(-self._leaf.spec.entries // LEAVES))

    def _derive(self, generation: int, blocks: Blocks) -> None:
        view: View = self._brief.view["membership"]
        shared = self._shared(generation, blocks)
        view[blocks // layouts.BRIEF_BLOCKS, generation, blocks % layouts.BRIEF_BLOCKS] = shared

    def _shared(self, generation: int, blocks: Blocks) -> npt.NDArray[np.uint8]:
        if not len(blocks):
            return np.empty(0, np.uint8)
        first, last = int(blocks.min()) * LEAVES, int(blocks.max() + 1) * LEAVES
        live = map_memory(self._leaf.spec, self._leaf.fd, first, min(last, self._leaf.spec.entries) - first)
        members = live["membership"][:, generation]
        missing = last - first - len(members)
        members = np.pad(members, (0, missing), constant_values=members[missing - LEAVES]) if missing else members
        held = members.reshape(-1, LEAVES)[blocks - first // LEAVES]
        same = (held == held[:, :1]).all(1) & (held[:, 0] < ASK)
        return np.where(same, held[:, 0], ASK).astype(np.uint8)


def _not_shared(blocks: Blocks, at: int) -> str:
    first = int(blocks[at]) * LEAVES
    return f"leaves {first} to {first + LEAVES - 1} are said to have in common what they have not"
