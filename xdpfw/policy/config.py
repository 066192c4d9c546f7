# SPDX-License-Identifier: Apache-2.0
"""The desired state as one document: policy, rules, sets with their entries, interfaces.

A document owns what it names, and nothing else: sections, sets and interfaces that it leaves out stay as they are, and
so do the entries of a set that it gives none for. `null` instead of a set or an interface takes it out. The rules are
one list, and it owns all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from xdpfw.clock import to_datetime
from xdpfw.model import texts
from xdpfw.model.ban import BANNED
from xdpfw.model.errors import Fault, InvalidInput
from xdpfw.model.interface import AttachMode
from xdpfw.model.policy import ALLOW, BLOCK, DEFAULT_ORIGIN, Claim, Policy
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Mode, Rule
from xdpfw.model.rule_form import INTERFACE, NAME, parse_rules
from xdpfw.policy.bulk import Bulk, parse_items
from xdpfw.policy.differences import policy_fields, rule_fields
from xdpfw.policy.sets import Sets

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Document = Mapping[str, Any]

SECTIONS = ("policy", "rules", "sets", "interfaces")
MOST_ETHERTYPES = 8
MOST_ENTRIES = 100_000
"""Entries that one document may hold. Longer lists have a call of their own."""
MOST_FAULTS = 100


@dataclass(frozen=True, slots=True)
class DesiredSet:
    """None: as it is."""

    comment: str | None = None
    entries: Bulk | None = None


@dataclass(frozen=True, slots=True)
class Desired:
    """What a document says. None, and what is not named: as it is. A set or an interface that is None goes."""

    default: Verdict | None = None
    mode: Mode | None = None
    ethertypes: tuple[int, ...] | None = None
    rules: tuple[Rule, ...] | None = None
    sets: Mapping[str, DesiredSet | None] = field(default_factory=dict)
    interfaces: Mapping[str, AttachMode | None] = field(default_factory=dict)

    def policy(self, old: Policy) -> Policy:
        return replace(
            old,
            default=self.default or old.default,
            mode=self.mode or old.mode,
            ethertypes=old.ethertypes if self.ethertypes is None else self.ethertypes,
            rules=old.rules if self.rules is None else self.rules,
        )


def show_config(
    policy: Policy, sets: Sets, interfaces: Mapping[str, AttachMode], filled: Sequence[str], now: int
) -> dict[str, Any]:
    """The document of a state; `filled` sets with their entries."""
    return {
        "policy": policy_fields(policy.calm()),
        "rules": [{"id": rule.id} | rule_fields(rule) for rule in policy.calm().rules],
        "sets": {
            info.name: {"comment": info.comment}
            | ({"entries": list(_entries(sets, info.name, now))} if info.name in filled else {})
            for info in sets.infos()
        },
        "interfaces": {name: {"mode": mode.value} for name, mode in sorted(interfaces.items())},
    }


def _entries(sets: Sets, name: str, now: int) -> Iterator[str | dict[str, Any]]:
    for entry in sets.entries(name, after=None, limit=MOST_ENTRIES):
        for claim in sorted(entry.claims, key=lambda claim: claim.origin):
            if claim.expires is None or claim.expires > now:
                said = _said(claim)
                yield said if len(said) > 1 else said["prefix"]


def _said(claim: Claim) -> dict[str, Any]:
    shown: dict[str, Any] = {"prefix": str(claim.prefix)}
    if claim.origin != DEFAULT_ORIGIN:
        shown["origin"] = claim.origin
    if claim.expires is not None:
        shown["expires_at"] = to_datetime(claim.expires).isoformat().replace("+00:00", "Z")
    return shown | ({"comment": claim.comment} if claim.comment else {})


def read_config(document: Any, now: int) -> Desired:
    """Raises InvalidInput with all faults and their places. `now`: wall ns, for entries with a ttl."""
    reader = _Reader()
    said = reader.object("", document, SECTIONS)
    policy = reader.object("/policy", said.get("policy", {}), ("default", "mode", "ethertypes"))
    desired = Desired(
        default=reader.optional("/policy/default", policy.get("default"), _one_of(Verdict)),
        mode=reader.optional("/policy/mode", policy.get("mode"), _one_of(Mode)),
        ethertypes=reader.optional("/policy/ethertypes", policy.get("ethertypes"), _ethertypes),
        rules=reader.optional("/rules", said.get("rules"), lambda value: parse_rules(value, "/rules")),
        sets=dict(_sets(reader, said.get("sets", {}), now)),
        interfaces=dict(_interfaces(reader, said.get("interfaces", {}))),
    )
    if reader.faults:
        first, many = reader.faults[0], len(reader.faults)
        more = f" (the first of {many} faults)" if many > 1 else ""
        raise InvalidInput(f"{first.pointer or 'the document'}: {first.detail}{more}", reader.faults[:MOST_FAULTS])
    return desired


class _Reader:
    """Collects faults with the places where they are, so that all of them are told at once."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.entries = 0

    def fault(self, pointer: str, detail: str) -> None:
        self.faults.append(Fault(pointer, detail))

    def object(self, pointer: str, value: Any, known: Sequence[str] | None = None) -> Document:
        """`known`: the fields that there are, None where they are names."""
        if not isinstance(value, dict):
            self.fault(pointer, "an object is wanted here")
            return {}
        for name in value:
            if not isinstance(name, str):
                self.fault(pointer, f"{name!r} is no text: put it in quotes")
            elif known is not None and name not in known:
                self.fault(f"{pointer}/{_step(name)}", f"there is no such field; there are {', '.join(known)}")
        return {name: inner for name, inner in value.items() if isinstance(name, str)}

    def optional(self, pointer: str, value: Any, read: Callable[[Any], T]) -> T | None:
        if value is None:
            return None
        try:
            return read(value)
        except ValueError as error:
            self.fault(pointer, str(error))
        except InvalidInput as error:
            self.faults += error.faults or (Fault(pointer, error.detail),)
        return None


def _sets(reader: _Reader, section: Any, now: int) -> Iterator[tuple[str, DesiredSet | None]]:
    for name, said in reader.object("/sets", section).items():
        at = f"/sets/{_step(name)}"
        if not NAME.fullmatch(name):
            reader.fault(at, f"{name!r} cannot name a set: a small letter, then up to 62 of a-z 0-9 _ -")
        elif name == BANNED:
            reader.fault(at, "this set is filled by rules alone: leave it out")
        elif said is None:
            if name in (ALLOW, BLOCK):
                reader.fault(at, f"set {name} always exists; entries: [] empties it")
            yield name, None
        else:
            fields = reader.object(at, said, ("comment", "entries"))
            comment = reader.optional(f"{at}/comment", fields.get("comment"), texts.comment)
            yield name, DesiredSet(comment, _bulk(reader, f"{at}/entries", fields.get("entries"), now))


def _bulk(reader: _Reader, pointer: str, items: Any, now: int) -> Bulk | None:
    if items is None:
        return None
    if not isinstance(items, list):
        reader.fault(pointer, "a list of prefixes or entries is wanted")
        return None
    reader.entries += len(items)
    if reader.entries > MOST_ENTRIES:
        reader.fault(pointer, f"a document holds at most {MOST_ENTRIES:,} entries; longer lists go to PUT …/entries")
        return None
    bulk = parse_items(items, now=now, pointer=pointer)
    reader.faults += bulk.faults
    return bulk


def _interfaces(reader: _Reader, section: Any) -> Iterator[tuple[str, AttachMode | None]]:
    for name, said in reader.object("/interfaces", section).items():
        at = f"/interfaces/{_step(name)}"
        if not INTERFACE.fullmatch(name) or len(name.encode("utf-8", "replace")) > 15 or name in (".", ".."):
            reader.fault(at, f"{name!r} cannot be the name of an interface")
        elif said is None:
            yield name, None
        else:
            fields = {"mode": said} if isinstance(said, str) else reader.object(at, said, ("mode",))
            mode = reader.optional(f"{at}/mode", fields.get("mode", "auto"), _one_of(AttachMode))
            yield name, mode or AttachMode.AUTO


def _ethertypes(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > MOST_ETHERTYPES:
        raise ValueError(f"a list of at most {MOST_ETHERTYPES} EtherTypes is wanted")
    faults, found = [], []
    for number, each in enumerate(value):
        try:
            found.append(texts.ethertype(each))
        except ValueError as error:
            faults.append(Fault(f"/policy/ethertypes/{number}", str(error)))
    if faults:
        raise InvalidInput(faults[0].detail, faults)
    return tuple(dict.fromkeys(found))


def _one_of(kind: type[E]) -> Callable[[Any], E]:
    def read(value: Any) -> E:
        try:
            return kind(value)
        except ValueError:
            words = ", ".join(kind)
            raise ValueError(f"{str(value)[:40]!r}: one of {words} is wanted") from None

    return read


def _step(name: str) -> str:
    """Of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
