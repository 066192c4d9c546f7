# SPDX-License-Identifier: Apache-2.0
"""From the core's values to what the REST contract shows."""

from __future__ import annotations

from typing import Any

from xdpfw.clock import SECOND, to_datetime
from xdpfw.model.ledger import AuditRecord, Author, Differences, Values
from xdpfw.model.ledger_views import AuditView, AuthorView, DifferenceView
from xdpfw.model.policy import Claim, Entry, Policy
from xdpfw.model.reason import MAX_REASONS
from xdpfw.model.views import ClaimView, Count, EntryView, MatchView, PolicyView


def entry_view(entry: Entry, hits: Count, now: int) -> EntryView:
    first = claim_view(entry.claims[0], now)
    return EntryView(
        prefix=str(entry.prefix),
        origin=first.origin,
        expires_at=first.expires_at,
        ttl=first.ttl,
        comment=first.comment,
        packets=hits.packets,
        bytes=hits.bytes,
        added_at=first.added_at,
        claims=[claim_view(claim, now) for claim in entry.claims] if len(entry.claims) > 1 else None,
    )


def claim_view(claim: Claim, now: int) -> ClaimView:
    """`ttl` is what is left, in whole seconds, rounded up: an entry in force never shows 0."""
    ttl = None if claim.expires is None else max(0, -((now - claim.expires) // SECOND))
    expires_at = None if claim.expires is None else to_datetime(claim.expires)
    return ClaimView(claim.origin, expires_at, ttl, claim.comment, to_datetime(claim.added))


def match_view(name: str, entry: Entry, hits: Count) -> MatchView:
    first = entry.claims[0]
    expires_at = None if first.expires is None else to_datetime(first.expires)
    return MatchView(name, str(entry.prefix), first.origin, expires_at, first.comment, hits.packets, hits.bytes)


def rule_names(policy: Policy) -> dict[int, str]:
    """Rules' ids by their causes."""
    return {MAX_REASONS + slot: id for id, slot in policy.slots.of.items()}


def policy_view(policy: Policy) -> PolicyView:
    return PolicyView(
        policy.default.value,
        policy.mode.value,
        [rule.id for rule in policy.rules],
        [f"{ethertype:#06x}" for ethertype in policy.ethertypes],
    )


def author_view(author: Author) -> AuthorView:
    method, _, path = author.request.partition(" ")
    return AuthorView(author.name, author.label, author.source, author.pid, method, path, author.number)


def difference_views(differences: Differences) -> list[DifferenceView]:
    return [DifferenceView(each.path, _plain(each.before), _plain(each.after)) for each in differences.items]


def _plain(values: Values | None) -> dict[str, Any] | None:
    return None if values is None else dict(values)


def audit_view(record: AuditRecord) -> AuditView:
    return AuditView(
        record.id,
        to_datetime(record.at),
        author_view(record.author),
        record.outcome.value,
        record.status,
        record.revision,
        record.detail,
        difference_views(record.differences),
        record.differences.more,
    )
