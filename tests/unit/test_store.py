# SPDX-License-Identifier: Apache-2.0
"""What is saved is what is loaded, by both stores; and the store on disk: modes, schema, errors."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit import strategies
from xdpfw.clock import ClockAnchor
from xdpfw.model.errors import NotFound, StoreError
from xdpfw.model.interface import AttachMode, Epoch
from xdpfw.model.policy import Claim, Entry, Policy
from xdpfw.model.prefix import FAMILIES, Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Action, Mode, set_rule
from xdpfw.policy import edits
from xdpfw.policy.bulk import parse_text
from xdpfw.policy.claims import CLAIM
from xdpfw.policy.replacement import Replacement, Since
from xdpfw.policy.sets import Edit, Sets
from xdpfw.store import sqlite
from xdpfw.store.memory import MemoryStore
from xdpfw.store.packing import pack, pack_bases, unpack, unpack_bases
from xdpfw.store.port import Store, StoredChange, TokenRecord
from xdpfw.store.schema import MIGRATIONS
from xdpfw.store.sqlite import SqliteStore


def contents(sets: Sets) -> dict[str, tuple[int, str, list[Entry]]]:
    """Everything that a caller can see of sets; claims in no particular order."""
    found = {}
    for info in sets.infos():
        entries = sets.entries(info.name, after=None, limit=1_000_000)
        normal = [Entry(e.prefix, tuple(sorted(e.claims, key=lambda claim: claim.origin))) for e in entries]
        found[info.name] = (info.id, info.comment, normal)
    return found


class Reopened:
    """A store that can be closed and opened again: on disk anew, in memory the same one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.store: Store = self._open()

    def _open(self) -> Store:
        return SqliteStore(self._path) if self._path else MemoryStore()

    def again(self) -> Store:
        if self._path:
            self.store.close()
            self.store = self._open()
        return self.store


@pytest.fixture(params=["sqlite", "memory"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopened]:
    box = Reopened(tmp_path / "state" / "xdpfw.db" if request.param == "sqlite" else None)
    yield box
    box.store.close()


def test_an_empty_store_holds_the_beginning(reopened: Reopened) -> None:
    saved = reopened.store.load()
    assert (saved.revision, saved.policy, saved.interfaces, saved.anchor) == (0, Policy(), {}, None)
    assert (saved.bases, saved.epochs) == ({}, {})
    assert contents(saved.sets) == contents(Sets.initial())
    assert saved.sets.next_id == Sets.initial().next_id


def test_everything_that_is_no_set(reopened: Reopened) -> None:
    store = reopened.store
    store.load()
    policy = Policy(Verdict.DROP, Mode.MONITOR, (set_rule("b", "block", Action.DROP),), (0x88CC,))
    anchor = ClockAnchor("boot", -(2**60))
    bases = {(2, b"\n\0\0\0\x08"): (-3, 2**62), (2, bytes(5)): (1, 2), (2, b""): (3, 4), (1, bytes(17)): (5, 6)}
    epoch = Epoch(2**60, (1, 2, 3, 2**62))
    store.save(StoredChange(1, policy=policy, interfaces={"a": AttachMode.AUTO, "b": AttachMode.GENERIC}))
    store.save(StoredChange(2, interfaces={"a": None, "c": AttachMode.NATIVE}, anchor=anchor))
    store.save(StoredChange(2, bases=bases, epochs={"b": epoch, "c": epoch}))
    store.save(StoredChange(3, epochs={"c": None, "gone": None}))
    saved = reopened.again().load()
    assert (saved.revision, saved.policy, saved.anchor, saved.bases) == (3, policy, anchor, bases)
    assert saved.interfaces == {"b": AttachMode.GENERIC, "c": AttachMode.NATIVE}
    assert saved.epochs == {"b": epoch}


def test_tokens(reopened: Reopened) -> None:
    sources = (Prefix.parse("192.0.2.0/24"), Prefix.parse("::1"))
    first, second = TokenRecord("1", "a", "read", b"\0" * 32, 5), TokenRecord("2", "b", "admin", b"\xff" * 32, 6)
    third = TokenRecord("3", "c", "write", b"\1" * 32, 7, 2**62, sources)
    for record in (first, second, third):
        reopened.store.add_token(record)
    reopened.store.remove_token("1")
    reopened.store.remove_token("absent")
    assert reopened.again().tokens() == [second, third]


Step = Callable[[Sets], Edit]
PREFIXES = [Prefix.parse(text) for text in ("0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/9", "10.0.0.1", "::/0", "2001:db8::")]
NAMES = ("allow", "block", "extra")


@st.composite
def steps(draw: Any) -> Step:
    name, other = draw(st.sampled_from(NAMES)), draw(st.sampled_from(("", "a comment", "ü€\U0001f600")))
    kind = draw(st.sampled_from(("upsert", "remove", "replace", "expire", "shift", "create", "describe", "drop")))
    claims = draw(st.lists(strategies.claims(("manual", "feed", "o\u00fc")), max_size=6))
    prefixes = draw(st.lists(st.sampled_from(PREFIXES), max_size=3))
    chosen = [*prefixes, *(claim.prefix for claim in claims)]
    text = "\n".join(map(str, chosen)).encode()

    def step(sets: Sets) -> Edit:
        match kind:
            case "upsert":
                return sets.upsert(
                    name, [*claims, *(Claim(p, comment=other, added=7) for p in prefixes)], longest=False
                )
            case "remove":
                return sets.remove(name, chosen, ignore_missing=True)
            case "replace":
                return sets.replace(name, parse_text(text), origin=None, now=9, base=sets, comment=other)
            case "expire":
                return sets.expire(6 * strategies.QUARTER)
            case "shift":
                return sets.shift(strategies.QUARTER)
            case "create" if name not in sets.names():
                return sets.create(name, other)
            case "drop" if name == "extra":
                return sets.drop(name)
        return sets.describe(name, other)

    return step


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(steps(), max_size=12), bulk_rows=st.sampled_from((0, 3, 50_000)), again=st.booleans())
def test_any_sequence_of_changes_is_loaded_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[Step], bulk_rows: int, again: bool
) -> None:
    """Whether rows go to the overlay, to a blob, or first to the one and then to the other."""
    monkeypatch.setattr(edits, "BULK_ROWS", bulk_rows)
    monkeypatch.setattr(sqlite, "BULK_ROWS", bulk_rows)
    path = tmp_path / "db"
    path.unlink(missing_ok=True)
    box = Reopened(path)
    sets = box.store.load().sets
    for revision, change in enumerate(changes, 1):
        try:
            edit = change(sets)
        except NotFound:
            continue
        box.store.save(StoredChange(revision, edit))
        sets = edit.sets
        if again:
            loaded = box.again().load().sets
            assert contents(loaded) == contents(sets)
            sets = loaded
    loaded = box.again().load().sets
    assert contents(loaded) == contents(sets)
    assert loaded.next_id == sets.next_id
    box.store.close()


@given(st.lists(st.tuples(st.binary(max_size=7), st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**32 - 1))))
def test_records_survive_packing(rows: list[tuple[bytes, int, int]]) -> None:
    records = np.array([(*row, row[1]) for row in rows], CLAIM[4])
    assert unpack(pack(records), CLAIM[4]).tobytes() == records.tobytes()


def test_equal_columns_are_stored_once() -> None:
    records = np.zeros(10_000, CLAIM[4])
    records["key"] = [number.to_bytes(7, "big") for number in range(10_000)]
    assert len(pack(records)) < 10_000 * 7 + 100


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b + b"x", lambda b: b"\xff" * 9, lambda b: b""])
def test_a_damaged_blob_is_a_store_error(damage: Callable[[bytes], bytes]) -> None:
    records = np.array([(b"a", 1, 2, 3), (b"b", 2, 3, 4)], CLAIM[4])
    with pytest.raises(StoreError):
        unpack(damage(pack(records)), CLAIM[4])


@given(
    st.dictionaries(
        st.tuples(st.integers(0, 2**32 - 1), st.binary(max_size=17)),
        st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1)),
        max_size=5,
    )
)
def test_bases_survive_packing(bases: dict[tuple[int, bytes], tuple[int, int]]) -> None:
    assert unpack_bases(pack_bases(bases)) == bases


def test_the_layout_of_stored_claims_does_not_change_unnoticed() -> None:
    """Databases hold records of this layout; another layout needs a migration that converts them."""
    assert {family: CLAIM[family].descr for family in FAMILIES} == {
        4: [("key", "|S7"), ("expires", "<i8"), ("comment", "<u4"), ("added", "<i8")],
        6: [("key", "|S19"), ("expires", "<i8"), ("comment", "<u4"), ("added", "<i8")],
    }


# The store on disk


def test_a_database_of_the_first_schema_is_brought_up_to_date(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        for statement in MIGRATIONS[0]:
            db.execute(statement)
        db.execute("INSERT INTO tokens VALUES ('1', 'a', 'read', x'00', 5)")
        db.execute("UPDATE state SET revision = 9")
        db.execute("PRAGMA user_version = 1")
        db.commit()
    with closing(SqliteStore(path)) as store:
        assert store.load().revision == 9
        assert store.tokens() == [TokenRecord("1", "a", "read", b"\0", 5)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "xdpfw.db"


def block(store: Store, sets: Sets, text: str, revision: int) -> Sets:
    edit = sets.upsert("block", [Claim(Prefix.parse(text), comment="why")], longest=False)
    store.save(StoredChange(revision, edit))
    return edit.sets


def test_nobody_else_can_read_it(path: Path) -> None:
    old = os.umask(0)
    try:
        with closing(SqliteStore(path)) as store:
            block(store, store.load().sets, "192.0.2.1", 1)
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(old)
    assert modes == {"xdpfw.db": 0o600, "xdpfw.db-wal": 0o600, "xdpfw.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_commits_reach_the_disk_before_save_returns(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        db = store._db
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL, https://sqlite.org/pragma.html
        assert db.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_a_schema_from_the_future_is_refused_and_left_alone(path: Path) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer xdpfw \(schema 99.*--state-dir"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_damage_is_told_and_what_to_do(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is not a database, but it is long enough to be taken for one" * 100)
    with pytest.raises(StoreError, match=r"damaged.*filters stay in force"):
        SqliteStore(path)


def test_a_locked_database_is_told_and_nothing_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with closing(SqliteStore(path)) as store:
        sets = block(store, store.load().sets, "192.0.2.1", 1)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError, match="locked; close it"):
                block(store, sets, "192.0.2.2", 2)
            other.execute("ROLLBACK")
        assert store.load().revision == 1
        sets = block(store, sets, "192.0.2.2", 2)
        assert contents(store.load().sets) == contents(sets)


def test_a_full_disk_is_told_and_nothing_is_written(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        sets = block(store, store.load().sets, "192.0.2.1", 1)
        pages = store._db.execute("PRAGMA page_count").fetchone()[0]
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        body = "\n".join(f"10.{n >> 8}.{n & 255}.0/24" for n in range(20_000)).encode()
        edit = sets.replace("block", parse_text(body), origin=None, now=0, base=sets)
        with pytest.raises(StoreError, match="disk is full; make room"):
            store.save(StoredChange(2, edit, interfaces={"a": AttachMode.AUTO}))
        saved = store.load()
        assert (saved.revision, saved.interfaces, contents(saved.sets)) == (1, {}, contents(sets))
        store._db.execute("PRAGMA max_page_count = 1000000")
        store.save(StoredChange(2, edit))
        assert contents(store.load().sets) == contents(edit.sets)


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="--state-dir"):
        SqliteStore(tmp_path / "file" / "xdpfw.db")


def test_what_was_rolled_back_is_saved_with_the_next_change(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that a failed change would have stored, and the length of the overlay."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.05)
    with closing(SqliteStore(path)) as store:
        sets = store.load().sets
        claim = Claim(Prefix.parse("192.0.2.1"), "new-origin", comment="new comment")
        edit = sets.upsert("block", [claim], longest=False)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreError):
                store.save(StoredChange(1, edit))
        store.save(StoredChange(1, edit))
    with closing(SqliteStore(path)) as store:
        assert contents(store.load().sets) == contents(edit.sets)


def test_texts_that_nothing_uses_are_forgotten(path: Path) -> None:
    with closing(SqliteStore(path)) as store:
        sets = store.load().sets
        for number in range(50):
            claim = Claim(Prefix.parse("192.0.2.1"), comment=f"comment {number}")
            edit = sets.upsert("block", [claim], longest=False)
            store.save(StoredChange(number + 1, edit))
            sets = edit.sets
    with closing(SqliteStore(path)) as store:
        sets = store.load().sets
        assert store._db.execute("SELECT count(*) FROM comments").fetchone() == (50,), "loading writes nothing"
        sets = block(store, sets, "192.0.2.2", 99)
        assert store._db.execute("SELECT text FROM comments ORDER BY 1").fetchall() == [("comment 49",), ("why",)]
    with closing(SqliteStore(path)) as store:
        assert contents(store.load().sets) == contents(sets)


def test_a_long_overlay_becomes_the_blob(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BULK_ROWS", 10)
    with closing(SqliteStore(path)) as store:
        sets, lengths = store.load().sets, []
        for number in range(35):
            sets = block(store, sets, f"192.0.2.{number}", number + 1)
            lengths.append(store._db.execute("SELECT count(*) FROM overlay").fetchone()[0])
        # ten rows at most, and the blob is written no oftener than that asks for
        assert lengths == [*range(1, 11), *range(11), *range(11), 0, 1, 2]
        assert contents(store.load().sets) == contents(sets)


def test_what_was_packed_before_others_wrote_is_put_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edits, "BULK_ROWS", 10)
    listed = "\n".join(f"10.0.{number}.0/24\n2001:db8:{number:x}::/48" for number in range(100)).encode()
    with closing(SqliteStore(path)) as store:
        base = block(store, store.load().sets, "192.0.2.1", 1)
        replacement = Replacement("block", parse_text(listed), origin=None, now=5, since=Since(base, "block"))
        packed = store.pack(replacement.edit(base))
        assert packed.tables.keys() == {(2, 4), (2, 6)}
        sets = block(store, base, "192.0.2.2", 2)
        gone = sets.remove("block", [Prefix.parse("192.0.2.1")])
        store.save(StoredChange(3, gone))
        sets = block(store, block(store, gone.sets, "10.0.7.0/24", 4), "2001:db8:ffff::/48", 5)
        edit = replacement.edit(sets)
        assert edit.bulk == packed.tables.keys()
        store.save(StoredChange(6, edit, packed=packed))
        store.tidy()
        block(store, edit.sets, "198.51.100.1", 7)
    with closing(SqliteStore(path)) as store:
        sets = store.load().sets
        assert sets.total("block") == 203
        assert contents(sets.remove("block", [Prefix.parse("198.51.100.1")]).sets) == contents(edit.sets)


def test_the_log_of_a_large_change_is_left_to_idle_moments(path: Path) -> None:
    listed = "\n".join(f"10.{n >> 14}.{n >> 6 & 255}.{(n & 63) << 2}/30" for n in range(150_000)).encode()
    with closing(SqliteStore(path)) as store:
        sets = store.load().sets
        edit = sets.replace("block", parse_text(listed), origin=None, now=0, base=sets)
        before = path.stat().st_size
        store.save(StoredChange(1, edit))
        assert path.stat().st_size == before
        store.tidy()
        assert path.stat().st_size > before + 150_000
        assert contents(store.load().sets) == contents(edit.sets)
