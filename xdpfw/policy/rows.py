# SPDX-License-Identifier: Apache-2.0
"""Rules as rows: what has one bit in the packet path's vectors.

A side (source or destination) is looked up in two ways, as a class of sets and among the prefixes that rules name
themselves, and a row is the AND of both. So a rule that takes "in this set or in that prefix" is two rows, which do the
same; with such a choice on both sides it is four.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from xdpfw.model.errors import Fault, InvalidInput
from xdpfw.model.feature import Feature, Features
from xdpfw.model.policy import MAX_ROWS, PANIC_ROWS, Policy
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import AddressMatch, Match, Mode, Rule

WORD = 64


@dataclass(frozen=True, slots=True)
class Row:
    """A rule with at most one kind of address on each side."""

    rule: Rule
    match: Match


def listed(number: int) -> str:
    """Where a rule stands in what was sent, as a JSON pointer: in a list of them."""
    return f"/{number}"


def rows_of(policy: Policy) -> tuple[Row, ...]:
    """The rows of all enabled rules, in order."""
    return tuple(row for rule in policy.rules if rule.enabled for row in _rows(rule))


def check_rows(rules: Sequence[Rule], at: Callable[[int], str] = listed) -> None:
    """Raises InvalidInput when the rules need more rows than there are. `at`: as of `listed`."""
    count = 0
    for number, rule in enumerate(rules):
        count += (1 + _is_mixed(rule.match.source)) * (1 + _is_mixed(rule.match.destination)) * rule.enabled
        if count > MAX_ROWS - PANIC_ROWS:
            detail = (
                f"rule {number + 1} of {len(rules):,} exceeds the room for rules, {MAX_ROWS - PANIC_ROWS:,} rows: "
                "there are too many rules; one is one row, or two to four if it names both sets and prefixes on a side"
            )
            raise InvalidInput(detail, [Fault(at(number), "beyond the room for rules")])


def features_of(policy: Policy) -> Features:
    """What the packet program has to be compiled for."""
    rows = rows_of(policy)
    matches = [row.match for row in rows]
    asked = {
        Feature.MATCH_DESTINATION: any(m.destination.sets or m.destination.not_sets for m in matches),
        Feature.MATCH_SOURCE_PREFIX: any(m.source.prefixes or m.source.not_prefixes for m in matches),
        Feature.MATCH_DESTINATION_PREFIX: any(m.destination.prefixes or m.destination.not_prefixes for m in matches),
        Feature.MATCH_PROTOCOL: any(m.protocol for m in matches),
        Feature.MATCH_SOURCE_PORT: any(m.source_ports for m in matches),
        Feature.MATCH_DESTINATION_PORT: any(m.destination_ports for m in matches),
        Feature.MATCH_ICMP: any(m.icmp_types for m in matches),
        Feature.MATCH_TCP_FLAGS: any(m.tcp_flags for m in matches),
        Feature.MATCH_VLAN: any(m.vlan for m in matches),
        Feature.MATCH_LENGTH: any(m.length for m in matches),
        Feature.MATCH_FRAGMENT: any(m.fragment for m in matches),
        Feature.MATCH_INTERFACE: any(m.interfaces for m in matches),
        Feature.MANY_ROWS: len(rows) > WORD,
        Feature.EVENTS: any(row.rule.log_rate for row in rows),
        Feature.MONITORED_RULES: any(row.rule.mode is Mode.MONITOR for row in rows),
        Feature.LIMITS: any(row.rule.limit for row in rows),
        Feature.BANS: any(row.rule.bans for row in rows),
        # In panic nothing gets as far as the default; but what is known for the time after it stays known.
        Feature.ESTABLISHED: (policy.panic or policy).default is Verdict.DROP,
    }
    return frozenset(feature for feature, wanted in asked.items() if wanted)


def _rows(rule: Rule) -> Iterator[Row]:
    if not (_is_mixed(rule.match.source) or _is_mixed(rule.match.destination)):
        yield Row(rule, rule.match)
        return
    for source in _sides(rule.match.source):
        for destination in _sides(rule.match.destination):
            yield Row(rule, replace(rule.match, source=source, destination=destination))


def _sides(side: AddressMatch) -> tuple[AddressMatch, ...]:
    if _is_mixed(side):
        return replace(side, prefixes=()), replace(side, sets=())
    return (side,)


def _is_mixed(side: AddressMatch) -> bool:
    return bool(side.sets and side.prefixes)
