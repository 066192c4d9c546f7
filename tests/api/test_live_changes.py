# SPDX-License-Identifier: Apache-2.0
"""Block, allow and undo as the live view does them, against the API itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import pytest

from cli.client import Client, Target
from cli.errors import Failure, Refused
from cli.live.changes import Wish, make, undo
from cli.live.decide import Decision
from cli.live.pages import address_lines
from cli.live.questions import Ask, AskAddress, AskPast, AskSituation
from cli.live.reading import Talker, Traffic
from cli.live.rows import COLUMNS, OF, View
from tests.api.conftest import WAN, Api

T = TypeVar("T")
PREFIX = "198.51.100.0/24"
WISH = Wish("block", PREFIX, 600, "too much")


@pytest.fixture
def client(api: Api) -> Iterator[Client]:
    client = Client(Target(path=str(api.host.socket)), 30)
    yield client
    client.close()


def first(answers: Iterator[T]) -> T:
    return next(answers)


def claims(api: Api) -> dict[str, dict[str, Any]]:
    """By origin, without what time and packets move."""
    response = api.client.get(f"sets/block/entries/{PREFIX}")
    if response.status_code == 404:
        return {}
    document = response.json()
    return {
        claim["origin"]: {name: claim[name] for name in ("comment", "expires_at")}
        for claim in document["claims"] or [document]
    }


def test_a_block_is_the_manual_claim_and_undo_takes_it_away(api: Api, client: Client) -> None:
    change = make(client, WISH)
    assert change.written["changed"]
    entry = api.get(f"sets/block/entries/{PREFIX}")
    assert (entry["origin"], entry["comment"]) == ("manual", "too much")
    assert 590 <= entry["ttl"] <= 600
    assert "out of block again" in undo(client, change)
    assert claims(api) == {}


def test_undo_brings_back_what_the_block_replaced(api: Api, client: Client) -> None:
    api.put(f"sets/block/entries/{PREFIX}", {"ttl": "7d", "comment": "known"})
    api.put(f"sets/block/entries/{PREFIX}", {"origin": "feed", "comment": "theirs"})
    before = claims(api)
    for wish in (Wish("block", PREFIX, 30 * 86400, "worse"), Wish("block", PREFIX)):
        change = make(client, wish)
        assert claims(api) != before
        assert "as it was before" in undo(client, change)
        assert claims(api) == before


def test_a_shorter_block_does_not_end_a_longer_one_sooner(api: Api, client: Client) -> None:
    api.put(f"sets/block/entries/{PREFIX}", {"ttl": "7d"})
    before = claims(api)
    change = make(client, Wish("block", PREFIX, 600))
    assert claims(api) == before
    assert change.said() == (f"{PREFIX} is in block already, for as long or longer", True)


def test_other_claims_are_not_touched(api: Api, client: Client) -> None:
    api.put(f"sets/block/entries/{PREFIX}", {"origin": "feed"})
    before = claims(api)
    change = make(client, WISH)
    assert claims(api).keys() == {"feed", "manual"}
    assert "out of block" in undo(client, change)
    assert claims(api) == before


def test_what_somebody_else_has_changed_since_is_not_undone(api: Api, client: Client) -> None:
    change = make(client, WISH)
    api.put(f"sets/block/entries/{PREFIX}", {"comment": "leave it"})
    before = claims(api)
    with pytest.raises(Failure, match="somebody has changed"):
        undo(client, change)
    assert claims(api) == before


def test_what_has_gone_needs_no_undoing(api: Api, client: Client) -> None:
    change = make(client, WISH)
    api.client.delete(f"sets/block/entries/{PREFIX}")
    assert "has gone" in undo(client, change)


def test_a_guard_refuses_and_force_goes_past_it(api: Api, client: Client) -> None:
    wish = Wish("block", "0.0.0.0/0")
    with api.nothing_changes(), pytest.raises(Refused) as refused:
        make(client, wish)
    assert refused.value.guarded
    undo(client, make(client, wish, force=True))
    assert api.prefixes("block") == []


def test_a_block_under_an_allow_says_that_it_drops_nothing(api: Api, client: Client) -> None:
    api.put(f"interfaces/{WAN}")
    api.put(f"sets/allow/entries/{PREFIX}")
    text, effective = make(client, WISH).said()
    assert not effective
    assert "still pass" in text
    api.client.delete(f"sets/allow/entries/{PREFIX}")
    assert make(client, WISH).said() == (f"blocked {PREFIX} for 10 m", True)


@pytest.mark.parametrize("interface", [None, WAN])
def test_every_question_of_the_live_view_is_understood(api: Api, client: Client, interface: str | None) -> None:
    api.put(f"interfaces/{WAN}")
    for sort in COLUMNS:
        for of in OF:
            for cumulative in (False, True):
                view = View(interface, sort, of=of, cumulative=cumulative, descending=cumulative)
                assert first(Ask(view)(client)).at > 0
                client.close()  # in the middle of the stream
    for text in ("10.0.0.0/8", "2001:db8::/32", "192.0.2.1", "192.0.2.1/8", "text"):
        first(Ask(View(interface, filter=text, family="4"), frozen=True)(client))
        client.close()
    past = AskPast(interface)(client)
    assert len(past.ends) == len(past.rates) == 600
    ask = AskSituation()
    situation, rules = first(ask(client))
    assert situation.attached == (WAN,)
    assert rules.decide(Talker("198.51.100.7", Traffic(), sets=("block",))) == Decision("block", "drop")
    assert first(ask(client))[1] is rules  # they have not changed
    api.put("rules/mine", {"action": "drop", "match": {"source": "192.0.2.0/24"}})
    rules = first(ask(client))[1]
    assert rules.decide(Talker("192.0.2.7", Traffic())) == Decision("mine", "drop")
    make(client, WISH)
    lines = address_lines(*first(AskAddress("198.51.100.7")(client)), None, 80)
    page = "\n".join("".join(text for text, _ in line) for line in lines)
    assert "198.51.100.7 is dropped" in page
    assert PREFIX in page
    assert "not among the talkers" in page
