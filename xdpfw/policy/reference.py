# SPDX-License-Identifier: Apache-2.0
"""The reference verdict: what the packet path must answer, said as plainly as possible.

It shares nothing with the compiler: an address is looked up by asking the sets which of their entries contain it.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdpfw.model.policy import Policy, PolicyMode
from xdpfw.model.prefix import Address
from xdpfw.model.reason import MAX_REASONS, Reason, Verdict
from xdpfw.policy.reference_parse import Parsed, parse
from xdpfw.policy.sets import Sets


@dataclass(frozen=True, slots=True)
class Judged:
    """`verdict` is what becomes of the frame; `monitored`: it would have been dropped but for monitor mode.
    `cause`: a Reason, or MAX_REASONS + row."""

    verdict: Verdict
    cause: int
    monitored: bool
    parsed: Parsed


def judge(frame: bytes, sets: Sets, policy: Policy, now: int) -> Judged:
    """What becomes of a frame. `now`: wall clock ns, for entries that expire."""
    parsed = parse(frame)
    verdict, cause = _decide(parsed, sets, policy, now)
    monitored = verdict is Verdict.DROP and policy.mode is PolicyMode.MONITOR
    return Judged(Verdict.PASS if monitored else verdict, cause, monitored, parsed)


def _decide(parsed: Parsed, sets: Sets, policy: Policy, now: int) -> tuple[Verdict, int]:
    if parsed.settled in (Reason.ARP, Reason.NDP):
        return Verdict.PASS, parsed.settled
    if parsed.settled is Reason.NON_IP:
        listed = policy.default is Verdict.PASS or parsed.ethertype in policy.ethertypes
        return (Verdict.PASS if listed else Verdict.DROP), Reason.NON_IP
    if parsed.settled is not None:
        return Verdict.DROP, parsed.settled
    row = None if parsed.source is None else first_row(parsed.source, sets, policy, now)
    if row is not None:
        return policy.rows[row].verdict, MAX_REASONS + row
    if parsed.tail is not None:
        return Verdict.DROP, parsed.tail
    return policy.default, Reason.DEFAULT


def first_row(source: Address, sets: Sets, policy: Policy, now: int) -> int | None:
    """The first row whose set contains the address at `now`; a claim holds until, not at, its expiry."""
    inside = {
        name
        for name, entry in sets.matches(source)
        if any(claim.expires is None or now < claim.expires for claim in entry.claims)
    }
    return next((number for number, row in enumerate(policy.rows) if row.source in inside), None)
