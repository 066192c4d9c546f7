# SPDX-License-Identifier: Apache-2.0
"""Daemons come and go; the pinned state stays in force, is adopted, or is replaced without a gap."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab.waiting import eventually
from tests.kernel import plain
from tests.kernel.conftest import SMALL, Host
from tests.kernel.plain import ALLOWED, BLOCKED, ids, insert, keys
from tests.packets import ethernet, ip, udp
from tests.wire import Sender, make_pair
from xdpfw.kernel import layouts, libbpf, netlink
from xdpfw.kernel import program as programs
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.instance import link_state
from xdpfw.model.errors import Conflict, MapFull
from xdpfw.model.feature import Feature
from xdpfw.model.interface import AttachMode
from xdpfw.model.limits import Limits
from xdpfw.model.policy import DEFAULT_RULES, Policy
from xdpfw.model.reason import MAX_REASONS, Reason
from xdpfw.model.rule_form import parse_rules
from xdpfw.policy.ops import NEVER, Flip, InsertPrefixes, Op, WriteLeaves, WriteMemberships
from xdpfw.service import Firewall
from xdpfw.store.memory import MemoryStore
from xdpfw.store.port import StoredChange

pytestmark = pytest.mark.kernel

BLOCK_ROW = MAX_REASONS + 1


def frame(source: str) -> bytes:
    return ethernet(ip(source, udp()))


def cause(kernel: RealKernel, source: str) -> int:
    return kernel.judge(frame(source)).cause


def running(name: str) -> int:
    seen = netlink.find(name)
    assert seen is not None and seen.link.xdp_program is not None
    return seen.link.xdp_program


@pytest.fixture
def wire(namespace: None) -> None:
    make_pair("xf0", "xf1", 1500)


def test_a_second_daemon_on_the_same_state_is_refused(host: Host, kernel: RealKernel) -> None:
    with pytest.raises(Conflict, match=f"process {os.getpid()}"):
        host.kernel().start()


def test_nothing_pinned_is_nothing_adopted(host: Host) -> None:
    started = host.kernel().start()
    assert (started.adopted, started.revision, started.generation, started.reason) == (False, 0, 0, "")
    assert not len(started.directory.keys[4]) and not len(started.directory.keys[6])


def test_a_restarted_daemon_knows_what_the_tables_hold(host: Host, kernel: RealKernel) -> None:
    chain = WriteMemberships(ids(7, 8, 9), ids(3, 4, 5), ids(8, 0, 0), np.full(3, NEVER))
    prefixes = [("203.0.113.0/24", BLOCKED), ("203.0.113.5", ALLOWED), ("10.0.0.0/8", 7), ("2001:db8::/32", BLOCKED)]
    kernel.execute([chain], 2)
    for leaf, (prefix, member) in enumerate(prefixes, 1):
        kernel.execute(insert(prefix, leaf, member), leaf + 2)
    kernel.execute([plain.delete("203.0.113.0/24", 1)], 40)
    kernel.execute([Flip(1)], 41)
    kernel.stop(detach=False)

    started = host.kernel().start()
    assert (started.adopted, started.revision, started.generation) == (True, 41, 1)
    assert started.directory.keys[4].tolist() == keys("10.0.0.0/8", "203.0.113.5").tolist()
    assert started.directory.leaves[4].tolist() == [3, 2]
    assert started.directory.memberships[4].tolist() == [7, ALLOWED]
    assert started.directory.keys[6].tolist() == keys("2001:db8::/32").tolist()
    assert started.memberships.tolist() == [0, ALLOWED, BLOCKED, 7, 8]  # 8 follows 7; nothing leads to 9
    assert started.classes.tolist() == [0, 1, 2, 3, 4]


def test_filtering_goes_on_and_programs_stay(host: Host, kernel: RealKernel, wire: None) -> None:
    kernel.execute(insert("203.0.113.0/24", 1), 2)
    attached = kernel.attach("xf1", AttachMode.NATIVE)
    kernel.stop(detach=False)
    with Sender("xf0") as sender:
        sender.send([frame("203.0.113.9")] * 3)

    again = host.kernel()
    assert again.start().adopted
    assert again.activate() == [attached]
    eventually(lambda: again.read_tally("xf1")[BLOCK_ROW, 2] == 3, "three frames are dropped with no daemon there")
    assert again.features()["compiler"] is None  # nothing was compiled


def test_pins_record_schema_revision_and_features(host: Host, kernel: RealKernel) -> None:
    wanted = frozenset({Feature.MATCH_DESTINATION, Feature.EVENTS})
    kernel.compile(wanted)  # else a wider program that is at hand may serve
    kernel.use(wanted)
    kernel.execute(insert("203.0.113.0/24", 1), 7)
    kernel.stop(detach=False)
    shown = json.loads(
        subprocess.run(
            ["bpftool", "-j", "map", "dump", "pinned", str(host.pins / "tables-1" / "meta")],
            capture_output=True, check=True,
        ).stdout
    )  # fmt: skip
    record = np.frombuffer(bytes(int(octet, 16) for octet in shown[0]["value"]), layouts.META)[0]
    assert (record["schema"], record["revision"]) == (layouts.SCHEMA, 7)
    bits = [at for at, feature in enumerate(Feature) if feature in (Feature.MATCH_DESTINATION, Feature.EVENTS)]
    assert record["features"] == sum(1 << bit for bit in bits)


def test_rules_in_force_keep_the_program_that_looks_at_their_fields_until_others_are(host: Host) -> None:
    """Killed when other rules were stored and not yet in force. To a program that looks at no ports, the rule that
    drops port 9 would be one that drops everything."""
    store, passes = MemoryStore(), ethernet(ip("198.51.100.1", udp()))
    asked: list[set[Feature]] = []

    class Watched(RealKernel):
        def execute(self, ops: Sequence[Op], revision: int) -> None:
            asked.append({Feature.MATCH_DESTINATION_PORT, Feature.MATCH_VLAN} & self.program.features)
            assert self.judge(passes).verdict == "pass"
            super().execute(ops, revision)

    async def life(revision: int, match: dict[str, object]) -> None:
        rules = parse_rules([{"id": "odd", "match": match, "action": "drop"}])
        policy = Policy(rules=(*rules, *DEFAULT_RULES)).following(Policy())
        store.save(StoredChange(revision, policy=policy))
        kernel = Watched(host.instance, host.state_dir, SMALL)
        firewall = Firewall(kernel, store)
        await firewall.load()
        await firewall.trim()
        assert kernel.judge(passes).verdict == "pass"
        kernel.stop(detach=False)

    asyncio.run(life(1, {"destination_ports": [9]}))
    asked.clear()
    asyncio.run(life(2, {"vlan": [7]}))
    assert asked[0] == {Feature.MATCH_DESTINATION_PORT, Feature.MATCH_VLAN}


CUT_OFF = """
import os, sys
from pathlib import Path
from tests.kernel import plain
from tests.kernel.conftest import SMALL
from xdpfw.kernel import libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.policy.ops import DeletePrefixes, InsertPrefixes, WriteLeaves

kernel = RealKernel(sys.argv[1], Path(sys.argv[2]), SMALL)
plain.start(kernel)
kernel.execute(plain.insert("203.0.113.1", 1), 2)
kernel.execute(plain.insert("203.0.113.2", 2), 3)
half = {"update": libbpf.map_update_batch, "delete": libbpf.map_delete_batch}

def stall(*_):
    print("stalled", flush=True)
    sys.stdin.read()

def half_way(fd, packed, *values):
    half[sys.argv[3]](fd, packed[:len(packed) // 2], *(v[:len(packed) // 2] for v in values))
    stall()

count = 1000
leaves = plain.leaf_range(count, 10)
hosts = plain.many4(count)
write = WriteLeaves(0, leaves, leaves * 0 + plain.BLOCKED)
if sys.argv[3] == "delete":
    kernel.execute([write, InsertPrefixes(4, hosts, leaves)], 4)
    libbpf.map_delete_batch = half_way
    kernel.execute([DeletePrefixes(4, hosts, leaves)], 5)
libbpf.map_update_batch = half_way
kernel.execute([write, InsertPrefixes(4, hosts, leaves)], 4)
"""


@pytest.mark.parametrize("what", ["update", "delete"])
def test_what_a_killed_daemon_left_half_done_is_put_right(host: Host, what: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CUT_OFF, host.instance, str(host.state_dir), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"stalled\n"
        child.send_signal(signal.SIGKILL)

    kernel = host.kernel()
    started = kernel.start()
    kernel.activate()
    assert (started.adopted, started.revision) == (True, 0)  # a state in between is no revision's
    listed = started.directory.keys[4]
    assert len(listed) == len(set(listed.tolist())) == 1002
    # The directory and the maps agree, entry by entry, and none is half there.
    for at in (0, 250, 499, 500, 750, 999):
        address = f"10.0.{at >> 8}.{at & 255}"
        judged = kernel.judge(frame(address))
        assert (judged.cause, judged.leaf) == (BLOCK_ROW, 10 + at)
    assert {fill.name: fill.used for fill in kernel.fill()}["hosts4"] == 1002
    unfinished = kernel.tables.listed(layouts.INSERTING, layouts.DELETING)
    assert [len(keys) for keys, _ in unfinished.values()] == [0, 0]
    assert cause(kernel, "203.0.113.2") == BLOCK_ROW


def test_leaves_that_were_written_just_before_a_kill_are_told_apart(host: Host, kernel: RealKernel) -> None:
    """What packets read before a leaf, what it has in common with its neighbours, had not followed yet."""
    leaves = plain.leaf_range(layouts.BRIEF_LEAVES, layouts.BRIEF_LEAVES)
    blocked = [WriteLeaves(generation, leaves, leaves * 0 + BLOCKED) for generation in (0, 1)]
    kernel.execute([*blocked, InsertPrefixes(4, plain.many4(len(leaves)), leaves)], 2)
    kernel.tables.maps["leaf"].write_column(leaves[5:6], "membership", 1, ids(ALLOWED))
    kernel.stop(detach=False)

    kernel = host.kernel()
    kernel.start()
    kernel.activate()
    assert cause(kernel, "10.0.0.5") == BLOCK_ROW
    kernel.execute([Flip(1)], 3)
    assert cause(kernel, "10.0.0.5") == BLOCK_ROW - 1
    assert cause(kernel, "10.0.0.6") == BLOCK_ROW


def test_other_sizes_take_over_in_place_with_all_counts(host: Host, kernel: RealKernel, wire: None) -> None:
    kernel.execute(insert("203.0.113.0/24", 1), 2)
    kernel.execute(insert("198.51.100.0/24", 2), 3)
    kernel.attach("xf1", AttachMode.NATIVE)
    sent = frame("203.0.113.9")
    with Sender("xf0") as sender:
        sender.send([sent] * 4)
    eventually(lambda: kernel.read_tally("xf1")[BLOCK_ROW, 2] == 4, "four frames are dropped")
    before, link = running("xf1"), host.pins / "links" / "xf1"
    inode = link.stat().st_ino
    kernel.stop(detach=False)

    larger = host.kernel(replace(SMALL, leaves=2 * SMALL.leaves))
    started = larger.start()
    assert not started.adopted and "other sizes" in started.reason
    assert running("xf1") == before  # the old one filters until the new tables are full
    larger.execute([plain.memberships(), plain.policy(0), plain.policy(1), *insert("203.0.113.0/24", 77)], 3)
    (attached,) = larger.activate()
    assert running("xf1") == attached.program_id != before
    assert link.stat().st_ino == inode  # the link itself was never taken away
    assert larger.read_leaves(ids(77, 1, 2)).tolist() == [[4, 4 * len(sent)], [0, 0], [0, 0]]
    assert larger.read_tally("xf1")[BLOCK_ROW, 2] == 4
    assert [talker["counts"].tolist() for talker in larger.read_talkers("xf1").rows()] == [[0, 0, 4, 4 * len(sent)]]
    with Sender("xf0") as sender:
        sender.send([sent])
    eventually(lambda: larger.read_leaves(ids(77))[0, 0] == 5, "the new tables count on")
    assert [path.name for path in host.pins.iterdir() if path.name.startswith("tables")] == ["tables-2"]


def test_talkers_of_another_size_start_afresh_and_the_rest_goes_on(host: Host, kernel: RealKernel, wire: None) -> None:
    kernel.attach("xf1", AttachMode.NATIVE)
    with Sender("xf0") as sender:
        sender.send([frame("192.0.2.1")] * 2)
    eventually(lambda: kernel.read_tally("xf1")[0, 0] == 2, "two frames pass")
    kernel.stop(detach=False)
    more = host.kernel(replace(SMALL, talkers=2 * SMALL.talkers))
    assert more.start().adopted
    more.activate()
    assert len(more.read_talkers("xf1").rows()) == 0
    assert more.read_tally("xf1")[0, 0] == 2
    with Sender("xf0") as sender:
        sender.send([frame("192.0.2.1")])
    eventually(lambda: len(more.read_talkers("xf1").rows()) == 1, "the new table fills")
    assert more.read_tally("xf1")[0, 0] == 3


def test_another_program_takes_over_in_place(
    host: Host, kernel: RealKernel, wire: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.execute(insert("203.0.113.0/24", 1), 2)
    before = kernel.attach("xf1", AttachMode.NATIVE)
    with Sender("xf0") as sender:
        sender.send([frame("203.0.113.9")] * 2)
    eventually(lambda: kernel.read_tally("xf1")[BLOCK_ROW, 2] == 2, "two frames are dropped")
    kernel.stop(detach=False)

    real = programs.inline
    monkeypatch.setattr(programs, "inline", lambda path: real(path) + "/* a later version */\n")
    upgraded = host.kernel()
    assert upgraded.start().adopted
    (after,) = upgraded.activate()
    assert after.program_id != before.program_id
    assert running("xf1") == after.program_id
    assert upgraded.read_tally("xf1")[BLOCK_ROW, 2] == 2
    assert cause(upgraded, "203.0.113.9") == BLOCK_ROW
    upgraded.stop(detach=False)
    same = host.kernel()
    same.start()
    assert [now.program_id for now in same.activate()] == [after.program_id]


def test_broken_pins_are_replaced(host: Host, kernel: RealKernel, wire: None) -> None:
    kernel.attach("xf1", AttachMode.NATIVE)
    kernel.stop(detach=False)
    (host.pins / "tables-1" / "trie6").unlink()
    repaired = host.kernel()
    started = repaired.start()
    assert not started.adopted and started.reason
    repaired.execute([plain.memberships(), plain.policy(0), plain.policy(1)], 1)
    (attached,) = repaired.activate()
    assert attached.mode is AttachMode.NATIVE
    assert cause(repaired, "192.0.2.1") == Reason.DEFAULT


def test_tables_that_were_never_in_force_are_not_adopted(host: Host) -> None:
    first = host.kernel()
    first.start()
    first.execute([WriteLeaves(0, ids(1), ids(0)), InsertPrefixes(4, keys("10.0.0.0/8"), ids(1))], 1)
    first.stop(detach=False)
    second = host.kernel()
    assert not second.start().adopted
    second.activate()
    assert [path.name for path in host.pins.iterdir() if path.name.startswith("tables")] == ["tables-2"]


def test_large_tables_are_not_this_processes_memory(host: Host) -> None:
    """Pages of maps count as resident from the moment they are mapped: 144 MB with the default limits on 2 CPUs."""

    def mapped() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssFile:")) // 1024

    before = mapped()
    kernel = host.kernel(Limits())
    plain.start(kernel)
    kernel.execute(insert("203.0.113.1", 1), 2)
    kernel.read_leaves(plain.leaf_range(1000))
    assert mapped() - before < 24


def test_no_descriptor_is_left_open(host: Host) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def once() -> None:
        kernel = host.kernel()
        kernel.start()
        kernel.activate()
        kernel.judge(frame("192.0.2.1"))
        kernel.stop(detach=False)

    once()
    before = descriptors()
    once()
    assert descriptors() == before


def test_a_start_that_fails_lets_go_of_everything(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MapFull("no memory for the map leaf")

    before = sorted(path.name for path in Path("/proc/self/fd").iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(libbpf, "pin", refuse)
        with pytest.raises(MapFull, match="no memory"):
            host.kernel().start()
    assert sorted(path.name for path in Path("/proc/self/fd").iterdir()) == before
    assert not list(host.pins.glob("tables-*"))
    assert not host.kernel().start().adopted


def test_a_link_is_never_held_open(kernel: RealKernel, host: Host, wire: None) -> None:
    """So that unpinning it detaches, also under a running daemon (detach --offline)."""
    kernel.attach("xf1", AttachMode.NATIVE)
    assert link_state(host.pins / "links" / "xf1") is not None
    (host.pins / "links" / "xf1").unlink()

    def gone() -> bool:
        seen = netlink.find("xf1")
        return seen is not None and seen.link.xdp_program is None

    eventually(gone, "the program is off the interface")
    assert kernel.attachments() == []
    assert list(libbpf.program_ids())
