# SPDX-License-Identifier: Apache-2.0
"""What the daemon does by itself, and what it does when store or kernel refuse: on the fakes, with a clock in hand."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps

import pytest

from tests.hand_clock import HandClock
from tests.packets import ethernet, ip, udp
from xdpfw.kernel.fake import FakeKernel, fake_link
from xdpfw.life import attach_wanted
from xdpfw.model.errors import KernelError, MapFull, NotFound, StoreError
from xdpfw.model.interface import AttachMode, ForeignProgram
from xdpfw.model.prefix import Prefix
from xdpfw.model.requests import WriteOptions
from xdpfw.policy.ops import DeletePrefixes, InsertPrefixes, WriteLeaves
from xdpfw.service import Firewall, upkeep
from xdpfw.store.memory import MemoryStore
from xdpfw.store.port import StoredChange

NO = WriteOptions()
P = Prefix.parse("203.0.113.0/24")


class BrokenStore(MemoryStore):
    broken = False

    def save(self, change: StoredChange) -> None:
        if self.broken:
            raise StoreError("no space left on device")
        super().save(change)


@dataclass
class World:
    clock: HandClock
    kernel: FakeKernel
    store: BrokenStore
    firewall: Firewall

    async def restart(self) -> None:
        """As after a crash: nothing but kernel and store is left."""
        self.firewall = Firewall(self.kernel, self.store, clock=self.clock)
        await self.firewall.load()

    async def put(self, prefix: Prefix = P, *, ttl: int | None = None) -> None:
        await self.firewall.put_entry(
            "block", prefix, ttl=ttl, expires_at=None, comment="", origin="manual", opts=WriteOptions(force=True)
        )

    def drops(self, prefix: Prefix = P) -> bool:
        source = ipaddress.ip_address(prefix.address)
        frame = ethernet(ip(str(source), udp()))
        return self.kernel.judge(frame).verdict == "drop"


def run(test: Callable[[World], Awaitable[None]]) -> None:
    async def body() -> None:
        clock = HandClock()
        kernel = FakeKernel([fake_link("wan0", 2)], clock=clock.wall)
        world = World(clock, kernel, BrokenStore(), Firewall(kernel, BrokenStore(), clock=clock))
        await world.restart()
        await test(world)

    asyncio.run(body())


def test_an_entry_runs_out_in_the_packet_path_and_is_cleared_away_after():
    async def test(world: World) -> None:
        await world.put(ttl=60)
        revision = world.firewall.revision
        world.clock.advance(59)
        await world.firewall.expire()
        assert world.drops()
        world.clock.advance(1.5)
        assert not world.drops()
        await world.firewall.expire()
        with pytest.raises(NotFound):
            await world.firewall.entry("block", P)
        assert world.firewall.revision == revision
        assert world.store.load().sets.entry("block", P) is None

    run(test)


@pytest.mark.parametrize("step", [3600, -3600])
def test_a_step_of_the_wall_clock_neither_shortens_nor_lengthens(step):
    async def test(world: World) -> None:
        await world.put(ttl=60)
        world.clock.advance(20)
        world.clock.step(step)
        await world.firewall.expire()
        assert (await world.firewall.entry("block", P)).ttl == 40
        world.clock.advance(39)
        await world.firewall.expire()
        assert world.drops()
        world.clock.advance(2)
        await world.firewall.expire()
        assert not world.drops()
        with pytest.raises(NotFound):
            await world.firewall.entry("block", P)

    run(test)


@pytest.mark.parametrize("step", [3600, -3600])
def test_a_step_while_the_daemon_was_away_is_noticed_within_the_same_boot(step):
    async def test(world: World) -> None:
        await world.put(ttl=60)
        world.clock.advance(20)
        world.clock.step(step)
        await world.restart()
        assert (await world.firewall.entry("block", P)).ttl == 40
        assert world.drops()

    run(test)


def test_what_ran_out_while_the_daemon_was_away_is_gone_after_a_restart():
    async def test(world: World) -> None:
        await world.put(ttl=60)
        await world.put(Prefix.parse("2001:db8::/32"))
        world.clock.advance(61)
        await world.restart()
        assert not world.drops()
        assert world.drops(Prefix.parse("2001:db8::/32"))
        assert world.store.load().sets.entry("block", P) is None

    run(test)


@pytest.mark.parametrize("error", [KernelError("no"), MapFull("trie4 is full")])
@pytest.mark.parametrize("op", [InsertPrefixes, WriteLeaves])
def test_what_the_kernel_refuses_is_taken_back_from_the_store(op, error):
    async def test(world: World) -> None:
        await world.put(Prefix.parse("192.0.2.0/24"))
        before = world.firewall.state
        world.kernel.fail_next(op, error)
        with pytest.raises(type(error)):
            await world.put()
        assert world.firewall.state is before
        assert not world.drops() and world.drops(Prefix.parse("192.0.2.0/24"))
        saved = world.store.load()
        assert saved.revision == before.revision
        assert saved.sets.entry("block", P) is None
        await world.put()
        assert world.drops()

    run(test)


def test_what_the_store_refuses_never_reaches_a_packet():
    async def test(world: World) -> None:
        world.store.broken = True
        operations = world.kernel.map_operations
        with pytest.raises(StoreError):
            await world.put()
        assert world.kernel.map_operations == operations
        world.store.broken = False
        await world.put()
        assert world.drops()

    run(test)


def test_a_refused_removal_keeps_dropping():
    async def test(world: World) -> None:
        await world.put()
        world.kernel.fail_next(DeletePrefixes, KernelError("no"))
        with pytest.raises(KernelError):
            await world.firewall.delete_entry("block", P, None, NO)
        assert world.drops()
        assert world.store.load().sets.entry("block", P) is not None

    run(test)


def test_an_interface_that_comes_back_is_attached_by_the_news_of_it():
    async def test(world: World) -> None:
        await world.firewall.attach("wan0", AttachMode.AUTO, NO)
        upkeep = asyncio.create_task(world.firewall.run_upkeep())
        try:
            await asyncio.sleep(0)
            world.kernel.set_links([])
            await until(lambda: not world.firewall.interfaces.attached)
            assert (await world.firewall.problems()) == []
            world.kernel.set_links([fake_link("wan0", 7)])
            await until(lambda: "wan0" in world.firewall.interfaces.attached)
            assert (await world.firewall.interface("wan0")).index == 7
        finally:
            upkeep.cancel()
            await asyncio.gather(upkeep, return_exceptions=True)

    run(test)


def test_an_interface_of_the_settings_that_cannot_be_attached_keeps_the_daemon_from_being_ready():
    async def test(world: World) -> None:
        world.kernel.foreign["wan0"] = ForeignProgram(77, "other")
        await attach_wanted(world.firewall, (("wan0", AttachMode.AUTO), ("lan9", AttachMode.NATIVE)))
        [problem] = await world.firewall.problems()
        assert "wan0" in problem and "77" in problem
        assert world.firewall.interfaces.desired == {"lan9": AttachMode.NATIVE}
        del world.kernel.foreign["wan0"]
        await world.firewall.attach("wan0", AttachMode.AUTO, NO)
        assert await world.firewall.problems() == []

    run(test)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


JOBS = (
    "expire", "take_back_overdue", "reconcile", "follow_links", "look_for_drift", "settle", "trim",
    "read_events", "write_notes", "take_readings",
)  # fmt: skip
WAITING = ("follow_links", "read_events")
"""Jobs that wait for somebody else once they go well."""


@pytest.mark.parametrize("job", JOBS)
def test_a_defect_in_one_job_is_told_and_stops_nothing_else(job, monkeypatch, caplog):
    for pause in (
        "AFTER_DEFECT",
        *(name for name in vars(upkeep) if name.endswith("_EVERY") and name != "WIDEN_EVERY"),
    ):
        monkeypatch.setattr(upkeep, pause, 0.02)
    met, cured, sound, name = 0, False, getattr(Firewall, job), job.replace("_", " ")

    @wraps(sound)
    async def broken(self: Firewall) -> None:
        nonlocal met
        if cured:
            return await sound(self)
        met += 1
        raise ZeroDivisionError("nobody thought of this")

    async def test(world: World) -> None:
        nonlocal cured
        monkeypatch.setattr(Firewall, job, broken)
        running = asyncio.create_task(world.firewall.run_upkeep())
        try:
            await until(lambda: met > 1)
            assert not running.done()
            [problem] = [told for told in await world.firewall.problems() if told.startswith(name)]
            assert "fails by a defect" in problem and "ZeroDivisionError" in problem
            assert not (await world.firewall.status()).ready
            await world.put()
            assert world.drops()
            [told] = [record for record in caplog.records if record.exc_info and record.message.startswith(name)]
            assert told.levelname == "ERROR" and "nobody thought of this" in caplog.text

            cured = True
            if job in WAITING:
                return
            await until(lambda: not world.firewall.troubles.problems)
            assert any(name in warning for warning in (await world.firewall.status()).warnings)
            world.clock.advance(3601)
            assert (await world.firewall.status()).warnings == []
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run(test)


def test_what_says_what_helps_is_a_warning_while_it_lasts(caplog):
    async def test(world: World) -> None:
        await world.put(ttl=60)
        world.clock.advance(61)
        world.store.broken = True
        running = asyncio.create_task(world.firewall.run_upkeep())
        try:
            await until(lambda: bool(world.firewall.troubles.warnings))
            await asyncio.sleep(3 * upkeep.EXPIRE_EVERY)
            status = await world.firewall.status()
            assert status.ready and status.warnings == ["expire fails: no space left on device"]
            assert caplog.text.count("no space left on device") == 1, "said once, not four times a second"
            world.store.broken = False
            await until(lambda: not world.firewall.troubles.warnings)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    run(test)
