# SPDX-License-Identifier: Apache-2.0
"""Sets against a dictionary: (prefix, origin) -> (expiry, comment, added)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.strategies import QUARTER, addresses, claims, prefixes
from xdpfw.model.errors import Conflict, InvalidInput, NotFound
from xdpfw.model.policy import Claim
from xdpfw.model.prefix import FAMILIES, Address, Prefix
from xdpfw.policy import keys as k
from xdpfw.policy.bulk import parse_json, parse_text
from xdpfw.policy.edits import BULK_ROWS
from xdpfw.policy.ops import NEVER
from xdpfw.policy.sets import Edit, Sets
from xdpfw.policy.table import SortedTable

Held = dict[tuple[Prefix, str], Claim]
CLAIMS = st.lists(claims(), min_size=1, max_size=12)

pytestmark = pytest.mark.usefixtures("each_way")


def put(*texts: str, sets: Sets | None = None, name: str = "block", **claim: object) -> Sets:
    added = [Claim(Prefix.parse(text), **claim) for text in texts]  # type: ignore[arg-type]
    return (sets or Sets.initial()).upsert(name, added, longest=True).sets


def held(sets: Sets, name: str = "block") -> Held:
    entries = sets.entries(name, after=None, limit=10**6)
    return {(claim.prefix, claim.origin): claim for entry in entries for claim in entry.claims}


def until(claim: Claim) -> int:
    return NEVER if claim.expires is None else claim.expires


def longest_of(added: list[Claim]) -> Held:
    """Of duplicates the one that expires last, the first of equals."""
    found: Held = {}
    for claim in added:
        before = found.get((claim.prefix, claim.origin))
        if before is None or until(claim) > until(before):
            found[claim.prefix, claim.origin] = claim
    return found


def deadlines(model: Held) -> dict[Prefix, int]:
    found: dict[Prefix, int] = {}
    for (prefix, _), claim in model.items():
        found[prefix] = max(found.get(prefix, 0), until(claim))
    return found


def check(edit: Edit, before: Held, after: Held, named: set[Prefix]) -> None:
    """Everything that an edit says, from what was there and what is."""
    assert held(edit.sets) == after
    was, now = deadlines(before), deadlines(after)
    touched = {prefix for prefix in was.keys() | now.keys() if was.get(prefix) != now.get(prefix)}
    assert {k.prefix_of(f, key) for f in FAMILIES for key in edit.touched[f]} == touched
    changed = {key[0] for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    kept = named & was.keys() & now.keys()
    assert edit.added == len(now.keys() - was.keys())
    assert edit.removed == len(was.keys() - now.keys())
    assert edit.kept == len(kept)
    assert edit.refreshed == len(kept & changed)
    assert edit.total == len(now) == sum(edit.sets.count("block").values())
    assert edit.changed == bool(changed)
    stored = {table: dict.fromkeys(rows["key"].tolist()) for table, rows in edit.rows.items()}
    written = sum(len(rows) for rows in stored.values())
    assert written == len([key for key, claim in after.items() if before.get(key) != claim])
    assert sum(len(gone) for gone in edit.gone.values()) == len(before.keys() - after.keys())


@given(CLAIMS, CLAIMS, st.booleans())
def test_upsert(first: list[Claim], second: list[Claim], longest: bool) -> None:
    sets = Sets.initial().upsert("block", first, longest=longest).sets
    before = longest_of(first)
    assert held(sets) == before
    after = dict(before)
    for key, claim in longest_of(second).items():
        old = before.get(key)
        if longest and old and (until(old) > until(claim) or (until(old) == until(claim) and not claim.comment)):
            continue
        after[key] = claim
    check(sets.upsert("block", second, longest=longest), before, after, {claim.prefix for claim in second})


@given(CLAIMS, st.data(), st.sampled_from((None, "manual", "feed", "unheard of")))
def test_remove(added: list[Claim], data: st.DataObject, origin: str | None) -> None:
    sets = Sets.initial().upsert("block", added, longest=True).sets
    before = held(sets)
    chosen = data.draw(st.lists(st.sampled_from(sorted({claim.prefix for claim in added})), max_size=4))
    chosen += data.draw(st.lists(prefixes(), max_size=2))
    gone = {key for key in before if key[0] in chosen and origin in (None, key[1])}
    if {prefix for prefix, _ in gone} != set(chosen):
        with pytest.raises(NotFound) as caught:
            sets.remove("block", chosen, origin)
        assert {fault.pointer for fault in caught.value.faults} == {
            str(prefix) for prefix in set(chosen) - {prefix for prefix, _ in gone}
        }
    edit = sets.remove("block", chosen, origin, ignore_missing=True)
    after = {key: claim for key, claim in before.items() if key not in gone}
    check(edit, before, after, {prefix for prefix, _ in gone})
    assert held(sets) == before


@given(CLAIMS, CLAIMS, st.lists(prefixes(), max_size=8), st.sampled_from((None, "manual", "feed")))
def test_replace(first: list[Claim], meanwhile: list[Claim], wanted: list[Prefix], origin: str | None) -> None:
    base = Sets.initial().upsert("block", first, longest=True).sets
    sets = base.upsert("block", meanwhile, longest=True).sets
    before = held(sets)
    bulk = parse_text("\n".join(map(str, wanted)).encode())
    edit = sets.replace("block", bulk, origin=origin, now=7, base=base, expires=QUARTER, comment="bulk")
    since = {key for key, claim in before.items() if held(base).get(key) != claim}
    after = {key: claim for key, claim in before.items() if key in since or origin not in (None, key[1])}
    for prefix in wanted:
        key = prefix, origin or "manual"
        if key not in since:
            added = before[key].added if key in before else 7
            after[key] = Claim(prefix, origin or "manual", QUARTER, "bulk", added)
    gone = {key[0] for key in before.keys() - after.keys()}
    check(edit, before, after, gone | {p for p in wanted if (p, origin or "manual") not in since})


def test_replace_takes_what_rows_say_of_themselves() -> None:
    body = b"""["192.0.2.1", {"prefix": "192.0.2.2", "ttl": 5, "comment": "own", "origin": "feed"},
               {"prefix": "192.0.2.2", "ttl": 9, "origin": "feed"}, {"prefix": "192.0.2.2", "origin": "other"}]"""
    sets = Sets.initial()
    bulk = parse_json(body, now=0)
    found = held(sets.replace("block", bulk, origin=None, now=3, base=sets, expires=NEVER, comment="all").sets)
    one, two = Prefix.parse("192.0.2.1"), Prefix.parse("192.0.2.2")
    assert found == {
        (one, "manual"): Claim(one, "manual", None, "all", 3),
        (two, "feed"): Claim(two, "feed", 9_000_000_000, "all", 3),
        (two, "other"): Claim(two, "other", None, "all", 3),
    }
    mine = held(sets.replace("block", bulk, origin="mine", now=3, base=sets).sets)
    assert set(mine) == {(one, "mine"), (two, "mine")}


@given(CLAIMS, st.integers(0, 14))
def test_expire(added: list[Claim], quarter: int) -> None:
    now = quarter * QUARTER
    sets = Sets.initial().upsert("block", added, longest=True).sets
    before = held(sets)
    after = {key: claim for key, claim in before.items() if until(claim) > now}
    edit = sets.expire(now)
    assert held(edit.sets) == after
    assert edit.removed == len(deadlines(before)) - len(deadlines(after))
    assert edit.sets.next_expiry() == min((until(c) for c in after.values() if c.expires is not None), default=None)


@given(CLAIMS, st.integers(-(10**12), 10**12))
def test_shift(added: list[Claim], delta: int) -> None:
    sets = Sets.initial().upsert("block", added, longest=True).sets
    shifted = held(sets.shift(delta).sets)
    for key, claim in held(sets).items():
        expected = None if claim.expires is None else claim.expires + delta // 1000 * 1000
        assert shifted[key].expires == expected


@given(CLAIMS, st.integers(1, 5), st.sampled_from((None, "manual", "feed")), st.one_of(st.none(), prefixes()))
def test_pages_are_the_whole(added: list[Claim], limit: int, origin: str | None, within: Prefix | None) -> None:
    sets = Sets.initial().upsert("block", added, longest=True).sets
    wanted = {
        claim.prefix
        for claim in added
        if origin in (None, claim.origin) and (within is None or within.contains(claim.prefix))
    }
    found: list[Prefix] = []
    while page := sets.entries("block", after=found[-1] if found else None, limit=limit, within=within, origin=origin):
        assert len(page) <= limit
        assert all(entry == sets.entry("block", entry.prefix) for entry in page)
        found += [entry.prefix for entry in page]
    assert found == sorted(wanted, key=lambda p: (p.family, p.address, p.length))
    assert sum(sets.count("block", within, origin).values()) == len(wanted)
    every = [k.prefix_of(family, key) for family, keys in sets.iter_keys("block") for key in keys]
    assert every == sorted({claim.prefix for claim in added}, key=lambda p: (p.family, p.address, p.length))


@given(CLAIMS, addresses())
def test_matches_are_all_entries_around_an_address(added: list[Claim], address: Address) -> None:
    both = Sets.initial().upsert("block", added[::2], longest=True).sets.upsert("allow", added[1::2], longest=True).sets
    host = Prefix.host(address)
    expected = {
        (name, claim.prefix)
        for name, part in (("block", added[::2]), ("allow", added[1::2]))
        for claim in part
        if claim.prefix.contains(host)
    }
    matches = both.matches(address)
    assert {(name, entry.prefix) for name, entry in matches} == expected
    lengths = [entry.prefix.length for _, entry in matches]
    assert lengths == sorted(lengths, reverse=True)
    assert all(both.entry(name, entry.prefix) == entry for name, entry in matches)


def test_the_longest_lived_claim_stands_first() -> None:
    host = Prefix.parse("192.0.2.1")
    added = [Claim(host, "a", 5000), Claim(host, "b", None), Claim(host, "c", 9000)]
    entry = Sets.initial().upsert("block", added, longest=True).sets.entry("block", host)
    assert entry is not None
    assert [claim.origin for claim in entry.claims] == ["b", "c", "a"]
    assert entry.expires is None


def test_patch_adds_and_removes_at_once_or_not_at_all() -> None:
    sets = put("192.0.2.1", "192.0.2.2")
    added = [Claim(Prefix.parse("192.0.2.3"))]
    edit = sets.patch("block", added, [Prefix.parse("192.0.2.1")], longest=True)
    assert (edit.added, edit.removed, edit.total) == (1, 1, 2)
    with pytest.raises(InvalidInput, match="both"):
        sets.patch("block", added, [Prefix.parse("192.0.2.3")], longest=True)
    with pytest.raises(NotFound, match=r"192\.0\.2\.9"):
        sets.patch("block", added, [Prefix.parse("192.0.2.9")], longest=True)


def test_definitions() -> None:
    sets = Sets.initial()
    assert [(info.id, info.name) for info in sets.infos()] == [(1, "allow"), (2, "block")]
    edit = sets.create("feed", "why")
    assert edit.changed and edit.defined and edit.sets.info("feed").id == 3
    filled = put("192.0.2.1", sets=edit.sets, name="feed")
    with pytest.raises(Conflict):
        filled.create("feed")
    described = filled.describe("feed", "because")
    assert described.sets.info("feed").comment == "because" and described.changed
    assert not described.sets.describe("feed", "because").changed
    dropped = described.sets.drop("feed")
    assert dropped.dropped == (3,) and dropped.removed == 1
    assert [k.prefix_of(4, key) for key in dropped.touched[4]] == [Prefix.parse("192.0.2.1")]
    assert dropped.sets.matches(Prefix.parse("192.0.2.1").network.network_address) == []
    assert dropped.sets.create("feed").sets.info("feed").id == 4
    with pytest.raises(NotFound, match="allow, block"):
        dropped.sets.upsert("feed", [], longest=True)


@pytest.mark.parametrize("name", ["", "A", "1a", "a b", "a" * 64, "ä", "a\n", "-a", "a/b"])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidInput):
        Sets.initial().create(name)


def test_restored_is_what_was_saved() -> None:
    sets = put("192.0.2.1", "192.0.2.1", origin="feed", comment="c", expires=5, added=3)
    sets = put("192.0.2.1", "2001:db8::/32", sets=sets)
    tables = {table: rows.array() for table, rows in sets.tables.items()}
    again = Sets.restored(sets.infos(), tables, sets.origins.items(), sets.comments.items(), sets.next_id)
    assert held(again) == held(sets)
    assert again.count("block") == {4: 1, 6: 1}
    assert again.create("next").sets.info("next").id == sets.next_id


def test_a_large_change_is_told_as_a_whole_table() -> None:
    lines = [f"{10 + (number >> 16)}.{number >> 8 & 255}.{number & 255}.0/24" for number in range(BULK_ROWS + 1)]
    sets = Sets.initial()
    for count, whole in ((BULK_ROWS, False), (BULK_ROWS + 1, True)):
        bulk = parse_text("\n".join(lines[:count]).encode())
        edit = sets.replace("block", bulk, origin=None, now=0, base=sets)
        assert edit.added == count
        assert edit.bulk == ({(2, 4)} if whole else set())
        assert edit.rows.keys() == (set() if whole else {(2, 4)})


def test_expiries_are_found_block_by_block() -> None:
    rows = np.zeros(10_000, np.dtype([("key", "S2"), ("expires", "i8")]))
    rows["key"] = [number.to_bytes(2) for number in range(10_000)]
    rows["expires"] = np.arange(10_000)[::-1] + 5
    table = SortedTable.of(rows)
    assert table.next_expiry() == 5
    assert sorted(table.expiring(7)["expires"].tolist()) == [5, 6, 7]
    assert table.merge(rows[:0], rows["key"][-1:]).next_expiry() == 6
    assert SortedTable.empty(rows.dtype).next_expiry() is None


@settings(max_examples=20)
@given(st.lists(st.text(max_size=5), max_size=10))
def test_texts_keep_their_numbers(texts: list[str]) -> None:
    sets = Sets.initial()
    numbers = {text: sets.comments.intern(text) for text in texts}
    assert {text: sets.comments.intern(text) for text in texts} == numbers
    assert {sets.comments[number]: number for number in numbers.values()} == numbers
    assert sets.comments.intern("") == 0
