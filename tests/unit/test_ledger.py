# SPDX-License-Identifier: Apache-2.0
"""What is written down: bounds of the trail, values that come back as they were."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from xdpfw.model.interface import AttachMode
from xdpfw.model.ledger import (
    AuditQuery,
    AuditRecord,
    Author,
    Difference,
    Differences,
    Outcome,
    Part,
    Pending,
)
from xdpfw.model.secrets import hidden
from xdpfw.service.locks import meeting
from xdpfw.store import ledger
from xdpfw.store.ledger_text import pending_of, pending_text
from xdpfw.store.memory import MemoryStore
from xdpfw.store.port import Ledger, Store, StoredChange
from xdpfw.store.sqlite import SqliteStore

AUTHOR = Author("token:5f", "ümlaut", "192.0.2.7", 7, "PUT /sets/a", "n")
FOUND = Differences((Difference("sets/a", None, {"comment": "ü", "n": [1]}), Difference("x", {"y": None}, None)), 3)
RECORD = AuditRecord(5, AUTHOR, Outcome.ACCEPTED, 201, 9, "why", FOUND)
PENDING = Pending(
    id="5f", revision=3, author=AUTHOR, made=5, window=6, boot="b", deadline=7,
    parts=(Part("rules"), Part("sets/a/entries", "::/0", "o")), differences=FOUND,
    interfaces={"a": AttachMode.AUTO, "b": None}, ran={"a": AttachMode.NATIVE}, sets={"x": None, "y": "c"},
    needed=("a", "b"), entries=True,
)  # fmt: skip


def test_a_pending_change_comes_back_as_it_was() -> None:
    assert pending_of(pending_text(PENDING)) == PENDING
    assert pending_of(pending_text(replace(PENDING, parts=(), interfaces={}))) == replace(
        PENDING, parts=(), interfaces={}
    )


@pytest.mark.parametrize("on_disk", [True, False])
def test_records_come_back_as_they_were(tmp_path: Path, on_disk: bool) -> None:
    store: Store = SqliteStore(tmp_path / "db") if on_disk else MemoryStore()
    with closing(store):
        store.note([RECORD, replace(RECORD, outcome=Outcome.REFUSED)])
        records, total = store.audit(AuditQuery(10))
        assert records == [replace(RECORD, outcome=Outcome.REFUSED, id=2), replace(RECORD, id=1)] and total == 2
        assert store.audit(AuditQuery(10, before=2)) == ([replace(RECORD, id=1)], 2)
        store.save(StoredChange(9, ledger=Ledger(withdrawn=9)))
        assert store.audit(AuditQuery(10)) == ([], 0)


@pytest.mark.parametrize(
    ("resource", "found"),
    [("sets", True), ("sets/a", True), ("sets/a/entries", False), ("sets/b", False), ("set", False), ("x", True),
     ("sets/%", False), ("sets/_", False), ("y", False)],
)  # fmt: skip
@pytest.mark.parametrize("on_disk", [True, False])
def test_a_resource_is_found_by_request_and_by_difference(
    tmp_path: Path, on_disk: bool, resource: str, found: bool
) -> None:
    store: Store = SqliteStore(tmp_path / "db") if on_disk else MemoryStore()
    with closing(store):
        store.note([RECORD])
        assert store.audit(AuditQuery(10, resource=resource))[1] == found


def test_each_kind_of_record_has_room_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MOST", {ledger.ENTRIES: 20, ledger.POLICY: 10, ledger.NOTED: 5})
    monkeypatch.setattr(ledger, "SLACK", 7)
    policy = replace(RECORD, detail="policy")
    with closing(SqliteStore(tmp_path / "db")) as store:
        store.note([policy] * 3)
        for _ in range(100):
            store.note([replace(RECORD, entries=True, detail="entries"), replace(RECORD, outcome=Outcome.REFUSED)])
        records, total = store.audit(AuditQuery(1000))
        assert sum(record.detail == "policy" for record in records) == 3
        assert 20 <= sum(record.detail == "entries" for record in records) <= 20 + 7
        assert 5 <= sum(record.outcome is Outcome.REFUSED for record in records) <= 5 + 7
        assert total == len(records)


PARTS = [
    Part("rules"),
    Part("sets/a/entries"),
    Part("sets/a/entries", "10.0.0.0/8"),
    Part("sets/a/entries", None, "o"),
    Part("sets/a/entries", "10.0.0.0/8", "o"),
    Part("sets/a/entries", "10.0.0.0/8", "p"),
    Part("sets/a"),
]


def test_parts_meet_as_their_values_say() -> None:
    for locked in PARTS:
        for wanted in PARTS:
            assert (meeting([locked], [wanted]) is not None) == locked.meets(wanted) == wanted.meets(locked)
    met = [(str(a), str(b)) for a in PARTS for b in PARTS if a is not b and a.meets(b)]
    assert ("sets/a/entries", "sets/a/entries/10.0.0.0/8?origin=o") in met
    assert ("sets/a/entries/10.0.0.0/8?origin=p", "sets/a/entries/10.0.0.0/8?origin=o") not in met
    assert not any("sets/a" in pair or "rules" in pair for pair in met)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("xdpfw_5f0c9a1e_abcdefghijklmnop", "xdpfw_5f0c9a1e_…"),
        ("a xdpfw_5f0c9a1e_abc-_EFGH b", "a xdpfw_5f0c9a1e_… b"),
        ("xdpfw_lab", "xdpfw_lab"),
        ("nothing", "nothing"),
    ],
)
def test_tokens_are_hidden_wherever_they_stand(text: str, left: str) -> None:
    assert hidden({"a": [text, {"b": text}], "c": 1}) == {"a": [left, {"b": left}], "c": 1}
