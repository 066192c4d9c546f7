# SPDX-License-Identifier: Apache-2.0
"""Guards: changes that are more often slips than wishes. Each answers a sentence about what forcing would do, or
None."""

from __future__ import annotations

import numpy as np

from xdpfw.model.policy import Policy
from xdpfw.model.prefix import ADDRESS_BYTES, FAMILIES, HOST_LENGTH, Family, Prefix
from xdpfw.model.rule import Action
from xdpfw.policy import claims as c
from xdpfw.policy import keys as k
from xdpfw.policy.ops import Keys
from xdpfw.policy.sets import Edit, Sets
from xdpfw.policy.table import SortedTable

STEPS = 256
"""Neighbours looked at one by one before the whole table is looked at."""


def whole_family(edit: Edit, before: Sets, policy: Policy) -> str | None:
    """A set whose rule drops all its sources covers all of IPv4 or all of IPv6 after the edit, and did not before."""
    for name in _dropped(policy):
        for family in FAMILIES:
            if not len(edit.touched[family]) or not _set_covers(edit.sets, name, family):
                continue
            if not _set_covers(before, name, family):
                every = f"every IPv{family} address"
                return f"this would put {every} into {name!r}: all IPv{family} traffic would be dropped"
    return None


def _dropped(policy: Policy) -> list[str]:
    """Sets whose addresses are dropped, whatever they send."""
    dropping = [rule for rule in policy.rules if rule.enabled and rule.action is Action.DROP and rule.match.source_only]
    return list(dict.fromkeys(name for rule in dropping for name in rule.match.source.sets))


def _set_covers(sets: Sets, name: str, family: Family) -> bool:
    info = sets.defined.get(name)
    return info is not None and covers_family(sets.table(info.id, family), family)


def covers_family(table: SortedTable, family: Family) -> bool:
    """Whether the prefixes of a table of claims, taken together, contain every address of the family."""
    width = ADDRESS_BYTES[family]
    address = bytes(width)
    for _ in range(STEPS):
        prefix = _shortest_at(table, family, address)
        if prefix is None:
            return False
        last = int.from_bytes(k.within(prefix)[1][:width])
        if last == (1 << HOST_LENGTH[family]) - 1:
            return True
        address = (last + 1).to_bytes(width)
    return _without_gaps(k.outermost(c.distinct(table.array()["key"])), family)


def _shortest_at(table: SortedTable, family: Family, address: bytes) -> Prefix | None:
    """The shortest prefix that begins at an address: keys with one address stand in the order of their lengths."""
    rows = table.page(address, 1)
    found = None if not len(rows) else k.prefix_of(family, c.prefix_keys(rows["key"])[0])
    return found if found is not None and found.address == address else None


def _without_gaps(keys: Keys, family: Family) -> bool:
    """Whether disjoint sorted prefixes begin with the first address, end with the last, and each follows on another."""
    if not len(keys):
        return False
    firsts, lasts = k.octets(keys)[:, :-1], k.octets(k.last_keys(keys))[:, :-1]
    if firsts[0].any() or not (lasts[-1] == 0xFF).all():
        return False
    # One more than the last address: trailing 0xff octets become 0, the octet before them grows by one.
    carried = np.cumprod(lasts[:-1, ::-1] == 0xFF, axis=1)[:, ::-1].astype(np.bool_)
    grows = np.roll(carried, -1, axis=1)
    grows[:, -1] = True
    following = np.where(carried, 0, lasts[:-1] + (grows & ~carried)).astype(np.uint8)
    return bool((following == firsts[1:]).all())


def shrunk(edit: Edit, before: int) -> str | None:
    """A bulk replace that is empty or removes over half of the `before` prefixes that were there."""
    if before and not edit.total:
        return f"the new list is empty: all {before:,} entries would be removed"
    if edit.removed * 2 > before:
        return f"{edit.removed:,} of {before:,} entries would be removed, which is over half"
    return None
