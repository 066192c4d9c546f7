# SPDX-License-Identifier: Apache-2.0
"""A process killed in the middle of its writes loses nothing that it acknowledged, and half-applies nothing."""

from __future__ import annotations

import os
import random
import sys
from contextlib import closing
from pathlib import Path

from tests.killed import said_until_killed
from xdpfw.model.interface import AttachMode
from xdpfw.model.policy import Claim, Policy
from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict
from xdpfw.policy.bulk import parse_text
from xdpfw.policy.sets import Edit, Sets
from xdpfw.store.port import Saved, StoredChange
from xdpfw.store.sqlite import SqliteStore

KILLS = 12


def numbered(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def expected(revision: int) -> set[str]:
    """The prefixes of set block after so many changes: every tenth change replaces all, the others add one."""
    whole = revision // 10 * 10
    bulk = {f"10.200.{n}.0/24" for n in range(100)} | {f"{numbered(whole)}/32"} if whole else set()
    return bulk | {f"{numbered(n)}/32" for n in range(whole + 1, revision + 1)}


def change(sets: Sets, revision: int) -> StoredChange:
    """Change number `revision`; the default verdict and an interface's mode tell its parity, each in another table."""
    edit: Edit
    if revision % 10:
        claim = Claim(Prefix.parse(numbered(revision)), comment=f"change {revision}")
        edit = sets.upsert("block", [claim], longest=False)
    else:
        bulk = parse_text("\n".join(expected(revision)).encode())
        edit = sets.replace("block", bulk, origin=None, now=0, base=sets)
    default = Verdict.DROP if revision % 2 else Verdict.PASS
    mode = AttachMode.NATIVE if revision % 2 else AttachMode.GENERIC
    return StoredChange(revision, edit, Policy(default), {"eth0": mode})


def check(saved: Saved) -> None:
    """All of change `saved.revision`, and nothing of the next."""
    entries = saved.sets.entries("block", after=None, limit=1_000_000)
    assert {str(entry.prefix) for entry in entries} == expected(saved.revision)
    assert saved.policy.default == (Verdict.DROP if saved.revision % 2 else Verdict.PASS)
    if saved.revision:
        assert saved.interfaces == {"eth0": AttachMode.NATIVE if saved.revision % 2 else AttachMode.GENERIC}
    if saved.revision % 10:
        [claim] = next(e for e in entries if str(e.prefix) == f"{numbered(saved.revision)}/32").claims
        assert claim.comment == f"change {saved.revision}"


def write_for_ever(path: Path) -> None:
    store = SqliteStore(path)
    saved = store.load()
    sets, revision = saved.sets, saved.revision
    while True:
        revision += 1
        following = change(sets, revision)
        assert following.edit
        store.save(following)
        sets = following.edit.sets
        os.write(1, b"%d\n" % revision)


def test_killed_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "state" / "db"
    chance = random.Random(20261121)
    revision = 0
    for _ in range(KILLS):
        acknowledged = said_until_killed("tests.unit.test_store_killed", path, chance.randint(1, 25))
        last = int(acknowledged[-1])
        with closing(SqliteStore(path)) as store:
            saved = store.load()
        assert last <= saved.revision <= last + 1
        assert saved.revision > revision
        check(saved)
        revision = saved.revision


if __name__ == "__main__":
    write_for_ever(Path(sys.argv[1]))
