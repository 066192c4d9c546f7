# SPDX-License-Identifier: Apache-2.0
"""Map operations on the real maps: what packets see of them, in which order, and what is left when one fails."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lab.waiting import eventually
from tests.kernel import plain
from tests.kernel.bench import Bench
from tests.kernel.conftest import SMALL, Host
from tests.kernel.plain import ALLOWED, BLOCKED, ids, insert, keys
from tests.packets import ethernet, ip, udp
from xdpfw.kernel import apply as applying
from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.maps import CAUSES
from xdpfw.model.errors import KernelError, MapFull
from xdpfw.model.policy import Policy
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict
from xdpfw.model.rule import Mode
from xdpfw.policy.match import as_vectors
from xdpfw.policy.ops import (
    NEVER,
    ClearLeaves,
    DeletePrefixes,
    Flip,
    Grace,
    InsertPrefixes,
    Op,
    WriteLeaves,
    WriteMemberships,
    WriteVectors,
)

pytestmark = pytest.mark.kernel

ALLOW_ROW, BLOCK_ROW = MAX_REASONS, MAX_REASONS + 1


def frame(source: str) -> bytes:
    return ethernet(ip(source, udp()))


def cause(kernel: RealKernel, source: str) -> int:
    return kernel.judge(frame(source)).cause


@pytest.mark.parametrize(
    ("prefix", "inside", "outside"),
    [
        ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
        ("203.0.113.0/24", "203.0.113.255", "203.0.112.255"),
        ("0.0.0.0/0", "198.51.100.1", "2001:db8::1"),
        ("128.0.0.0/1", "198.51.100.1", "10.0.0.1"),
        ("2001:db8::7", "2001:db8::7", "2001:db8::8"),
        ("2001:db8::/65", "2001:db8::7fff:0:0:1", "2001:db8::8000:0:0:1"),
        ("::/0", "fd00::1", "10.0.0.1"),
        ("203.0.113.0/24", "::ffff:203.0.113.9", "::fffe:203.0.113.9"),
    ],
)
def test_a_prefix_holds_exactly_its_addresses(kernel: RealKernel, prefix: str, inside: str, outside: str) -> None:
    kernel.execute(insert(prefix, 1), 2)
    assert cause(kernel, inside) == BLOCK_ROW
    assert cause(kernel, outside) == Reason.DEFAULT
    kernel.execute([plain.delete(prefix, 1), Grace()], 3)
    assert cause(kernel, inside) == Reason.DEFAULT


@pytest.mark.parametrize(("wide", "narrow", "address"), [
    ("203.0.113.0/24", "203.0.113.128/25", "203.0.113.200"),
    ("203.0.113.0/24", "203.0.113.200", "203.0.113.200"),
    ("2001:db8::/32", "2001:db8::/127", "2001:db8::1"),
    ("2001:db8::/32", "2001:db8::1", "2001:db8::1"),
])  # fmt: skip
def test_the_longest_prefix_decides(kernel: RealKernel, wide: str, narrow: str, address: str) -> None:
    plain.executed(kernel, [insert(wide, 1, BLOCKED), insert(narrow, 2, ALLOWED)])
    assert cause(kernel, address) == ALLOW_ROW
    assert kernel.judge(frame(address)).leaf == 2


# expiry


def deadline_chain(*steps: tuple[int, int | float]) -> WriteMemberships:
    """Memberships 10, 11, …: (class, deadline in wall clock ns), each followed by the next, the last by none."""
    count = len(steps)
    return WriteMemberships(
        plain.leaf_range(count, 10),
        ids(*(class_ for class_, _ in steps)),
        ids(*range(11, 10 + count), 0),
        np.array([int(deadline) for _, deadline in steps], np.int64),
    )


def test_a_deadline_ends_a_membership_on_time(kernel: RealKernel) -> None:
    assert cause(kernel, "203.0.113.1") == Reason.DEFAULT
    due = time.time_ns() + 700_000_000
    kernel.execute([deadline_chain((BLOCKED, due)), *insert("203.0.113.0/24", 1, 10)], 2)
    assert cause(kernel, "203.0.113.1") == BLOCK_ROW
    eventually(lambda: cause(kernel, "203.0.113.1") == Reason.DEFAULT, "the block runs out", within=5, every=0.002)
    assert 0 <= time.time_ns() - due < 500_000_000


def test_what_follows_a_deadline_holds_then(kernel: RealKernel) -> None:
    past, future = time.time_ns() - 10**9, time.time_ns() + 3600 * 10**9
    chain = deadline_chain((BLOCKED, past), (BLOCKED, past), (ALLOWED, future), (BLOCKED, NEVER))
    plain.executed(kernel, [[chain, *insert("203.0.113.1", 1, 10)]])
    assert cause(kernel, "203.0.113.1") == ALLOW_ROW


def test_a_chain_of_eight_is_followed_to_its_end(kernel: RealKernel) -> None:
    past = time.time_ns() - 10**9
    chain = deadline_chain(*[(ALLOWED, past)] * 7, (BLOCKED, NEVER))
    kernel.execute([chain, *insert("2001:db8::/64", 1, 10)], 2)
    assert cause(kernel, "2001:db8::1") == BLOCK_ROW


# generations


def test_a_flip_changes_many_leaves_at_once(kernel: RealKernel) -> None:
    plain.executed(kernel, [insert("203.0.113.1", 1, ALLOWED), insert("203.0.113.2", 2, ALLOWED)])
    other = [WriteLeaves(1, ids(1, 2), ids(BLOCKED, BLOCKED)), plain.policy(1)]
    kernel.execute(other, 4)
    assert {cause(kernel, f"203.0.113.{host}") for host in (1, 2)} == {ALLOW_ROW}
    kernel.execute([Flip(1)], 5)
    assert {cause(kernel, f"203.0.113.{host}") for host in (1, 2)} == {BLOCK_ROW}


def test_the_policy_flips_with_its_generation(kernel: RealKernel) -> None:
    strict = Policy(default=Verdict.DROP, mode=Mode.MONITOR)
    kernel.execute([plain.policy(1, strict), Flip(1)], 2)
    judged = kernel.judge(frame("203.0.113.1"))
    assert (judged.verdict, judged.monitored, judged.cause) == (Verdict.PASS, True, Reason.DEFAULT)


def test_classes_nothing_refers_to_yet_are_written_in_place(kernel: RealKernel) -> None:
    new = WriteMemberships(ids(9), ids(3), ids(0), np.array([NEVER]))
    vectors = WriteVectors(0, ids(3), as_vectors([0b10]))
    kernel.execute([vectors, new, *insert("203.0.113.1", 1, 9)], 2)
    assert cause(kernel, "203.0.113.1") == BLOCK_ROW


class Waits:
    """Counts grace periods."""

    def __init__(self, kernel: RealKernel, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = kernel.applier._wait

        def wait() -> None:
            self.count += 1
            real()

        monkeypatch.setattr(kernel.applier, "_wait", wait)


def test_a_generation_just_left_is_written_after_a_grace_only(
    kernel: RealKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.execute([Flip(1), Grace()], 2)
    waits = Waits(kernel, monkeypatch)
    kernel.execute([Flip(0)], 3)
    kernel.execute(insert("203.0.113.1", 1), 4)
    assert waits.count == 1  # packets may have been reading generation 1 when leaf 1 was written there
    kernel.execute(insert("203.0.113.2", 2), 5)
    assert waits.count == 1
    kernel.execute([WriteLeaves(1, ids(1), ids(ALLOWED)), Flip(1), Grace(), WriteLeaves(0, ids(1), ids(ALLOWED))], 6)
    assert waits.count == 2


def test_a_fresh_start_waits_once(kernel: RealKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ran before may have flipped or deleted a moment ago."""
    waits = Waits(kernel, monkeypatch)
    kernel.execute(insert("203.0.113.1", 1), 2)
    kernel.execute(insert("203.0.113.2", 2), 3)
    assert waits.count <= 1


def test_a_shortage_of_elements_that_passes_is_waited_for(kernel: RealKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    real, short = libbpf.map_update_batch, iter([0, 2, 1])

    def outrun(fd: int, packed: np.ndarray, values: np.ndarray) -> tuple[int, libbpf.Refused | None]:
        count = next(short, len(packed))
        if count:
            real(fd, packed[:count], values[:count])
        return count, libbpf.Refused("outrun", errno.ENOMEM) if count < len(packed) else None

    monkeypatch.setattr(libbpf, "map_update_batch", outrun)
    hosts = plain.many4(5, "203.0.113.0")
    leaves = plain.leaf_range(5)
    kernel.execute([WriteLeaves(0, leaves, np.full(5, BLOCKED, np.uint32)), InsertPrefixes(4, hosts, leaves)], 2)
    assert {cause(kernel, f"203.0.113.{n}") for n in range(5)} == {BLOCK_ROW}
    assert next(fill.used for fill in kernel.fill() if fill.name == "hosts4") == 5


def test_a_shortage_of_elements_that_lasts_is_a_full_map(kernel: RealKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(applying, "ALLOCATION_PAUSE", 0)
    refusal = libbpf.Refused("none left", errno.ENOMEM)
    monkeypatch.setattr(libbpf, "map_update_batch", lambda *_: (0, refusal))
    with pytest.raises(MapFull, match="no memory for more entries in hosts4"):
        kernel.execute(insert("203.0.113.1", 1), 2)


def test_kernels_without_batches_are_served_one_by_one(kernel: RealKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    real = libbpf._call

    def refuse_batches(what: str, name: str, *arguments: Any) -> int:
        if name.endswith("_batch"):
            raise libbpf.Refused(what, 524)
        return real(what, name, *arguments)

    monkeypatch.setattr(libbpf, "_call", refuse_batches)
    leaves = plain.leaf_range(3)
    some = keys("203.0.113.0/26", "203.0.113.1", "203.0.113.128/25")
    kernel.execute([WriteLeaves(0, leaves, np.full(3, BLOCKED, np.uint32)), InsertPrefixes(4, some, leaves)], 2)
    assert {fill.name: fill.used for fill in kernel.fill()} == {"hosts4": 1, "hosts6": 0, "trie4": 2, "trie6": 0}
    assert cause(kernel, "203.0.113.1") == cause(kernel, "203.0.113.200") == BLOCK_ROW
    kernel.execute([DeletePrefixes(4, some, leaves)], 3)
    assert cause(kernel, "203.0.113.1") == cause(kernel, "203.0.113.200") == Reason.DEFAULT


def test_freed_elements_are_not_reused_under_a_packet(kernel: RealKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.execute(insert("203.0.113.1", 1), 2)
    waits = Waits(kernel, monkeypatch)
    kernel.execute([plain.delete("203.0.113.1", 1)], 3)
    kernel.execute(insert("203.0.113.2", 1), 4)
    assert waits.count == 1
    kernel.execute([plain.delete("203.0.113.2", 1), Grace(), *insert("203.0.113.1", 1)], 5)
    assert waits.count == 2


# full tables and failures


FULL = replace(SMALL, leaves=8, hosts4=4, hosts6=4)


@pytest.fixture
def narrow(make_host: Callable[[], Host]) -> RealKernel:
    kernel = make_host().kernel(FULL)
    plain.start(kernel)
    return kernel


@pytest.mark.parametrize(
    ("fits", "too_much", "says"),
    [
        (["203.0.113.1", "203.0.113.2"], ["203.0.113.3", "203.0.113.4", "203.0.113.5"], "hosts4 is full .4 e.*hosts4"),
        (["2001:db8::1"], [f"2001:db8::1:{n}" for n in range(4)], "hosts6 is full .4 entries.*hosts6"),
        (["10.0.0.0/8"], [f"203.0.{n}.0/24" for n in range(8)], "trie4 is full .8 entries.*leaves"),
        (["fd00::/8"], [f"2001:db8:{n}::/48" for n in range(8)], "trie6 is full .8 entries.*leaves"),
    ],
)  # fmt: skip
def test_a_full_map_undoes_the_change_and_keeps_blocking(
    narrow: RealKernel, fits: list[str], too_much: list[str], says: str
) -> None:
    family = plain.family_of(fits[0])
    for leaf, prefix in enumerate(fits, 1):
        narrow.execute(insert(prefix, leaf), leaf + 1)
    used = {fill.name: fill.used for fill in narrow.fill()}
    some = plain.leaf_range(len(too_much), 1)  # ids beyond the limit would not exist; these entries never live
    with pytest.raises(MapFull, match=says):
        narrow.execute([InsertPrefixes(family, keys(*too_much), some), Flip(1)], 99)
    assert narrow.tables.generation == 0
    assert {fill.name: fill.used for fill in narrow.fill()} == used
    for prefix in too_much:
        assert cause(narrow, prefix.split("/")[0]) == Reason.DEFAULT
    for prefix in fits:
        address = prefix.split("/")[0].replace("fd00::", "fd00::1")
        assert narrow.judge(frame(address)).verdict == Verdict.DROP


def test_inserts_before_a_failure_are_undone(kernel: RealKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel.applier.rules, "write_vectors", _refuse)
    change: list[Op] = [
        *insert("203.0.113.1", 1),
        *insert("2001:db8::/32", 2),
        WriteVectors(1, ids(3), as_vectors([0])),
        Flip(1),
    ]
    with pytest.raises(KernelError, match="refused on purpose"):
        kernel.execute(change, 7)
    monkeypatch.undo()
    assert (kernel.tables.generation, int(kernel.tables.meta["applying"]), int(kernel.tables.meta["revision"])) == (
        0,
        0,
        1,
    )
    assert cause(kernel, "203.0.113.1") == cause(kernel, "2001:db8::1") == Reason.DEFAULT
    assert [fill.used for fill in kernel.fill()] == [0, 0, 0, 0]
    listed = kernel.tables.listed(layouts.INSERTING, layouts.LIVE, layouts.DELETING)
    assert [len(keys) for keys, _ in listed.values()] == [0, 0]


def _refuse(*_: object) -> None:
    raise libbpf.Refused("refused on purpose", 12)


def test_an_id_beyond_the_tables_undoes_the_change_too(kernel: RealKernel) -> None:
    with pytest.raises(IndexError):
        kernel.execute([*insert("203.0.113.1", 1), *insert("203.0.113.2", SMALL.leaves + 1)], 7)
    assert cause(kernel, "203.0.113.1") == Reason.DEFAULT
    assert int(kernel.tables.meta["applying"]) == 0


def test_deleting_what_is_gone_already_is_no_failure(kernel: RealKernel) -> None:
    kernel.execute([*insert("203.0.113.1", 1), *insert("203.0.113.3", 3)], 2)
    three = keys("203.0.113.1", "203.0.113.2", "203.0.113.3")
    kernel.execute([DeletePrefixes(4, three, ids(1, 2, 3))], 3)
    assert cause(kernel, "203.0.113.1") == cause(kernel, "203.0.113.3") == Reason.DEFAULT


# many


def test_a_hundred_thousand_in_one_change(kernel: RealKernel, bench: Bench) -> None:
    """The first, the last and the middle are there; so is what lies between the batches."""
    count = SMALL.leaves
    leaves = plain.leaf_range(count)
    nets = plain.many4(count, "10.0.0.0", 28)
    member = np.full(count, BLOCKED, np.uint32)
    kernel.execute([WriteLeaves(0, leaves, member), InsertPrefixes(4, nets, leaves)], 2)
    for at in (0, 1, 65535, 65536, 65537, count - 1):
        address = ".".join(str(byte) for byte in nets[at].ljust(5, b"\0")[:4])
        assert not bench.run(frame(address))
        assert kernel.judge(frame(address)).leaf == at + 1
    assert bench.run(frame("11.255.255.255"))
    kernel.execute([DeletePrefixes(4, nets, leaves), Grace(), ClearLeaves(leaves)], 3)
    assert bench.run(frame("10.0.0.0"))
    assert kernel.tables.hits.read(leaves).sum() == 0


def test_leaf_counters_start_again_once_cleared(kernel: RealKernel, bench: Bench) -> None:
    kernel.execute(insert("203.0.113.0/24", 3), 2)
    sent = frame("203.0.113.1")
    bench.run(sent, 5)
    assert kernel.read_leaves(ids(3, 4)).tolist() == [[5, 5 * len(sent)], [0, 0]]
    kernel.execute([plain.delete("203.0.113.0/24", 3), Grace(), ClearLeaves(ids(3))], 3)
    assert kernel.read_leaves(ids(3)).tolist() == [[0, 0]]
    assert bench.tally().shape == (CAUSES, 6)
