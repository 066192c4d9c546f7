# SPDX-License-Identifier: Apache-2.0
"""No kind of change locks out anybody who must stay reachable, unless it is forced."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.hand_clock import HandClock
from xdpfw.kernel.fake import FakeKernel, fake_link
from xdpfw.model.errors import Guarded
from xdpfw.model.interface import AttachMode, Neighbour, Route
from xdpfw.model.policy import Claim
from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.requests import WriteOptions
from xdpfw.model.rule import Mode
from xdpfw.model.rule_form import parse_rule, parse_rules
from xdpfw.policy.bulk import parse_text
from xdpfw.policy.order import Place
from xdpfw.service import Firewall
from xdpfw.store.memory import MemoryStore

FORCE = WriteOptions(force=True)
WAN = Route("wan0", "198.51.100.1")
OWN = [
    {"id": "allow", "action": "pass", "match": {"source": "allow"}},
    {"id": "block", "action": "drop", "match": {"source": "block"}},
]


class World:
    """`who` must stay reachable; `net`: a prefix around it; `opts`: of the request that is not forced."""

    def __init__(self, who: str) -> None:
        self.who = Prefix.parse(who)
        self.address = who
        self.net = Prefix.parse("192.0.2.0/24" if self.who.family == 4 else "2001:db8::/32")
        self.kernel = FakeKernel([fake_link("wan0", 2)])
        self.management: list[Prefix] = []
        self.opts = WriteOptions()

    async def start(self) -> None:
        self.firewall = Firewall(self.kernel, MemoryStore(), clock=HandClock(), management=self.management)
        await self.firewall.load()

    async def put(self, name: str, prefix: Prefix, opts: WriteOptions, ttl: int | None = None) -> None:
        await self.firewall.put_entry(name, prefix, ttl=ttl, expires_at=None, comment="", origin="manual", opts=opts)

    async def rules(self, opts: WriteOptions, *actions: str, **said: Any) -> None:
        """Rules about the prefix, before those that are there."""
        match = {"source": str(self.net)}
        own = [{"id": f"r{n}", "action": action, "match": match} | said for n, action in enumerate(actions)]
        await self.firewall.put_rules(parse_rules([*own, *OWN]), opts)

    async def bulk(self, opts: WriteOptions) -> None:
        bulk = parse_text(f"203.0.113.0/24\n{self.net}".encode())
        await self.firewall.replace_entries("block", bulk, origin=None, ttl=None, opts=opts)

    async def document(self, opts: WriteOptions) -> None:
        document = {"sets": {"block": {"entries": [str(self.net)]}}}
        await self.firewall.put_config(await self.firewall.read_config(document), opts)

    async def default(self, opts: WriteOptions) -> None:
        await self.firewall.patch_policy(Verdict.DROP, None, None, opts)

    async def mode(self, mode: Mode, opts: WriteOptions) -> None:
        await self.firewall.patch_policy(None, mode, None, opts)

    async def state(self) -> Any:
        return self.firewall.state, dict(self.firewall.interfaces.desired)


def a_peer_of_ssh(world: World) -> None:
    world.kernel.peer_addresses = [world.address]


def a_session(world: World) -> None:
    world.opts = WriteOptions(ssh=(world.address, WAN.local or "", 2222))


def whoever_asks(world: World) -> None:
    world.opts = WriteOptions(peer=world.address)


def a_neighbour(role: Any) -> Callable[[World], None]:
    def make(world: World) -> None:
        world.kernel.others = [Neighbour(world.address, role, WAN)]

    return make


def a_management_prefix(world: World) -> None:
    world.management = [world.who]


TARGETS = {
    "whoever asks": whoever_asks,
    "the session": a_session,
    "a peer of ssh": a_peer_of_ssh,
    "a gateway": a_neighbour("gateway"),
    "a name server": a_neighbour("resolver"),
    "a management prefix": a_management_prefix,
}
ASKED = ("a gateway", "a name server")
"""Their packets answer this host, and the default lets answers in."""


Step = Callable[[World, WriteOptions], Awaitable[object]]
KINDS: dict[str, tuple[list[Step], Step]] = {
    "a block": ([], lambda w, o: w.put("block", w.net, o)),
    "one of several": ([], lambda w, o: w.firewall.patch_entries(
        "block", [Claim(Prefix.parse("203.0.113.9")), Claim(w.who)], [], longest=True, ignore_missing=False, opts=o)),
    "a list": ([], lambda w, o: w.bulk(o)),
    "a document": ([], lambda w, o: w.document(o)),
    "a rule": ([], lambda w, o: w.firewall.put_rule(
        parse_rule({"id": "r", "action": "drop", "match": {"source": str(w.net)}}), Place(), o)),
    "a list of rules": ([], lambda w, o: w.rules(o, "drop")),
    "a rule enabled": (
        [lambda w, o: w.rules(o, "drop", enabled=False)],
        lambda w, o: w.firewall.patch_rule("r0", {"enabled": True}, Place(), o),
    ),
    "a rule moved": (
        [lambda w, o: w.rules(o, "pass", "drop")],
        lambda w, o: w.firewall.patch_rule("r1", {}, Place(position=1), o),
    ),
    "a rule deleted": (
        [lambda w, o: w.rules(o, "pass", "drop")],
        lambda w, o: w.firewall.delete_rule("r0", o),
    ),
    "the default": ([], lambda w, o: w.default(o)),
    "the mode": (
        [lambda w, o: w.mode(Mode.MONITOR, o), lambda w, o: w.put("block", w.net, o)],
        lambda w, o: w.mode(Mode.ENFORCE, o),
    ),
    "an allow taken out": (
        [lambda w, o: w.put("allow", w.who, o), lambda w, o: w.put("block", w.net, o)],
        lambda w, o: w.firewall.delete_entry("allow", w.who, None, o),
    ),
    "an allow that runs out": (
        [lambda w, o: w.put("allow", w.who, o), lambda w, o: w.put("block", w.net, o)],
        lambda w, o: w.put("allow", w.who, o, ttl=60),
    ),
    "a default behind an allow that runs out": (
        [lambda w, o: w.put("allow", w.who, o, ttl=60)],
        lambda w, o: w.default(o),
    ),
    "back to a revision": (
        [lambda w, o: w.rules(o, "drop"), lambda w, o: w.rules(o)],
        lambda w, o: w.firewall.roll_back(w.firewall.revision - 1, o),
    ),
    "the end of a panic": (
        [lambda w, o: w.put("block", w.net, o), lambda w, o: w.firewall.start_panic([w.who], o)],
        lambda w, o: w.firewall.end_panic(o),
    ),
    "attaching": (
        [lambda w, o: w.firewall.detach("wan0", o), lambda w, o: w.put("block", w.net, o)],
        lambda w, o: w.firewall.attach("wan0", AttachMode.AUTO, o),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("who", ["192.0.2.7", "2001:db8::7"])
def test_nobody_is_locked_out(who: str, target: str, kind: str) -> None:
    async def test() -> None:
        world = World(who)
        TARGETS[target](world)
        await world.start()
        await world.firewall.attach("wan0", AttachMode.AUTO, FORCE)
        before, change = KINDS[kind]
        for step in before:
            await step(world, FORCE)
        state = await world.state()
        if target in ASKED and "default" in kind:
            await change(world, world.opts)
            return
        for opts in (world.opts, replace(world.opts, dry_run=True)):
            with pytest.raises(Guarded, match=who):
                await change(world, opts)
            assert await world.state() == state
        await change(world, replace(world.opts, force=True))
        assert await world.state() != state

    asyncio.run(test())
