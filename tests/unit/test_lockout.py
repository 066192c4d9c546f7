# SPDX-License-Identifier: Apache-2.0
"""The lock-out guard: whose packets would be dropped after a change, and were not before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.hand_clock import HandClock
from xdpfw.kernel.fake import FakeKernel
from xdpfw.model.errors import Guarded
from xdpfw.model.policy import Claim, Policy
from xdpfw.model.prefix import Prefix
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Mode
from xdpfw.policy.sets import Sets
from xdpfw.service.guards import FRESH, Guards

NOTHING = (Sets.initial(), Policy())
DENY = replace(Policy(), default=Verdict.DROP)


def sets_of(**entries: str) -> Sets:
    sets = Sets.initial()
    for name, text in entries.items():
        sets = sets.upsert(name, [Claim(Prefix.parse(text))], longest=False).sets
    return sets


def guards(*peers: str, management: str = "", clock: HandClock | None = None, protect_ssh: bool = True) -> Guards:
    kernel = FakeKernel()
    kernel.peer_addresses = list(peers)
    prefixes = [Prefix.parse(management)] if management else []
    return Guards(kernel, clock or HandClock(), prefixes, protect_ssh=protect_ssh)


def refused(guard: Guards, after: tuple[Sets, Policy], peer: str | None = None, before=NOTHING) -> str:
    with pytest.raises(Guarded) as caught:
        guard.check_lockout(before, after, peer, "this change")
    return caught.value.detail


def test_the_address_is_named_and_no_other():
    detail = refused(guards("192.0.2.7", "198.51.100.1"), (sets_of(block="192.0.2.0/24"), Policy()))
    assert "192.0.2.7" in detail and "198.51.100.1" not in detail


@pytest.mark.parametrize("peer", ["192.0.2.7", "::ffff:192.0.2.7"])
def test_whoever_asks_is_protected_in_any_spelling(peer):
    assert "192.0.2.7" in refused(guards(), (sets_of(block="192.0.2.0/24"), Policy()), peer)


def test_a_management_prefix_is_protected_as_a_whole():
    assert "192.0.2.0/24" in refused(guards(management="192.0.2.0/24"), (sets_of(block="192.0.2.200"), Policy()))


@pytest.mark.parametrize(
    "after",
    [
        (sets_of(block="192.0.2.0/24"), Policy(mode=Mode.MONITOR)),
        (sets_of(block="192.0.2.0/24", allow="192.0.2.7"), Policy()),
        (sets_of(allow="192.0.2.7"), DENY),
        (sets_of(block="192.0.2.8"), Policy()),
    ],
)
def test_what_does_not_drop_is_not_refused(after):
    guards("192.0.2.7").check_lockout(NOTHING, after, None, "this change")


def test_the_default_and_an_unallow_are_looked_at_too():
    guard = guards("2001:db8::7")
    refused(guard, (Sets.initial(), DENY))
    refused(guard, (Sets.initial(), DENY), before=(sets_of(allow="2001:db8::/32"), DENY))


def test_what_was_dropped_before_may_stay_dropped():
    same = (sets_of(block="192.0.2.0/24"), Policy())
    guards("192.0.2.7").check_lockout(same, same, None, "this change")
    assert "192.0.2.7" in refused(guards("192.0.2.7"), same, before=None)


def test_loopback_needs_no_protection_and_ssh_peers_only_if_wanted():
    after = (sets_of(block="0.0.0.0/0"), Policy())
    guards("127.0.0.1").check_lockout(NOTHING, after, "127.0.0.1", "this change")
    guards("192.0.2.7", protect_ssh=False).check_lockout(NOTHING, after, None, "this change")


def test_peers_are_read_again_after_a_while_and_at_once_when_asked():
    clock = HandClock()
    guard = guards(clock=clock)
    after = (sets_of(block="192.0.2.0/24"), Policy())
    guard.check_lockout(NOTHING, after, None, "this change")
    guard._kernel.peer_addresses = ["192.0.2.7"]  # type: ignore[attr-defined]
    guard.check_lockout(NOTHING, after, None, "this change")
    with pytest.raises(Guarded):
        guard.check_lockout(NOTHING, after, None, "this change", fresh=True)
    clock.now += 2 * FRESH
    refused(guard, after)
