# SPDX-License-Identifier: Apache-2.0
"""Back to an earlier revision: policy, definitions and replaced lists, under entries that others wrote since."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.hand_clock import HandClock
from xdpfw.kernel.fake import FakeKernel, fake_link
from xdpfw.model.errors import Conflict, Guarded, InvalidInput, NotFound
from xdpfw.model.policy import Claim
from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.requests import WriteOptions
from xdpfw.model.rule import Mode
from xdpfw.model.rule_form import parse_rules
from xdpfw.policy.bulk import parse_text
from xdpfw.service import Firewall
from xdpfw.store import ledger
from xdpfw.store.memory import MemoryStore
from xdpfw.store.port import STEPS, Store
from xdpfw.store.sqlite import SqliteStore

FORCE = WriteOptions(force=True)


class World:
    def __init__(self, path: Path | None) -> None:
        self.path, self.clock = path, HandClock()
        self.kernel = FakeKernel([fake_link("wan0", 2)], clock=self.clock.wall)
        self.store: Store = MemoryStore()

    async def restart(self) -> None:
        if self.path:
            self.store.close()
            self.store = SqliteStore(self.path)
        self.firewall = Firewall(self.kernel, self.store, clock=self.clock)
        await self.firewall.load()

    async def bulk(self, name: str, *prefixes: str, origin: str | None = None) -> int:
        bulk = parse_text("\n".join(prefixes).encode())
        await self.firewall.replace_entries(name, bulk, origin=origin, ttl=None, opts=FORCE)
        return self.firewall.revision

    async def put(self, name: str, prefix: str, **said: Any) -> None:
        fields = {"ttl": None, "expires_at": None, "comment": "", "origin": "manual"} | said
        await self.firewall.put_entry(name, Prefix.parse(prefix), opts=FORCE, **fields)

    async def remove(self, name: str, prefix: str) -> None:
        await self.firewall.delete_entry(name, Prefix.parse(prefix), None, FORCE)

    def prefixes(self, name: str) -> set[str]:
        return {str(e.prefix) for e in self.firewall.state.sets.entries(name, after=None, limit=10**6)}

    def policy(self) -> Any:
        """All that going back is about."""
        sets = self.firewall.state.sets
        definitions = {info.name: info.comment for info in sets.infos()}
        return self.firewall.state.policy, definitions, {name: self.claims(name) for name in definitions}

    def claims(self, name: str) -> list[Claim]:
        entries = self.firewall.state.sets.entries(name, after=None, limit=10**6)
        found = [replace(claim, added=0) for entry in entries for claim in entry.claims]
        return sorted(found, key=lambda claim: (claim.prefix, claim.origin))


Test = Callable[[World], Awaitable[None]]


@pytest.fixture(params=["sqlite", "memory"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Test], None]:
    def run(test: Test) -> None:
        async def body() -> None:
            world = World(tmp_path / "db" if request.param == "sqlite" else None)
            await world.restart()
            await test(world)
            world.store.close()

        asyncio.run(body())

    return run


def rule(id: str, **said: Any) -> Any:
    return parse_rules([{"id": id, "action": "drop"} | said])


async def random_step(world: World, chance: random.Random) -> None:
    """Something that is a revision of the policy."""
    firewall, names = world.firewall, world.firewall.state.sets.names()
    name = chance.choice(names)
    kind = chance.choice(("rules", "default", "create", "describe", "delete", "bulk", "bulk", "origin"))
    if kind == "rules":
        count = chance.randint(0, 4)
        source = chance.choice(("allow", "10.0.0.0/8"))
        documents = [{"id": f"r{n}", "action": "drop", "match": {"source": source}} for n in range(count)]
        await firewall.put_rules(parse_rules(documents), FORCE)
    elif kind == "default":
        verdict, mode = chance.choice(list(Verdict)), chance.choice(list(Mode))
        await firewall.patch_policy(verdict, mode, [chance.randint(0x600, 0x700)], FORCE)
    elif kind == "create":
        await firewall.put_set(f"s{chance.randint(0, 5)}", chance.choice(("", "c", "d")), FORCE)
    elif kind == "describe":
        await firewall.put_set(name, f"comment {chance.randint(0, 3)}", FORCE)
    elif kind == "delete" and name not in ("allow", "block"):
        await firewall.delete_set(name, FORCE)
    else:
        count = chance.choice((0, 1, 50))
        prefixes = {f"10.{chance.randint(0, 3)}.{chance.randint(0, 30)}.0/24" for _ in range(count)}
        await world.bulk(name, *prefixes, origin="feed" if kind == "origin" else None)


@pytest.mark.parametrize("seed", range(6))
def test_any_revision_comes_back_exactly(run: Callable[[Test], None], seed: int) -> None:
    async def test(world: World) -> None:
        chance = random.Random(seed)
        states = {0: world.policy()}
        for _ in range(25):
            await random_step(world, chance)
            states[world.firewall.revision] = world.policy()
            if chance.random() < 0.1:
                await world.restart()
        for revision in chance.sample(sorted(states), min(8, len(states))):
            await world.firewall.roll_back(revision, FORCE)
            assert world.policy() == states[revision]
            states[world.firewall.revision] = world.policy()
            await world.restart()
            assert world.policy() == states[revision]

    run(test)


def test_single_entries_are_not_touched_whatever_became_of_the_lists(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        await world.put("block", "192.0.2.1")
        first = await world.bulk("block", "10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", origin="feed")
        await world.put("block", "192.0.2.2", ttl=600)
        await world.bulk("block", "10.0.1.0/24", "10.0.3.0/24", "10.0.4.0/24", origin="feed")
        await world.put("block", "10.0.3.0/24", origin="feed", comment="known otherwise")
        await world.remove("block", "10.0.4.0/24")
        await world.remove("block", "192.0.2.1")
        await world.put("block", "10.0.0.0/24", origin="feed", ttl=60)
        await world.firewall.roll_back(first, FORCE)
        expected = {"10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24", "10.0.3.0/24", "192.0.2.2/32"}
        assert world.prefixes("block") == expected
        assert next(c for c in world.claims("block") if str(c.prefix) == "10.0.0.0/24").expires

    run(test)


def test_a_set_that_was_not_there_stays_while_somebody_put_something_in(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        for name in ("a", "b"):
            await world.firewall.put_set(name, "", FORCE)
            await world.bulk(name, "10.0.0.0/8")
        await world.put("a", "192.0.2.1")
        await world.firewall.roll_back(0, FORCE)
        assert world.firewall.state.sets.names() == ["allow", "block", "a"]
        assert world.prefixes("a") == {"192.0.2.1/32"}

    run(test)


def test_a_deleted_set_comes_back_with_its_entries_but_for_those_that_ran_out(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        await world.firewall.put_set("a", "comment", FORCE)
        await world.put("a", "192.0.2.1", ttl=60)
        await world.put("a", "192.0.2.2", ttl=6000, comment="c", origin="o")
        revision = world.firewall.revision
        before = world.claims("a")
        await world.firewall.delete_set("a", FORCE)
        world.clock.advance(100)
        world.clock.step(1000)
        await world.firewall.expire()
        await world.firewall.roll_back(revision, FORCE)
        [claim] = world.claims("a")
        assert claim == replace(before[1], expires=(before[1].expires or 0) + 1000 * 10**9)

    run(test)


def test_bans_and_single_entries_use_up_no_revisions(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        await world.firewall.put_rules(rule("one"), FORCE)
        revision = world.firewall.revision
        for number in range(2 * STEPS):
            await world.put("block", f"192.0.2.{number}")
        await world.firewall.put_rules(rule("two"), FORCE)
        await world.firewall.roll_back(revision, FORCE)
        assert [r.id for r in world.firewall.state.policy.rules] == ["one"]
        assert len(world.prefixes("block")) == 2 * STEPS

    run(test)


def test_the_last_hundred_are_kept(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        firewall = world.firewall
        for number in range(STEPS + 20):
            await firewall.put_set("block", f"comment {number}", FORCE)
        views = await firewall.revisions()
        assert [view.revision for view in views] == [*range(STEPS + 20, 19, -1)]
        with pytest.raises(NotFound, match="back to 20"):
            await firewall.roll_back(19, FORCE)
        with pytest.raises(InvalidInput, match="not reached yet"):
            await firewall.roll_back(STEPS + 21, FORCE)
        await firewall.roll_back(20, FORCE)
        assert firewall.state.sets.info("block").comment == "comment 19"
        again = await firewall.roll_back(firewall.revision, FORCE)
        assert not again.changed

    run(test)


def test_going_back_can_be_taken_back_and_need_be_confirmed(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        firewall = world.firewall
        await firewall.put_rules(rule("one"), FORCE)
        one = world.policy()
        await firewall.put_rules(rule("two"), FORCE)
        two, revision = world.policy(), firewall.revision
        view = await firewall.roll_back(1, replace(FORCE, confirm_within=60))
        assert world.policy() == one and view.confirmation
        with pytest.raises(Conflict):
            await firewall.roll_back(0, FORCE)
        world.clock.advance(60)
        await firewall.take_back_overdue()
        assert world.policy() == two
        await firewall.roll_back(1, FORCE)
        await firewall.roll_back(revision, FORCE)
        assert world.policy() == two

    run(test)


def test_a_dry_run_tells_and_changes_nothing(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        await world.firewall.put_rules(rule("one"), FORCE)
        before = world.policy(), world.firewall.revision
        view = await world.firewall.roll_back(0, replace(FORCE, dry_run=True))
        assert view.changed and {each.path for each in view.differences} == {"rules/one", "rules/allow", "rules/block"}
        assert (world.policy(), world.firewall.revision) == before

    run(test)


def test_nobody_is_locked_out_by_going_back(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        world.kernel.peer_addresses = ["192.0.2.7"]
        await world.firewall.put_rules(rule("all"), FORCE)
        await world.firewall.put_rules([], FORCE)
        with pytest.raises(Guarded, match=r"192\.0\.2\.7"):
            await world.firewall.roll_back(1, WriteOptions())

    run(test)


def test_lists_beyond_the_budget_are_dropped_oldest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "KEPT_BYTES", 60_000)

    async def test() -> None:
        world = World(tmp_path / "db")
        await world.restart()
        await world.firewall.put_rules(rule("one"), FORCE)
        for number in range(8):
            await world.bulk("block", *(f"10.{number}.{n >> 8}.{n & 255}" for n in range(1000)))
        views = await world.firewall.revisions()
        assert views[0].whole and not views[-1].whole
        assert [view.whole for view in views] == sorted((view.whole for view in views), reverse=True)
        newest = next(view.revision for view in views if not view.whole) + 1
        await world.firewall.roll_back(newest, FORCE)
        assert {p.split(".")[1] for p in world.prefixes("block")} == {str(newest - 2)}
        with pytest.raises(Guarded, match="not kept any more"):
            await world.firewall.roll_back(0, WriteOptions())
        await world.firewall.roll_back(0, FORCE)
        assert [r.id for r in world.firewall.state.policy.rules] == ["allow", "block"]
        assert (tmp_path / "db").stat().st_size < 2 << 20
        world.store.close()

    asyncio.run(test())


def test_texts_are_those_of_then_also_when_their_numbers_mean_others_now(tmp_path: Path) -> None:
    async def test() -> None:
        world = World(tmp_path / "db")
        await world.restart()
        for number in range(20):
            await world.put("block", f"192.0.2.{number}", comment=f"comment {number}", origin=f"origin-{number}")
        before, revision = world.claims("block"), world.firewall.revision
        await world.bulk("block")
        for restart in range(3):  # unused texts are forgotten, and their numbers given out again
            await world.restart()
            await world.put("allow", f"198.51.100.{restart}", comment=f"another {restart}", origin=f"other-{restart}")
        await world.firewall.roll_back(revision, FORCE)
        assert world.claims("block") == before
        await world.restart()
        assert world.claims("block") == before
        world.store.close()

    asyncio.run(test())
