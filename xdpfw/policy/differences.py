# SPDX-License-Identifier: Apache-2.0
"""What a change makes different, for people and programs: one item for each resource, with the fields that differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from xdpfw.clock import to_datetime
from xdpfw.model.interface import AttachMode
from xdpfw.model.ledger import Difference, Differences
from xdpfw.model.policy import Policy
from xdpfw.model.rule import Rule
from xdpfw.model.rule_show import show_rule
from xdpfw.policy import claims as c
from xdpfw.policy import keys as k
from xdpfw.policy.delta import Delta
from xdpfw.policy.ops import NEVER
from xdpfw.policy.sets import Sets
from xdpfw.policy.table import Records

Values = dict[str, Any]

PLAIN_RULE = {"enabled": True, "comment": "", "mode": "enforce", "limit": None, "log": None}
"""Fields of a rule that are not shown while they say this."""

LONG = 100_000
"""Claims that are not counted one by one any more."""

LONGEST = 1000
"""Characters of one side of a difference that are kept for good."""


def policy_differences(old: Policy, new: Policy, most_rules: int | None = None) -> tuple[list[Difference], int]:
    """And how many rules differ beyond those of the first `most_rules`."""
    before, after = ({**policy_fields(policy), "panic": policy.panic is not None} for policy in (old, new))
    found = list(_differing("policy", before, after))
    changes = list(_rule_changes(old.rules, new.rules))
    found += map(_rule_difference, changes[:most_rules])
    found += _moved(old.rules, new.rules)
    return found, 0 if most_rules is None else max(0, len(changes) - most_rules)


def policy_fields(policy: Policy) -> Values:
    return {
        "default": policy.default.value,
        "mode": policy.mode.value,
        "ethertypes": [f"{ethertype:#06x}" for ethertype in policy.ethertypes],
    }


def rule_fields(rule: Rule) -> Values:
    """A rule without the fields that say nothing, and without its id."""
    shown = show_rule(rule)
    return {name: value for name, value in shown.items() if name != "id" and PLAIN_RULE.get(name, ...) != value}


RuleChange = tuple[Rule | None, Rule | None, int]
"""Before, after, and the position then."""


def _rule_changes(old: Sequence[Rule], new: Sequence[Rule]) -> Iterator[RuleChange]:
    before, after = ({rule.id: rule for rule in rules} for rules in (old, new))
    for rule in old:
        if rule.id not in after:
            yield rule, None, 0
    for position, rule in enumerate(new, 1):
        if rule != before.get(rule.id):
            yield before.get(rule.id), rule, position


def _rule_difference(change: RuleChange) -> Difference:
    before, after, position = change
    if before and after:
        [difference] = _differing(f"rules/{after.id}", show_rule(before), show_rule(after))
        return difference
    if after:
        return Difference(f"rules/{after.id}", None, {"position": position} | rule_fields(after))
    assert before
    return Difference(f"rules/{before.id}", rule_fields(before), None)


def _moved(old: Sequence[Rule], new: Sequence[Rule]) -> Iterator[Difference]:
    """The part of the order that is another one."""
    before, after = ({rule.id for rule in rules} for rules in (old, new))
    kept = [rule.id for rule in old if rule.id in after]
    order = [rule.id for rule in new if rule.id in before]
    moved = [at for at, (one, other) in enumerate(zip(kept, order, strict=True)) if one != other]
    if moved:
        part = slice(moved[0], moved[-1] + 1)
        yield Difference("rules", {"order": kept[part]}, {"order": order[part]})


def _differing(path: str, before: Values, after: Values) -> Iterator[Difference]:
    names = [name for name in before if before[name] != after[name]]
    if names:
        yield Difference(path, {name: before[name] for name in names}, {name: after[name] for name in names})


def set_differences(old: Sets, new: Sets) -> Iterator[Difference]:
    """Of the sets themselves, not of their entries."""
    before, after = ({info.name: info.comment for info in sets.infos()} for sets in (old, new))
    for name in (*before, *(name for name in after if name not in before)):
        if before.get(name) != after.get(name):
            sides = [{"comment": side[name]} if name in side else None for side in (before, after)]
            yield Difference(f"sets/{name}", *sides)


def interface_differences(old: Mapping[str, AttachMode], new: Mapping[str, AttachMode | None]) -> Iterator[Difference]:
    """`new`: those that change."""
    for name, mode in new.items():
        if old.get(name) != mode:
            sides = [{"mode": side.value} if side else None for side in (old.get(name), mode)]
            yield Difference(f"interfaces/{name}", *sides)


def entry_differences(deltas: Sequence[Delta], most: int) -> tuple[list[Difference], int]:
    """Claim by claim, the first `most` of them, and how many more there are: of long lists at least so many."""
    found: list[Difference] = []
    total = 0
    for delta in deltas:
        room, long, size = most - len(found), len(delta) > LONG, max(len(delta.before), len(delta.after))
        if long:
            delta = replace(delta, before=delta.before[:room], after=delta.after[:room])
        keys = k.union(delta.before["key"], delta.after["key"])
        total += size if long else len(keys)
        found += islice(_claim_differences(delta, keys[:room]), room)
    return found, total - len(found)


def _claim_differences(delta: Delta, keys: Any) -> Iterator[Difference]:
    sides = [_by_key(delta, rows[k.member(rows["key"], keys)]) for rows in (delta.before, delta.after)]
    for key, prefix in zip(keys.tolist(), c.prefix_keys(keys), strict=True):
        path = f"sets/{delta.name}/entries/{k.prefix_of(delta.family, prefix)}"
        yield Difference(path, sides[0].get(key), sides[1].get(key))


def _by_key(delta: Delta, rows: Records) -> dict[bytes, Values]:
    numbers = c.origins(rows["key"]).tolist()
    columns = [rows[name].tolist() for name in ("key", "expires", "comment")]
    return {
        key: {
            "origin": delta.origins[number],
            "expires_at": None if expires == NEVER else to_datetime(expires).isoformat().replace("+00:00", "Z"),
            "comment": delta.comments[comment],
        }
        for number, key, expires, comment in zip(numbers, *columns, strict=True)
    }


def bounded(differences: Sequence[Difference], more: int, most: int) -> Differences:
    """What is kept for good: as many as take at most `most` characters, each of them short."""
    kept: list[Difference] = []
    for difference in differences:
        short = Difference(difference.path, _short(difference.before), _short(difference.after))
        most -= len(json.dumps([short.path, short.before, short.after]))
        if most < 0:
            break
        kept.append(short)
    return Differences(tuple(kept), more + len(differences) - len(kept))


def _short(values: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if values is None or len(text := json.dumps(values, ensure_ascii=False)) <= LONGEST:
        return values
    return {"shortened": text[:LONGEST]}
