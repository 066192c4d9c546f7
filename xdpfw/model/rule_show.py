# SPDX-License-Identifier: Apache-2.0
"""Rules as the documents that `rule_form.py` reads: reading what is shown gives the same rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from xdpfw.model.rule import UNTAGGED, AddressMatch, Flags, IcmpType, Limit, Match, Range, Rule
from xdpfw.model.rule_form import ALL_FLAGS, ICMP_NAMES, PROTOCOL_NAMES, TCP_FLAGS


def show_rule(rule: Rule) -> dict[str, Any]:
    """Every field, but for those of the match that ask nothing."""
    return {
        "id": rule.id,
        "enabled": rule.enabled,
        "comment": rule.comment,
        "match": show_match(rule.match),
        "action": rule.action.value,
        "mode": rule.mode.value,
        "limit": show_limit(rule.limit) if rule.limit else None,
        "log": {"rate": rule.log_rate} if rule.log_rate else None,
    }


def show_match(match: Match) -> dict[str, list[Any]]:
    """The fields that ask something."""
    shown: dict[str, list[Any]] = {}
    for name, show in _FIELDS.items():
        values = getattr(match, name)
        if values:
            shown[name] = [show(value) for value in values]
    for name, side in (("destination", match.destination), ("source", match.source)):
        if not side.anything:
            shown = {name: list(_address(side))} | shown
    return shown


def show_limit(limit: Limit) -> dict[str, Any]:
    names = ("rate", "unit", "burst", "per", "prefix4", "prefix6", "ban")
    return {name: getattr(limit, name) for name in names}


def _address(match: AddressMatch) -> Iterator[str]:
    yield from match.sets
    yield from map(str, match.prefixes)
    yield from (f"!{name}" for name in match.not_sets)
    yield from (f"!{prefix}" for prefix in match.not_prefixes)


def _range(part: Range) -> int | str:
    return part.first if part.first == part.last else f"{part.first}-{part.last}"


def _icmp(part: IcmpType) -> int | str:
    name = ICMP_NAMES.get(part)
    return name if name else part.icmp or 0


def _flags(flags: Flags) -> str:
    mask, value = map(_flag_names, (flags.mask, flags.value))
    return mask if mask == value else f"{mask}/{value}"


def _flag_names(bits: int) -> str:
    if bits in (0, ALL_FLAGS):
        return "all" if bits else "none"
    return ",".join(name for name, bit in TCP_FLAGS.items() if bits & bit)


_FIELDS: dict[str, Callable[[Any], Any]] = {
    "protocol": lambda number: PROTOCOL_NAMES.get(number, number),
    "source_ports": _range,
    "destination_ports": _range,
    "icmp_types": _icmp,
    "tcp_flags": _flags,
    "vlan": lambda part: "none" if part.first == UNTAGGED else _range(part),
    "length": _range,
    "fragment": str,
    "interfaces": str,
}
"""How a value of each field is shown, but for addresses, which come before them."""
