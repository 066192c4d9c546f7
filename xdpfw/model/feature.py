# SPDX-License-Identifier: Apache-2.0
"""What the packet program is compiled for. The names are the macros of bpf/features.h."""

from __future__ import annotations

from enum import StrEnum


class Feature(StrEnum):
    """A program with more features than the policy asks for decides the same, only slower."""

    MATCH_DESTINATION = "MATCH_DESTINATION"
    MATCH_SOURCE_PREFIX = "MATCH_SOURCE_PREFIX"
    MATCH_DESTINATION_PREFIX = "MATCH_DESTINATION_PREFIX"
    MATCH_PROTOCOL = "MATCH_PROTOCOL"
    MATCH_SOURCE_PORT = "MATCH_SOURCE_PORT"
    MATCH_DESTINATION_PORT = "MATCH_DESTINATION_PORT"
    MATCH_ICMP = "MATCH_ICMP"
    MATCH_TCP_FLAGS = "MATCH_TCP_FLAGS"
    MATCH_VLAN = "MATCH_VLAN"
    MATCH_LENGTH = "MATCH_LENGTH"
    MATCH_FRAGMENT = "MATCH_FRAGMENT"
    MATCH_INTERFACE = "MATCH_INTERFACE"
    MANY_ROWS = "MANY_ROWS"
    EVENTS = "EVENTS"
    MONITORED_RULES = "MONITORED_RULES"
    LIMITS = "LIMITS"
    BANS = "BANS"
    ESTABLISHED = "ESTABLISHED"


Features = frozenset[Feature]


def widest(features: Features) -> Features:
    """All there are, but for ESTABLISHED, which brings a table and programs of its own, unless it is among these."""
    return frozenset(Feature) - {Feature.ESTABLISHED} | features
