# SPDX-License-Identifier: Apache-2.0
"""Verdicts and reasons: why a packet passed or was dropped."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Verdict(StrEnum):
    PASS = "pass"
    DROP = "drop"


class Reason(IntEnum):
    """Append-only: the numbers are those of `enum reason` in bpf/reason.h, compared by a test.

    A row of the policy decided when the reason is RULE; all others are outcomes of the parse or the default. The last
    three say what passed a default of drop: answers to what left, ICMP errors about it, and IGMP and MLD.
    """

    DEFAULT = 0
    RULE = 1
    ARP = 2
    NDP = 3
    NON_IP = 4
    SHORT_ETHERNET = 5
    VLAN_DEPTH = 6
    BAD_IPV4 = 7
    BAD_IPV6 = 8
    EXTENSION_DEPTH = 9
    SHORT_EXTENSION = 10
    SHORT_TRANSPORT = 11
    BANNED = 12
    ESTABLISHED = 13
    RELATED = 14
    GROUP_MANAGEMENT = 15

    @property
    def label(self) -> str:
        return self.name.lower()


MAX_REASONS = 32
"""Room for reasons in a counter table; a row of the policy counts at MAX_REASONS + row."""
