# SPDX-License-Identifier: Apache-2.0
"""Which rows of the policy have a limit, and where bans stand among the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from xdpfw.model.errors import Fault, InvalidInput
from xdpfw.model.rule import Action, Mode, Rule
from xdpfw.policy.rows import Row, listed

MAX_BAN_LENGTHS = 4
"""Distinct prefix lengths of a family by which rules may ban: a packet asks for each of them. The packet path has room
for twice as many (bpf/ban.h), so that bans made before a change of the rules stay in force."""


def limited_rows(rows: Sequence[Row]) -> dict[int, Rule]:
    """Number of the row to its rule."""
    return {number: row.rule for number, row in enumerate(rows) if row.rule.action is Action.LIMIT}


def ban_places(rows: Sequence[Row], slots: Mapping[str, int]) -> dict[int, int]:
    """Slot of a rule to the row before which bans that it made stand: its own first one. Only while it enforces a
    limit: bans of a rule that does not, or not any more, are not in force."""
    places: dict[int, int] = {}
    for number, row in enumerate(rows):
        if row.rule.action is Action.LIMIT and row.rule.mode is Mode.ENFORCE:
            places.setdefault(slots[row.rule.id], number)
    return places


def check_bans(rules: Sequence[Rule], at: Callable[[int], str] = listed) -> None:
    """Raises InvalidInput when rules ban by too many different prefix lengths. `at`: as of `listed`."""
    limits = [rule.limit for rule in rules if rule.enabled and rule.bans]
    for name in ("prefix4", "prefix6"):
        lengths = {getattr(limit, name) for limit in limits}
        if len(lengths) > MAX_BAN_LENGTHS:
            detail = (
                f"rules that ban have {len(lengths)} different {name} ({', '.join(map(str, sorted(lengths)))});"
                f" there may be {MAX_BAN_LENGTHS}"
            )
            one = f"one of {len(lengths)} lengths, and there may be {MAX_BAN_LENGTHS}"
            numbers = (number for number, rule in enumerate(rules) if rule.enabled and rule.bans)
            places = dict.fromkeys(f"{at(number)}/limit/{name}" for number in numbers)
            raise InvalidInput(detail, [Fault(place, one) for place in places])
