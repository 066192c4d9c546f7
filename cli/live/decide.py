# SPDX-License-Identifier: Apache-2.0
"""Which rule decides about a talker, worked out from the rules, their order and the sets that the address is in.

A talker is a source address; a rule may ask for more (ports, protocol…), and then it is not certain that it meets the
packets of this talker. Such a rule is named with a question mark, and only where packets are being dropped that no rule
before it drops for certain.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from cli.client import Document
from cli.live.reading import Talker

_KEPT = 8192
BANNED = "banned"
"""The set of those that a limit has banned."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What decides about a source, for people, and how: `pass`, `drop` or `limit`. Without a label nothing does."""

    label: str = ""
    verdict: str = "pass"


@dataclass(frozen=True, slots=True)
class _Rule:
    """`conditional`: it asks for more than the source. `bans`: who is over its limit, whatever comes from there then.
    `wanted`, `unwanted`: names of sets and prefixes; without any wanted it is about everyone."""

    decision: Decision
    conditional: bool
    bans: bool
    interfaces: frozenset[str]
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]

    @classmethod
    def of(cls, rule: Document) -> _Rule:
        match = rule["match"]
        source = match.get("source", ())
        return cls(
            Decision(rule["id"], rule["action"]),
            bool(match.keys() - {"source", "interfaces"}),
            bool((rule.get("limit") or {}).get("ban")),
            frozenset(match.get("interfaces", ())),
            tuple(text for text in source if not text.startswith("!")),
            tuple(text[1:] for text in source if text.startswith("!")),
        )

    @property
    def always(self) -> bool:
        """Whether every address on every interface meets it."""
        return not (self.wanted or self.unwanted or self.interfaces)


Key = tuple[int, int, int] | str
"""A prefix as (version, length, network), or the name of a set."""


def _key(text: str) -> Key:
    """Names of sets begin with a letter and have no colon."""
    if text[0].isalpha() and ":" not in text:
        return text
    network = ipaddress.ip_network(text)
    return network.version, network.prefixlen, int(network.network_address)


@dataclass(slots=True)
class Rules:
    """The rules that are in force, and the default verdict. Made to be asked about many addresses: rules are found by
    what they want, not tried one after the other."""

    default: str = "pass"
    _rules: tuple[_Rule, ...] = ()
    _everyone: tuple[int, ...] = ()
    _wanting: dict[Key, list[int]] = field(default_factory=dict)
    _unwanting: dict[int, frozenset[Key]] = field(default_factory=dict)
    _lengths: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _known: dict[object, tuple[Decision, Decision | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, documents: Sequence[Document], default: str) -> Rules:
        rules = tuple(_Rule.of(rule) for rule in documents if rule["enabled"] and rule["mode"] == "enforce")
        wanting: dict[Key, list[int]] = defaultdict(list)
        unwanting: dict[int, frozenset[Key]] = {}
        for at, rule in enumerate(rules):
            for text in rule.wanted:
                wanting[_key(text)].append(at)
            if rule.unwanted:
                unwanting[at] = frozenset(map(_key, rule.unwanted))
        prefixes = [key for key in {*wanting, *chain(*unwanting.values())} if not isinstance(key, str)]
        lengths = {
            version: tuple(sorted({length for each, length, _ in prefixes if each == version})) for version in (4, 6)
        }
        return cls(default, rules, tuple(_about_everyone(rules)), dict(wanting), unwanting, lengths)

    def decide(self, talker: Talker, interface: str | None = None) -> Decision:
        """`interface`: where all of its packets came in, if that is known."""
        interfaces = (interface,) if interface else talker.interfaces
        key = (talker.address, talker.sets, interfaces)
        if key not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[key] = self._work_out(talker, frozenset(interfaces))
        certain, perhaps = self._known[key]
        if certain.verdict != "drop" and perhaps is not None and talker.traffic.dropped.packets:
            return perhaps
        return certain

    def _work_out(self, talker: Talker, interfaces: frozenset[str]) -> tuple[Decision, Decision | None]:
        """The first rule that matches for certain, and the first before it that may be what drops."""
        keys = self._keys(talker)
        found = sorted({*self._everyone, *chain.from_iterable(self._wanting.get(key, ()) for key in keys)})
        perhaps: Decision | None = None
        for at in found:
            rule = self._rules[at]
            if not keys.isdisjoint(self._unwanting.get(at, ())):
                continue
            if rule.interfaces and interfaces.isdisjoint(rule.interfaces):
                continue
            if rule.bans and BANNED in keys:
                return Decision(BANNED, "drop"), perhaps
            # On one of several interfaces only: not all of the talker's packets meet it.
            if not rule.conditional and (not rule.interfaces or interfaces <= rule.interfaces):
                return rule.decision, perhaps
            if perhaps is None and rule.decision.verdict != "pass":
                perhaps = Decision(f"{rule.decision.label}?", rule.decision.verdict)
        return Decision("default" if self.default == "drop" else "", self.default), perhaps

    def _keys(self, talker: Talker) -> set[Key]:
        """All by which rules may want or not want this talker."""
        address = ipaddress.ip_address(talker.address)
        bits, number = address.max_prefixlen, int(address)
        keys: set[Key] = set(talker.sets)
        keys.update(
            (address.version, length, number >> (bits - length) << (bits - length))
            for length in self._lengths.get(address.version, ())
        )
        return keys


def _about_everyone(rules: Sequence[_Rule]) -> Iterator[int]:
    """Rules that want nobody in particular, as far as one of them can be what decides: the first that every packet may
    meet and that drops is what may drop, and after the first that every packet meets comes nothing."""
    may_drop = False
    for at, rule in enumerate(rules):
        pointless = rule.conditional and not rule.bans and (may_drop or rule.decision.verdict == "pass")
        if rule.wanted or pointless:
            continue
        yield at
        if rule.always and not rule.conditional:
            return
        may_drop = may_drop or rule.always
