# SPDX-License-Identifier: Apache-2.0
"""A daemon killed at any moment around a change that waits for confirmation: the change is in force as a whole and
waits, or not at all; and past its time the next start brings the state of before, all of it."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
from pathlib import Path
from typing import Any

from tests.killed import said_until_killed
from xdpfw.clock import SECOND, Clock, SystemClock
from xdpfw.kernel.fake import FakeKernel, fake_link
from xdpfw.model.requests import WriteOptions
from xdpfw.service import Firewall
from xdpfw.store.sqlite import SqliteStore

KILLS = 12
WINDOW = 3600
FORCE = WriteOptions(force=True)


def document(number: int) -> dict[str, Any]:
    """State number so and so: every part of it says the number."""
    return {
        "policy": {"default": "drop" if number % 2 else "pass", "ethertypes": [0x600 + number]},
        "rules": [{"id": f"r{number}", "action": "drop", "match": {"vlan": number}}],
        "sets": {
            "block": {"comment": f"{number}", "entries": [f"10.{number >> 8}.{number & 255}.{n}" for n in range(60)]},
            "other": {"entries": [f"2001:db8::{number:x}"]} if number % 3 else None,
        },
        "interfaces": {"wan0": "native" if number % 2 else "generic"},
    }


def number_of(firewall: Firewall) -> int:
    """Which state it is; fails unless it is one of them, whole."""
    policy, sets = firewall.state.policy, firewall.state.sets
    number = policy.ethertypes[0] - 0x600
    wanted = document(number)
    assert policy.default == wanted["policy"]["default"]
    assert [rule.id for rule in policy.rules] == [f"r{number}"]
    assert sets.info("block").comment == str(number)
    assert {str(e.prefix) for e in sets.entries("block", after=None, limit=99)} == {
        f"{address}/32" for address in wanted["sets"]["block"]["entries"]
    }
    assert ("other" in sets.defined) == bool(number % 3)
    if number % 3:
        assert str(sets.entries("other", after=None, limit=9)[0].prefix) == f"2001:db8::{number:x}/128"
    assert firewall.interfaces.desired == {"wan0": wanted["interfaces"]["wan0"]}
    assert firewall.interfaces.attached["wan0"].mode == wanted["interfaces"]["wan0"]
    return number


async def started(path: Path, clock: Clock | None = None) -> Firewall:
    kernel = FakeKernel([fake_link("wan0", 2)])
    firewall = Firewall(kernel, SqliteStore(path), clock=clock)
    await firewall.load()
    return firewall


async def put(firewall: Firewall, number: int, opts: WriteOptions) -> str | None:
    view = await firewall.put_config(await firewall.read_config(document(number)), opts)
    return view.confirmation


async def change_for_ever(path: Path) -> None:
    firewall = await started(path)
    number = number_of(firewall)
    if firewall.pending:
        await firewall.confirm(firewall.pending.id, FORCE)
    for step in itertools.count():
        number += 1
        id = await put(firewall, number, WriteOptions(force=True, confirm_within=WINDOW))
        assert id
        os.write(1, b"waits %d\n" % number)
        if step % 3 == 2:
            await firewall.take_back(id, FORCE)
            number -= 1
            os.write(1, b"back %d\n" % number)
        else:
            await firewall.confirm(id, FORCE)
            os.write(1, b"kept %d\n" % number)


def test_killed_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "db"
    chance = random.Random(20261125)

    async def first() -> None:
        firewall = await started(path)
        await put(firewall, 1, FORCE)
        firewall.store.close()

    async def look(lines: list[bytes]) -> None:
        firewall = await started(path)
        number, pending = number_of(firewall), firewall.pending
        word, last = lines[-1].split()
        told = int(last)
        if word == b"waits":
            # The next step may have been made and not been told.
            assert (number, pending is not None) in {(told, True), (told, False), (told - 1, False)}
        else:
            assert (number, pending is not None) in {(told, False), (told + 1, True)}
        firewall.store.close()
        if pending and chance.random() < 0.5:
            firewall = await started(path, Late())
            assert firewall.pending is None and number_of(firewall) == number - 1
            firewall.store.close()

    asyncio.run(first())
    for _ in range(KILLS):
        asyncio.run(look(said_until_killed("tests.unit.test_confirm_killed", path, chance.randint(1, 8))))


class Late(SystemClock):
    """This boot's clocks, when the time to confirm is over."""

    def wall(self) -> int:
        return super().wall() + (WINDOW + 1) * SECOND

    def monotonic(self) -> int:
        return super().monotonic() + (WINDOW + 1) * SECOND


if __name__ == "__main__":
    asyncio.run(change_for_ever(Path(sys.argv[1])))
