# SPDX-License-Identifier: Apache-2.0
"""Where a rule stands among the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdpfw.model.errors import Fault, InvalidInput
from xdpfw.model.rule import Rule


@dataclass(frozen=True, slots=True)
class Place:
    """At most one of them: the place counted from 1, or the rule that it comes before or after. None at all: where the
    rule stands, and for a new one, the end."""

    position: int | None = None
    before: str | None = None
    after: str | None = None


def placed(rules: Sequence[Rule], rule: Rule, place: Place) -> tuple[Rule, ...]:
    """The rules with this one in its place, instead of the one with its id if there is one.

    Raises InvalidInput: more than one place, beside itself, or beside a rule that is not there.
    """
    said = {name: getattr(place, name) for name in ("position", "before", "after")}
    given = {name: value for name, value in said.items() if value is not None}
    if len(given) > 1:
        faults = [Fault(f"/{name}", "give one of position, before and after") for name in given]
        raise InvalidInput("give one of position, before and after, not several", faults)
    ids = [other.id for other in rules]
    others = [other for other in rules if other.id != rule.id]
    if not given:
        at = ids.index(rule.id) if rule.id in ids else len(others)
    elif place.position is not None:
        at = min(place.position, len(others) + 1) - 1
    else:
        [(name, neighbour)] = given.items()
        at = _beside(others, rule, name, neighbour)
    return (*others[:at], rule, *others[at:])


def _beside(others: Sequence[Rule], rule: Rule, name: str, neighbour: str) -> int:
    if neighbour == rule.id:
        raise _fault(name, f"rule {rule.id} cannot stand {name} itself")
    ids = [other.id for other in others]
    if neighbour not in ids:
        raise _fault(name, f"there is no rule {neighbour!r}; there are {', '.join(ids) or 'none'}")
    return ids.index(neighbour) + (name == "after")


def _fault(name: str, detail: str) -> InvalidInput:
    return InvalidInput(detail, [Fault(f"/{name}", detail)])
