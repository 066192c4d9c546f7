# SPDX-License-Identifier: Apache-2.0
"""A document that is read out and put in is the same state: here, and on another machine."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from api.documents import read_json, read_yaml, write_yaml
from tests.hand_clock import HandClock
from tests.random_rules import rules as random_rules
from tests.unit import strategies
from xdpfw.kernel.fake import FakeKernel, fake_link
from xdpfw.model.errors import TooLarge, Unreadable
from xdpfw.model.interface import AttachMode
from xdpfw.model.policy import Claim, Entry
from xdpfw.model.reason import Verdict
from xdpfw.model.requests import WriteOptions
from xdpfw.model.rule import Mode
from xdpfw.service import Firewall
from xdpfw.store.memory import MemoryStore

FORCE = WriteOptions(force=True)
NAMES = ("allow", "block", "extra", "a_b-c")
TEXTS = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=12)


async def make() -> Firewall:
    clock = HandClock()
    links = [fake_link("wan0", 2), fake_link("lan0", 3)]
    firewall = Firewall(FakeKernel(links, clock=clock.wall), MemoryStore(), clock=clock)
    await firewall.load()
    return firewall


@st.composite
def states(draw: Any) -> dict[str, Any]:
    claims = st.lists(strategies.claims(("manual", "feed:x", "a\\b")), max_size=6)
    return {
        "sets": {name: (draw(TEXTS), draw(claims)) for name in NAMES if draw(st.booleans())},
        "rules": random_rules(draw(st.integers(0, 10**6)), draw(st.integers(0, 12)), ("allow", "block")),
        "policy": (draw(st.sampled_from(list(Verdict))), draw(st.sampled_from(list(Mode)))),
        "ethertypes": draw(st.lists(st.integers(0x600, 0xFFFF), max_size=3)),
        "interfaces": {
            name: draw(st.sampled_from(list(AttachMode))) for name in ("wan0", "lan0") if draw(st.booleans())
        },
    }


async def fill(firewall: Firewall, state: dict[str, Any]) -> None:
    now = firewall.clock.wall()
    for name, (comment, claims) in state["sets"].items():
        await firewall.put_set(name, comment, FORCE)
        # Some hours from now, so that nothing runs out before the end.
        later = [replace(c, expires=c.expires and now + c.expires % 10**13 + 10**12 + 7) for c in claims]
        await firewall.patch_entries(name, later, (), longest=False, ignore_missing=True, opts=FORCE)
    await firewall.put_rules(state["rules"], FORCE)
    await firewall.patch_policy(*state["policy"], state["ethertypes"], FORCE)
    for name, mode in state["interfaces"].items():
        await firewall.attach(name, mode, FORCE)


def seen(firewall: Firewall) -> Any:
    sets, policy = firewall.state.sets, firewall.state.policy
    return (
        policy,
        firewall.interfaces.desired,
        {
            info.name: (info.comment, [_plain(entry) for entry in sets.entries(info.name, after=None, limit=10**6)])
            for info in sets.infos()
        },
    )


def _plain(entry: Entry) -> list[Claim]:
    return sorted((replace(claim, added=0) for claim in entry.claims), key=lambda claim: claim.origin)


@given(states(), states(), st.booleans())
def test_reading_out_and_putting_in_is_the_identity(state: Any, other: Any, as_yaml: bool) -> None:
    async def test() -> None:
        firewall, elsewhere = await make(), await make()
        await fill(firewall, state)
        await fill(elsewhere, other)
        document = await firewall.config(None)
        text = write_yaml(document) if as_yaml else json.dumps(document)
        again = (read_yaml if as_yaml else read_json)(text.encode())
        assert again == document
        before, revision = seen(firewall), firewall.revision
        view = await firewall.put_config(await firewall.read_config(again), FORCE)
        assert (view.changed, view.differences, firewall.revision) == (False, [], revision)
        assert seen(firewall) == before
        # What the document does not name stays; all else becomes as it says.
        await elsewhere.put_config(await elsewhere.read_config(again), FORCE)
        policy, interfaces, sets = seen(elsewhere)
        assert policy == before[0] and interfaces.items() >= before[1].items() and sets.items() >= before[2].items()
        view = await elsewhere.put_config(await elsewhere.read_config(again), FORCE)
        assert not view.changed

    asyncio.run(test())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=20,
    )
)
def test_documents_survive_yaml(document: Any) -> None:
    try:
        text = write_yaml(document)
        yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, UnicodeEncodeError):
        return  # not what YAML can say at all: lone surrogates, control characters
    assert read_yaml(text.encode()) == document


@given(st.binary(max_size=60) | st.text("[]{}:,-?&*!|>'\"#%@` \n\tab01~.", max_size=60).map(str.encode))
def test_no_body_breaks_the_reader(body: bytes) -> None:
    for read in (read_yaml, read_json):
        try:
            read(body)
        except (Unreadable, TooLarge):
            continue


@pytest.mark.parametrize("text", ["on", "no", "1:20", "010", "1_000", "2030-01-02", "1e3", "=", "<<", ".inf", "0o17"])
def test_words_that_yaml_1_1_would_turn_into_something_stay_words(text: str) -> None:
    assert read_yaml(f"a: {text}".encode()) == {"a": text}
