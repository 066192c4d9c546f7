# SPDX-License-Identifier: Apache-2.0
"""One entry: PUT, GET, DELETE; spellings of prefixes; the list of entries."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.conftest import Api, ok, problem
from tests.packets import ethernet, ip, udp

B = "sets/block/entries"


def test_the_same_put_is_201_then_200_and_the_same_delete_204_then_404(api: Api) -> None:
    first = api.put(f"{B}/192.0.2.0/24")
    assert first.status_code == 201
    assert first.json()["changed"] is True
    assert first.json()["revision"] == int(first.headers["x-revision"]) == 1
    again = api.put(f"{B}/192.0.2.0/24")
    assert again.status_code == 200
    assert (again.json()["changed"], again.json()["revision"]) == (False, 1)
    gone = api.client.delete(f"{B}/192.0.2.0/24")
    assert (gone.status_code, gone.content, gone.headers["x-revision"]) == (204, b"", "2")
    with api.nothing_changes():
        assert "192.0.2.0/24" in problem(api.client.delete(f"{B}/192.0.2.0/24"), 404)["detail"]


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("2001:0DB8:0:0::0/32", "2001:db8::/32"),
        ("2001:db8::7", "2001:db8::7/128"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("0:0:0:0:0:FFFF:C000:0200/120", "192.0.2.0/24"),
    ],
)
@pytest.mark.parametrize("safe", ["/", ""], ids=["slash as is", "%2F"])
def test_every_spelling_is_one_entry_in_canonical_form(api: Api, spelling: str, canonical: str, safe: str) -> None:
    path = f"{B}/{quote(spelling, safe=safe)}"
    assert api.put(path).json()["prefix"] == canonical
    assert api.get(path)["prefix"] == canonical
    assert api.prefixes("block") == [canonical]
    assert api.put(f"{B}/{canonical}").status_code == 200
    assert api.client.delete(path).status_code == 204
    assert api.prefixes("block") == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("192.0.2.129/25", "192.0.2.128/25"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::ffff:192.0.2.1/120", "192.0.2.0/24"),
        ("fe80::1%eth0", "zone"),
        ("10.0.0.0/33", "32"),
        ("2001:db8::/129", "128"),
        ("10.0.0.0/255.0.0.0", "number"),
        ("10.0.0.0/-1", "number"),
        ("10.0.0.0/8/8", "number"),
        ("010.0.0.1", "not an"),
        ("10.0.0", "not an"),
        ("10.0.0.0-10.0.0.9", "not an"),
        ("example.org", "not an"),
        ("", "not an"),
    ],
)
def test_what_is_not_a_prefix_is_422_and_says_what_was_meant(api: Api, text: str, told: str) -> None:
    with api.nothing_changes():
        for method in ("PUT", "GET", "DELETE"):
            document = problem(api.client.request(method, f"{B}/{quote(text, safe='')}"), 422)
            assert told in document["detail"]


def test_an_answer_counts_from_when_the_entry_came(fake: Api) -> None:
    """Not what the same prefix counts for another set, or counted for this one before it went."""
    fake.put("interfaces/wan0", {"mode": "native"})
    fake.put("sets/others")
    fake.put("sets/others/entries/192.0.2.1")
    frame = ethernet(ip("192.0.2.1", udp()))

    def counted(written: Any) -> list[int]:
        return [written.json()["packets"], fake.get(f"{B}/192.0.2.1")["packets"]]

    fake.kernel.receive("wan0", frame)
    assert counted(fake.put(f"{B}/192.0.2.1")) == [0, 0]
    fake.kernel.receive("wan0", frame)
    assert counted(fake.put(f"{B}/192.0.2.1", {"ttl": 60})) == [1, 1]
    fake.client.delete(f"{B}/192.0.2.1")
    assert counted(fake.put(f"{B}/192.0.2.1")) == [0, 0]


def test_put_sets_exactly_what_it_says(api: Api) -> None:
    before = datetime.now(UTC)
    entry = api.put(f"{B}/192.0.2.1", {"ttl": 3600, "comment": "scanner", "origin": "fail2ban:sshd"}).json()
    after = datetime.now(UTC)
    assert (entry["prefix"], entry["comment"], entry["origin"]) == ("192.0.2.1/32", "scanner", "fail2ban:sshd")
    assert 3595 <= entry["ttl"] <= 3600
    hour = timedelta(hours=1)
    assert before + hour <= datetime.fromisoformat(entry["expires_at"]) <= after + hour
    assert before <= datetime.fromisoformat(entry["added_at"]) <= after
    assert (entry["packets"], entry["bytes"]) == (0, 0)
    # shorter than before, and then for ever
    assert api.put(f"{B}/192.0.2.1", {"ttl": 60, "origin": "fail2ban:sshd"}).json()["ttl"] <= 60
    entry = api.put(f"{B}/192.0.2.1", {"origin": "fail2ban:sshd"}).json()
    assert (entry["ttl"], entry["expires_at"], entry["comment"]) == (None, None, "")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3600), ("7d", 604800), ("42", 42)])
def test_durations_as_text(api: Api, text: str, seconds: int) -> None:
    assert seconds - 5 <= api.put(f"{B}/192.0.2.1", {"ttl": text}).json()["ttl"] <= seconds


def test_expires_at_instead_of_ttl(api: Api) -> None:
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(days=2)
    entry = api.put(f"{B}/192.0.2.1", {"expires_at": moment.isoformat()}).json()
    assert datetime.fromisoformat(entry["expires_at"]) == moment
    local = moment.astimezone(tz=None).isoformat()
    entry = api.put(f"{B}/192.0.2.1", {"expires_at": local}).json()
    assert datetime.fromisoformat(entry["expires_at"]) == moment
    assert entry["expires_at"].endswith("Z")


@pytest.mark.parametrize(
    "body",
    [
        {"ttl": 0},
        {"ttl": -1},
        {"ttl": 1.5},
        {"ttl": True},
        {"ttl": "1w"},
        {"ttl": "soon"},
        {"ttl": 10**12},
        {"ttl": [60]},
        {"expires_at": "2001-01-01T00:00:00Z"},
        {"expires_at": "2030-01-01T00:00:00"},
        {"expires_at": "tomorrow"},
        {"expires_at": 1893456000},
        {"expires_at": "9999-12-31T23:59:59Z"},
        {"ttl": 60, "expires_at": "2030-01-01T00:00:00Z"},
        {"tll": 60},
        {"comment": 7},
        {"comment": "two\nlines"},
        {"comment": "\ud800"},
        {"comment": "x" * 1025},
        {"origin": ""},
        {"origin": "two words"},
        {"origin": "o" * 65},
        {"origin": None},
        [],
        "1h",
        60,
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_422_and_points_at_it(api: Api, body: object) -> None:
    with api.nothing_changes():
        # ASCII JSON: a lone surrogate has no UTF-8
        sent = json.dumps(body).encode()
        response = api.client.put(f"{B}/192.0.2.1", content=sent, headers={"Content-Type": "application/json"})
        document = problem(response, 422)
        if isinstance(body, dict) and len(body) == 1 and "2001" not in str(body):
            assert [fault["pointer"] for fault in document["errors"]] == [f"/{name}" for name in body]


def test_put_replaces_only_its_own_origins_claim(api: Api) -> None:
    api.put(f"{B}/192.0.2.0/24", {"ttl": 60, "origin": "a"})
    api.put(f"{B}/192.0.2.0/24", {"ttl": 7200, "origin": "b"})
    entry = api.get(f"{B}/192.0.2.0/24")
    assert (entry["origin"], len(entry["claims"])) == ("b", 2)
    assert 7190 <= entry["ttl"] <= 7200
    assert api.client.delete(f"{B}/192.0.2.0/24", params={"origin": "b"}).status_code == 204
    entry = api.get(f"{B}/192.0.2.0/24")
    assert (entry["origin"], entry["claims"]) == ("a", None)
    assert entry["ttl"] <= 60
    problem(api.client.delete(f"{B}/192.0.2.0/24", params={"origin": "b"}), 404)
    assert api.client.delete(f"{B}/192.0.2.0/24").status_code == 204
    assert api.prefixes("block") == []


def test_delete_without_origin_takes_all_claims(api: Api) -> None:
    api.put(f"{B}/192.0.2.0/24", {"origin": "a"})
    api.put(f"{B}/192.0.2.0/24", {"origin": "b"})
    assert api.client.delete(f"{B}/192.0.2.0/24").status_code == 204
    problem(api.client.get(f"{B}/192.0.2.0/24"), 404)


def test_get_answers_exactly_that_prefix(api: Api) -> None:
    api.put(f"{B}/192.0.2.0/24")
    problem(api.client.get(f"{B}/192.0.2.1"), 404)
    problem(api.client.get(f"{B}/192.0.0.0/16"), 404)
    problem(api.client.get("sets/allow/entries/192.0.2.0/24"), 404)


def test_entries_of_an_absent_set_are_404(api: Api) -> None:
    with api.nothing_changes():
        path = "sets/nowhere/entries"
        for response in (
            api.client.get(path),
            api.client.get(path, headers={"Accept": "text/plain"}),
            api.client.get(path, headers={"Accept": "application/x-ndjson"}),
            api.client.get(f"{path}/192.0.2.1"),
            api.client.put(f"{path}/192.0.2.1"),
            api.client.delete(f"{path}/192.0.2.1"),
            api.client.patch(path, json={"add": ["192.0.2.1"]}),
            api.client.put(path, content="192.0.2.1", headers={"Content-Type": "text/plain"}),
        ):
            assert "nowhere" in problem(response, 404)["detail"]


ADDRESS_ORDER = ["10.0.0.0/8", "10.0.0.0/24", "10.0.0.7/32", "192.0.2.0/24", "2001:db8::/32", "2001:db8::1/128"]


def test_lists_are_paged_in_address_order(api: Api) -> None:
    api.patch(B, {"add": list(reversed(ADDRESS_ORDER))})
    found, cursor = [], None
    for _ in range(10):
        page = api.get(B, limit=4, **({"cursor": cursor} if cursor else {}))
        assert page["total"] == 6
        assert len(page["items"]) <= 4
        found += [item["prefix"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert found == ADDRESS_ORDER
    assert api.prefixes("block") == ADDRESS_ORDER


def test_a_cursor_is_a_position_not_a_snapshot(api: Api) -> None:
    api.patch(B, {"add": ADDRESS_ORDER})
    page = api.get(B, limit=3)
    assert api.client.delete(f"{B}/{ADDRESS_ORDER[2]}").status_code == 204
    api.put(f"{B}/10.0.0.8")
    rest = api.get(B, limit=10, cursor=page["next"])
    assert [item["prefix"] for item in rest["items"]] == ["10.0.0.8/32", *ADDRESS_ORDER[3:]]


def test_lists_by_prefix_and_origin(api: Api) -> None:
    api.patch(B, {"add": ADDRESS_ORDER})
    api.put(f"{B}/10.0.0.7", {"origin": "feed"})
    page = api.get(B, within="10.0.0.0/16")
    assert [item["prefix"] for item in page["items"]] == ["10.0.0.0/24", "10.0.0.7/32"]
    assert page["total"] == 2
    assert api.get(B, within="2001:db8::/32")["total"] == 2
    page = api.get(B, origin="feed")
    assert [item["prefix"] for item in page["items"]] == ["10.0.0.7/32"]
    assert page["total"] == 1
    assert api.get(B, origin="nobody") == {"items": [], "next": None, "total": 0}
    text = ok(api.client.get(B, params={"within": "10.0.0.0/16"}, headers={"Accept": "text/plain"})).text
    assert text == "10.0.0.0/24\n10.0.0.7/32\n"


@pytest.mark.parametrize(
    "params",
    [{"limit": 0}, {"limit": 10**6}, {"limit": "x"}, {"within": "10.0.0.1/8"}, {"cursor": "x"}, {"origin": "a b"}],
    ids=repr,
)
def test_bad_parameters_of_lists_are_422(api: Api, params: dict[str, str]) -> None:
    problem(api.client.get(B, params=params), 422)


def test_text_and_ndjson_stream_everything(api: Api) -> None:
    api.patch(
        B, {"add": [*ADDRESS_ORDER[:-1], {"prefix": ADDRESS_ORDER[-1], "ttl": 60, "comment": "c", "origin": "o"}]}
    )
    text = ok(api.client.get(B, headers={"Accept": "text/plain"}))
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text == "".join(f"{prefix}\n" for prefix in ADDRESS_ORDER)
    lines = ok(api.client.get(B, headers={"Accept": "application/x-ndjson"}))
    assert lines.headers["content-type"] == "application/x-ndjson"
    entries = [json.loads(line) for line in lines.text.splitlines()]
    assert [entry["prefix"] for entry in entries] == ADDRESS_ORDER
    assert (entries[-1]["comment"], entries[-1]["origin"]) == ("c", "o")
    wanted = {"prefix", "origin", "expires_at", "ttl", "comment", "packets", "bytes", "added_at"}
    assert all(wanted <= entry.keys() for entry in entries)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html, */*;q=0.8", "application/json"),
        ("text/*", "text/plain"),
        ("application/x-ndjson;q=0.9, application/json;q=0.1", "application/x-ndjson"),
        ("application/json;q=0, text/plain;q=0.5", "text/plain"),
    ],
)
def test_the_form_of_the_list_is_negotiated(api: Api, accept: str, kind: str) -> None:
    response = ok(api.client.get(B, headers={"Accept": accept}))
    assert response.headers["content-type"].partition(";")[0] == kind


def test_a_form_that_there_is_not_is_406(api: Api) -> None:
    problem(api.client.get(B, headers={"Accept": "text/html"}), 406)


def test_an_export_larger_than_a_page_is_whole(api: Api) -> None:
    prefixes = [f"10.{n >> 8}.{n & 255}.0/24" for n in range(6_000)]
    api.bulk("block", "\n".join(prefixes))
    assert api.prefixes("block") == prefixes


def test_an_empty_export_is_empty(api: Api) -> None:
    for accept in ("text/plain", "application/x-ndjson"):
        assert ok(api.client.get(B, headers={"Accept": accept})).content == b""
