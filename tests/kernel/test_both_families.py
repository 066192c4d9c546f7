# SPDX-License-Identifier: Apache-2.0
"""Very many prefixes of both families go into the tables at the same time, and all of them or none."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernel import plain
from tests.kernel.conftest import SMALL
from tests.kernel.plain import BLOCKED
from tests.kernel.test_apply import BLOCK_ROW, cause
from xdpfw.kernel import apply as applying
from xdpfw.kernel import layouts
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.tiers import Tiers
from xdpfw.model.errors import MapFull
from xdpfw.model.reason import Reason
from xdpfw.policy.ops import DeletePrefixes, Flip, Grace, Ids, InsertPrefixes, Keys, WriteLeaves

pytestmark = pytest.mark.kernel


def both_families(count4: int, count6: int) -> list[InsertPrefixes]:
    """IPv4 networks from 10.0.0.0 on, IPv6 hosts from 2001:db8:: on."""
    hosts = np.zeros((count6, 17), np.uint8)
    hosts[:, :4] = 0x20, 0x01, 0x0D, 0xB8
    hosts[:, 12:16] = np.arange(count6, dtype=">u4").view(np.uint8).reshape(-1, 4)
    hosts[:, 16] = 128
    leaves4, leaves6 = plain.leaf_range(count4), plain.leaf_range(count6, count4 + 1)
    return [
        InsertPrefixes(4, plain.many4(count4, "10.0.0.0", 28), leaves4),
        InsertPrefixes(6, hosts.view("S17").reshape(-1), leaves6),
    ]


def written(inserts: list[InsertPrefixes]) -> WriteLeaves:
    leaves = np.concatenate([op.leaves for op in inserts])
    return WriteLeaves(0, leaves, np.full(len(leaves), BLOCKED, np.uint32))


def test_both_families_at_once(kernel: RealKernel) -> None:
    inserts = both_families(3 * applying.LARGE, 2 * applying.LARGE)
    kernel.execute([written(inserts), *inserts], 2)
    assert {fill.name: fill.used for fill in kernel.fill()} == {
        "hosts4": 0,
        "hosts6": 2 * applying.LARGE,
        "trie4": 3 * applying.LARGE,
        "trie6": 0,
    }
    assert cause(kernel, "10.0.0.1") == cause(kernel, "10.0.191.255") == cause(kernel, "2001:db8::7ff") == BLOCK_ROW
    assert cause(kernel, "10.0.192.0") == cause(kernel, "2001:db8::800") == Reason.DEFAULT
    kernel.execute([*(DeletePrefixes(op.family, op.keys, op.leaves) for op in inserts), Grace()], 3)
    assert [fill.used for fill in kernel.fill()] == [0, 0, 0, 0]
    assert cause(kernel, "10.0.0.1") == cause(kernel, "2001:db8::7ff") == Reason.DEFAULT


@pytest.mark.parametrize("fails", ["hosts6 is full", "no memory for another page"])
def test_of_both_families_at_once_all_or_nothing_is_there(
    kernel: RealKernel, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    inserts = both_families(2 * applying.LARGE, SMALL.hosts6 + ("full" in fails))
    insert_into_tiers = Tiers.insert

    def refuse(tiers: Tiers, keys: Keys, leaves: Ids, *, again: bool = False) -> None:
        insert_into_tiers(tiers, keys, leaves, again=again)
        if tiers is kernel.applier.tiers[6]:
            raise MapFull("no memory for another page")

    if "memory" in fails:
        monkeypatch.setattr(Tiers, "insert", refuse)
    with pytest.raises(MapFull, match=fails):
        kernel.execute([written(inserts), *inserts, Flip(1)], 2)
    monkeypatch.undo()
    assert [fill.used for fill in kernel.fill()] == [0, 0, 0, 0]
    assert cause(kernel, "10.0.0.1") == cause(kernel, "2001:db8::1") == Reason.DEFAULT
    listed = kernel.tables.listed(layouts.INSERTING, layouts.LIVE, layouts.DELETING)
    assert [len(keys) for keys, _ in listed.values()] == [0, 0]
    inserts = both_families(2 * applying.LARGE, 2 * applying.LARGE)
    kernel.execute([written(inserts), *inserts], 3)
    assert cause(kernel, "10.0.0.1") == cause(kernel, "2001:db8::1") == BLOCK_ROW
