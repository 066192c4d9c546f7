# SPDX-License-Identifier: Apache-2.0
"""Changes that hold only if they are confirmed: silence, steps of the clock, restarts, reboots; what others write
meanwhile stays."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.hand_clock import HandClock
from xdpfw.clock import ClockAnchor
from xdpfw.kernel.fake import FakeKernel, fake_link
from xdpfw.model.errors import Conflict, KernelError, MapFull, NotFound, StoreError
from xdpfw.model.interface import AttachMode
from xdpfw.model.ledger import AuditQuery
from xdpfw.model.policy import Claim
from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.requests import WriteOptions
from xdpfw.model.rule import Mode
from xdpfw.model.rule_form import parse_rules
from xdpfw.policy.bulk import parse_text
from xdpfw.policy.ops import Flip, InsertPrefixes
from xdpfw.service import Firewall
from xdpfw.store.sqlite import SqliteStore

NOW = WriteOptions(force=True)
WINDOW = 60
SOON = WriteOptions(force=True, confirm_within=WINDOW)
P, Q = Prefix.parse("203.0.113.0/24"), Prefix.parse("2001:db8::/32")


@dataclass
class World:
    path: Path
    clock: HandClock
    kernel: FakeKernel
    firewall: Firewall

    async def restart(self, *, reboot: bool = False) -> None:
        """As after a crash; after a reboot the kernel has forgotten everything too."""
        self.firewall.store.close()
        if reboot:
            self.kernel = kernel(self.clock)
        self.firewall = Firewall(self.kernel, SqliteStore(self.path), clock=self.clock)
        await self.firewall.load()

    async def put(self, prefix: Prefix, opts: WriteOptions, name: str = "block", *, ttl: int | None = None) -> None:
        await self.firewall.put_entry(name, prefix, ttl=ttl, expires_at=None, comment="c", origin="manual", opts=opts)

    async def bulk(self, opts: WriteOptions, *prefixes: str, origin: str | None = None) -> None:
        bulk = parse_text("\n".join(prefixes).encode())
        await self.firewall.replace_entries("block", bulk, origin=origin, ttl=None, opts=opts)

    def seen(self, *, added: bool = True) -> Any:
        """All that a confirmation is about, as it is in force and as it is stored."""
        saved = self.firewall.store.load() if isinstance(self.firewall.store, SqliteStore) else None
        assert saved
        assert saved.policy == self.firewall.state.policy
        assert saved.interfaces == self.firewall.interfaces.desired
        assert contents(saved.sets, added) == contents(self.firewall.state.sets, added)
        attached = {name: each.mode for name, each in self.firewall.interfaces.attached.items()}
        return saved.policy, saved.interfaces, attached, contents(saved.sets, added), saved.pending


def contents(sets: Any, added: bool) -> Any:
    def claims(entry: Any) -> list[Claim]:
        found = sorted(entry.claims, key=lambda claim: claim.origin)
        return found if added else [replace(claim, added=0) for claim in found]

    return {
        info.name: (info.comment, [claims(e) for e in sets.entries(info.name, after=None, limit=10**6)])
        for info in sets.infos()
    }


def kernel(clock: HandClock) -> FakeKernel:
    return FakeKernel([fake_link("wan0", 2), fake_link("lan0", 3)], clock=clock.wall)


Test = Callable[[World], Awaitable[None]]


def run(tmp_path: Path, test: Test) -> None:
    async def body() -> None:
        clock = HandClock()
        path = tmp_path / "db"
        world = World(path, clock, kernel(clock), Firewall(kernel(clock), SqliteStore(path), clock=clock))
        await world.restart()
        await world.firewall.attach("lan0", AttachMode.AUTO, NOW)
        await world.firewall.put_set("old", "a comment", NOW)
        await world.put(P, NOW, "old", ttl=3600)
        await world.put(Q, NOW)
        await test(world)
        world.firewall.store.close()

    asyncio.run(body())


RULES = parse_rules([{"id": "web", "match": {"source": ["old"]}, "action": "drop"}])
CHANGES: dict[str, Callable[[World], Awaitable[object]]] = {
    "an entry": lambda w: w.put(P, SOON),
    "an entry with another end": lambda w: w.put(P, SOON, "old", ttl=900),
    "an entry taken out": lambda w: w.firewall.delete_entry("old", P, None, SOON),
    "a list": lambda w: w.bulk(SOON, *(f"10.0.{n}.0/24" for n in range(200))),
    "a list of one origin": lambda w: w.bulk(SOON, "10.0.0.0/8", str(Q), origin="feed"),
    "an empty list": lambda w: w.bulk(SOON),
    "a long list": lambda w: w.bulk(SOON, *(f"10.{n >> 8}.{n & 255}.0/24" for n in range(8000))),
    "rules": lambda w: w.firewall.put_rules(RULES, SOON),
    "the default": lambda w: w.firewall.patch_policy(Verdict.DROP, Mode.MONITOR, [], SOON),
    "a set": lambda w: w.firewall.put_set("new", "c", SOON),
    "a comment": lambda w: w.firewall.put_set("old", "another", SOON),
    "a set deleted": lambda w: w.firewall.delete_set("old", SOON),
    "attach": lambda w: w.firewall.attach("wan0", AttachMode.NATIVE, SOON),
    "detach": lambda w: w.firewall.detach("lan0", SOON),
    "another mode": lambda w: w.firewall.attach("lan0", AttachMode.GENERIC, SOON),
}


@pytest.fixture(params=CHANGES, ids=lambda name: name.replace(" ", "-"))
def change(request: pytest.FixtureRequest) -> Callable[[World], Awaitable[object]]:
    return CHANGES[request.param]


def test_silence_takes_it_back(tmp_path: Path, change: Callable[[World], Awaitable[object]]) -> None:
    async def test(world: World) -> None:
        before = world.seen()
        await change(world)
        assert world.seen() != before
        world.clock.advance(WINDOW - 1)
        await world.firewall.take_back_overdue()
        assert world.firewall.pending
        world.clock.advance(1)
        await world.firewall.take_back_overdue()
        assert world.seen() == before
        [record, *_] = world.firewall.store.audit(AuditQuery(10))[0]
        assert record.author.name == "xdpfw" and "not confirmed within 60 s" in record.detail

    run(tmp_path, test)


def test_what_is_confirmed_stays(tmp_path: Path, change: Callable[[World], Awaitable[object]]) -> None:
    async def test(world: World) -> None:
        await change(world)
        *changed, pending = world.seen()
        assert pending
        await world.firewall.confirm(pending.id, NOW)
        world.clock.advance(10 * WINDOW)
        await world.firewall.take_back_overdue()
        await world.restart()
        assert world.seen() == (*changed, None)
        with pytest.raises(NotFound):
            await world.firewall.confirm(pending.id, NOW)

    run(tmp_path, test)


@pytest.mark.parametrize("reboot", [False, True])
def test_past_the_deadline_a_start_brings_the_old_state(
    tmp_path: Path, change: Callable[[World], Awaitable[object]], reboot: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(world: World) -> None:
        before = world.seen()
        await change(world)
        world.clock.advance(WINDOW + 1)
        if reboot:
            monkeypatch.setattr("xdpfw.clock.boot_id", lambda: "another")
            world.clock.now -= 4000 * 10**9  # counts from the boot
            world.clock.offset += 4000 * 10**9
        await world.restart(reboot=reboot)
        assert world.seen() == before
        assert world.firewall.warnings

    run(tmp_path, test)


def test_before_the_deadline_a_start_goes_on_waiting(
    tmp_path: Path, change: Callable[[World], Awaitable[object]]
) -> None:
    async def test(world: World) -> None:
        before = world.seen()
        await change(world)
        after = world.seen()
        world.clock.advance(WINDOW / 2)
        await world.restart()
        assert world.seen() == after
        world.clock.advance(WINDOW / 2)
        await world.firewall.take_back_overdue()
        assert world.seen() == before

    run(tmp_path, test)


@pytest.mark.parametrize("step", [3600, -3600])
@pytest.mark.parametrize("restart", [False, True])
def test_a_step_of_the_clock_moves_no_deadline(
    tmp_path: Path, change: Callable[[World], Awaitable[object]], step: int, restart: bool
) -> None:
    async def test(world: World) -> None:
        before = world.seen(added=False)
        await change(world)
        world.clock.step(step)
        if restart:
            await world.restart()
        await world.firewall.expire()
        world.clock.advance(WINDOW - 1)
        await world.firewall.take_back_overdue()
        assert world.firewall.pending
        world.clock.advance(2)
        await world.firewall.take_back_overdue()
        [[claim]] = world.seen(added=False)[3]["old"][1]
        assert claim.expires == before[3]["old"][1][0][0].expires + step * 10**9
        world.clock.step(-step)
        await world.firewall.expire()
        assert world.seen(added=False) == before

    run(tmp_path, test)


def test_a_machine_whose_clock_begins_in_the_past_waits_no_longer_than_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(world: World) -> None:
        await world.put(P, SOON)
        monkeypatch.setattr("xdpfw.clock.boot_id", lambda: "another")
        world.clock.now, world.clock.offset = 10**9, 0
        await world.restart(reboot=True)
        assert world.firewall.pending
        assert world.firewall.time_left(world.firewall.pending) == WINDOW * 10**9
        world.clock.offset = 1_900_000_000 * 10**9  # NTP
        await world.firewall.expire()
        world.clock.advance(WINDOW)
        await world.firewall.take_back_overdue()
        assert world.firewall.state.sets.entry("block", P) is None

    run(tmp_path, test)


def test_what_others_wrote_meanwhile_stays(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        firewall = world.firewall
        await firewall.patch_entries(
            "block", [Claim(Prefix.parse(f"10.0.0.{n}")) for n in range(9)], [Q], longest=True, ignore_missing=False,
            origin="manual",
            opts=SOON,
        )  # fmt: skip
        await world.put(P, NOW)
        await world.bulk(NOW, "192.0.2.0/24", origin="feed")
        await firewall.put_set("mine", "", NOW)
        await firewall.put_rules(RULES, NOW)
        await firewall.attach("wan0", AttachMode.AUTO, NOW)
        for text in ("10.0.0.3", str(Q)):
            with pytest.raises(Conflict, match="not confirmed"):
                await world.put(Prefix.parse(text), NOW)
        with pytest.raises(Conflict, match="not confirmed"):
            await world.bulk(NOW, "10.0.0.0/24", origin="manual")
        with pytest.raises(Conflict, match="one change at a time"):
            await world.put(Prefix.parse("192.0.2.1"), SOON)
        world.clock.advance(WINDOW)
        await firewall.take_back_overdue()
        entries = {str(e.prefix) for e in firewall.state.sets.entries("block", after=None, limit=99)}
        assert entries == {str(P), str(Q), "192.0.2.0/24"}
        assert firewall.state.policy.rules == RULES and "mine" in firewall.state.sets.names()
        assert firewall.interfaces.desired.keys() == {"lan0", "wan0"}

    run(tmp_path, test)


def test_sets_that_rules_may_come_back_to_cannot_go(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        firewall = world.firewall
        await firewall.put_rules(RULES, NOW)
        await firewall.put_rules([], SOON)
        with pytest.raises(Conflict, match="may come back"):
            await firewall.delete_set("old", NOW)
        world.clock.advance(WINDOW)
        await firewall.take_back_overdue()
        assert firewall.state.policy.rules == RULES
        await firewall.put_set("new", "", SOON)
        with pytest.raises(Conflict, match="sets/new"):
            await firewall.put_rules(parse_rules([{"id": "x", "match": {"source": "new"}, "action": "drop"}]), NOW)
        with pytest.raises(Conflict, match="sets/new"):
            await world.put(P, NOW, "new")

    run(tmp_path, test)


def test_what_runs_out_meanwhile_does_not_come_back(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        await world.put(P, NOW, ttl=30)
        await world.bulk(SOON)
        world.clock.advance(WINDOW)
        await world.firewall.take_back_overdue()
        entries = {e.prefix for e in world.firewall.state.sets.entries("block", after=None, limit=99)}
        assert entries == {Q}

    run(tmp_path, test)


def test_a_write_without_effect_waits_for_nobody(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        _, written = await world.firewall.put_set("old", "a comment", SOON)
        assert (written.changed, written.confirmation, world.firewall.pending) == (False, None, None)

    run(tmp_path, test)


@pytest.mark.parametrize("error", [KernelError("no"), MapFull("full")])
@pytest.mark.parametrize("op", [InsertPrefixes, Flip])
def test_what_the_kernel_refuses_leaves_nothing_to_confirm(tmp_path: Path, op: type, error: Exception) -> None:
    async def test(world: World) -> None:
        before = world.seen()
        world.kernel.fail_next(op, error)
        with pytest.raises(type(error)):
            await world.bulk(SOON, "10.0.0.0/8", "10.1.0.0/16")
        assert world.seen() == before
        assert [r for r in world.firewall.store.audit(AuditQuery(99))[0] if r.revision > world.firewall.revision] == []
        await world.bulk(SOON, "10.0.0.0/8", "10.1.0.0/16")
        assert world.firewall.pending

    run(tmp_path, test)


def test_what_cannot_be_taken_back_is_tried_again(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        before = world.seen()
        await world.firewall.patch_policy(Verdict.DROP, None, None, SOON)
        world.clock.advance(WINDOW)
        world.kernel.fail_next(Flip, KernelError("not now"))
        with pytest.raises(KernelError):
            await world.firewall.take_back_overdue()
        assert world.firewall.pending and "not now" in (world.firewall.overdue or "")
        with pytest.raises(Conflict):
            await world.firewall.confirm(world.firewall.pending.id, NOW)
        await world.firewall.take_back_overdue()
        assert world.seen() == before and world.firewall.overdue is None

    run(tmp_path, test)


def test_a_failed_attach_leaves_everything_as_it_was(tmp_path: Path) -> None:
    async def test(world: World) -> None:
        before = world.seen()
        world.kernel.native_refused["wan0"] = "the driver cannot"
        with pytest.raises(KernelError):
            await world.firewall.attach("wan0", AttachMode.NATIVE, SOON)
        assert world.seen() == before

    run(tmp_path, test)


def test_a_full_disk_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(world: World) -> None:
        before = world.seen()

        def full(*_: object) -> None:
            raise StoreError("full")

        with monkeypatch.context() as patched:
            patched.setattr("xdpfw.store.ledger.write", full)
            with pytest.raises(StoreError):
                await world.put(P, SOON)
        assert world.seen() == before and world.firewall.pending is None

    run(tmp_path, test)


def test_the_anchor_of_this_boot_is_the_machines() -> None:
    assert ClockAnchor.take(HandClock()).boot
