# SPDX-License-Identifier: Apache-2.0
"""The daemon's list of bans: what it shows, what it tells the store, what it brings back."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.hand_clock import HandClock
from xdpfw.bans import HITS_EVERY, BanList
from xdpfw.clock import SECOND
from xdpfw.kernel.fake_bans import FakeBans
from xdpfw.model.ban import BANNED, Ban
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Prefix
from xdpfw.model.rule_form import parse_rules
from xdpfw.store.memory import MemoryStore
from xdpfw.store.port import StoredChange
from xdpfw.store.sqlite import SqliteStore

HOUR = 3600
POLICY = Policy(
    rules=parse_rules([{"id": "web", "action": "limit", "comment": "why", "limit": {"rate": 1, "ban": HOUR}}])
).following(Policy())
SLOT = POLICY.slots.of["web"]


class Daemon:
    """A list on a fake table; `store` is what the store was told."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.table = FakeBans(10, self.clock.wall)
        self.list = BanList(lambda: self.table, self.clock)
        self.store: dict[Prefix, Ban] = {}

    def look(self, policy: Policy = POLICY) -> int:
        """How many bans the store is told of, gone ones too."""
        look = self.list.look(policy)
        for prefix, ban in look.stored.items():
            if ban is None:
                del self.store[prefix]
            else:
                self.store[prefix] = ban
        if look.stored:
            self.list.stored(look)
        return len(look.stored)

    def shown(self) -> list[str]:
        return [str(entry.prefix) for entry in self.list.sets.entries(BANNED, after=None, limit=100)]


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


def test_bans_of_both_families_show_in_order_with_rule_and_comment(daemon: Daemon) -> None:
    for address, length in (("2001:db8::1", 64), ("192.0.2.7", 128), ("10.1.2.3", 96 + 16), ("::1", 128)):
        daemon.table.ban(address, SLOT, HOUR, length)
    assert daemon.look() == 4
    assert daemon.shown() == ["10.1.0.0/16", "192.0.2.7/32", "::1/128", "2001:db8::/64"]
    [entry] = daemon.list.sets.entries(BANNED, after=None, limit=1)
    assert (entry.claims[0].origin, entry.claims[0].comment) == ("rule:web", "why")
    assert entry.expires == daemon.clock.wall() + HOUR * SECOND
    assert set(map(str, daemon.store)) == set(daemon.shown())


def test_nothing_new_is_neither_looked_at_nor_stored(daemon: Daemon) -> None:
    daemon.table.ban("192.0.2.7", SLOT, HOUR)
    assert daemon.list.stirred(POLICY)
    assert daemon.look() == 1
    assert not daemon.list.stirred(POLICY)
    assert daemon.look() == 0
    daemon.table.ban("192.0.2.8", SLOT, HOUR)
    assert daemon.list.stirred(POLICY) and daemon.look() == 1


def test_what_has_run_out_goes_everywhere(daemon: Daemon) -> None:
    daemon.table.ban("192.0.2.7", SLOT, 10)
    daemon.table.ban("192.0.2.8", SLOT, 20)
    daemon.look()
    daemon.clock.advance(10)
    assert daemon.list.stirred(POLICY) and daemon.look() == 1
    assert daemon.shown() == ["192.0.2.8/32"] and len(daemon.table.read()) == 1
    assert list(map(str, daemon.store)) == ["192.0.2.8/32"]


def test_what_bans_count_is_stored_now_and_then(daemon: Daemon) -> None:
    daemon.table.ban("192.0.2.7", SLOT, HOUR)
    daemon.look()
    daemon.table.hit("192.0.2.7", 100)
    assert daemon.look() == 0
    daemon.clock.advance(HITS_EVERY / SECOND)
    assert daemon.list.stirred(POLICY) and daemon.look() == 1
    assert daemon.store[Prefix.parse("192.0.2.7")].packets == 1
    assert daemon.list.hits([Prefix.parse("192.0.2.7"), Prefix.parse("192.0.2.8")]) == [(1, 100), (0, 0)]


def test_bans_come_back_with_the_time_that_was_left(daemon: Daemon) -> None:
    for seconds, address in ((HOUR, "192.0.2.7"), (60, "192.0.2.8")):
        daemon.table.ban(address, SLOT, seconds)
    daemon.table.hit("192.0.2.7", 100)
    daemon.look()
    daemon.clock.advance(120)
    daemon.table = FakeBans(10, daemon.clock.wall)
    again = BanList(lambda: daemon.table, daemon.clock)
    assert again.restore(daemon.store.values(), POLICY, 0) == 0
    [row] = daemon.table.read()
    assert row["expires"] - daemon.clock.wall() == (HOUR - 120) * SECOND
    assert row["packets"] == 1
    look = again.look(POLICY)
    assert [str(prefix) for prefix, ban in look.stored.items() if ban is None] == ["192.0.2.8/32"]


def test_a_step_of_the_clock_while_away_moves_them_along(daemon: Daemon) -> None:
    daemon.table.ban("192.0.2.7", SLOT, HOUR)
    daemon.look()
    daemon.clock.step(-1000)
    daemon.table = FakeBans(10, daemon.clock.wall)
    again = BanList(lambda: daemon.table, daemon.clock)
    again.restore(daemon.store.values(), POLICY, -1000 * SECOND)
    [row] = daemon.table.read()
    assert row["expires"] - daemon.clock.wall() == HOUR * SECOND
    assert len(again.look(POLICY).stored) == 1, "the store learns the time by the clock as it is now"


def test_what_finds_no_room_is_told(daemon: Daemon) -> None:
    many = [Ban(Prefix.parse(f"192.0.2.{n}"), "web", daemon.clock.wall() + SECOND, 0) for n in range(12)]
    assert daemon.list.restore(many, POLICY, 0) == 2


def test_bans_of_rules_that_are_gone_are_lifted(daemon: Daemon) -> None:
    daemon.table.ban("192.0.2.7", SLOT, HOUR)
    daemon.look()
    other = Policy(rules=()).following(POLICY)
    assert daemon.list.stirred(other) and daemon.look(other) == 1
    assert daemon.shown() == [] and not daemon.store and not len(daemon.table.read())


def test_both_stores_keep_bans(tmp_path: Path) -> None:
    first, second, third = (
        Ban(Prefix.parse(text), "rule", 2**62, 5, packets, 64 * packets)
        for packets, text in enumerate(("192.0.2.7", "2001:db8::/64", "10.0.0.0/24"))
    )
    later = replace(second, packets=99)
    on_disk = SqliteStore(tmp_path / "db")
    for store in (MemoryStore(), on_disk):
        store.load()
        store.save(StoredChange(1, bans={ban.prefix: ban for ban in (first, second, third)}))
        store.save(StoredChange(1, bans={first.prefix: None, second.prefix: later}))
        assert store.load().bans == {second.prefix: later, third.prefix: third}
    on_disk.close()
    with closing(SqliteStore(tmp_path / "db")) as again:
        assert again.load().bans == {second.prefix: later, third.prefix: third}
