# SPDX-License-Identifier: Apache-2.0
"""Which rule decides about a talker, worked out from the rules, their order and the sets that the address is in.

A talker is a source address; a rule may ask for more (ports, protocol…), and then it is not certain that it meets the
packets of this talker. Such a rule is named with a question mark, and only where packets are being dropped that no rule
before it drops for certain.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from cli.client import Document
from cli.live.reading import Talker

_KEPT = 8192


@dataclass(frozen=True, slots=True)
class Decision:
    """What decides about a source, for people, and how: `pass`, `drop` or `limit`. Without a label nothing does."""

    label: str = ""
    verdict: str = "pass"


@dataclass(frozen=True, slots=True)
class _Networks:
    """Prefixes to look addresses up in: (version, network, mask)."""

    members: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> _Networks:
        networks = [ipaddress.ip_network(text) for text in texts]
        return cls(tuple((each.version, int(each.network_address), int(each.netmask)) for each in networks))

    def hold(self, version: int, number: int) -> bool:
        return any(version == each and number & mask == network for each, network, mask in self.members)


@dataclass(frozen=True, slots=True)
class _Rule:
    """`conditional`: it asks for more than the source. `anyone`: it asks for no source in particular."""

    decision: Decision
    conditional: bool
    interfaces: frozenset[str]
    anyone: bool
    sets: frozenset[str]
    networks: _Networks
    not_sets: frozenset[str]
    not_networks: _Networks

    @classmethod
    def of(cls, rule: Document) -> _Rule:
        match = rule["match"]
        wanted = [text for text in match.get("source", ()) if not text.startswith("!")]
        unwanted = [text[1:] for text in match.get("source", ()) if text.startswith("!")]
        sets, networks = _apart(wanted)
        not_sets, not_networks = _apart(unwanted)
        return cls(
            Decision(rule["id"], rule["action"]),
            bool(match.keys() - {"source", "interfaces"}),
            frozenset(match.get("interfaces", ())),
            not wanted,
            sets, networks, not_sets, not_networks,
        )  # fmt: skip

    def meets(self, sets: frozenset[str], interfaces: frozenset[str], version: int, number: int) -> bool:
        if self.interfaces and interfaces.isdisjoint(self.interfaces):
            return False
        if not (self.anyone or not sets.isdisjoint(self.sets) or self.networks.hold(version, number)):
            return False
        return sets.isdisjoint(self.not_sets) and not self.not_networks.hold(version, number)


def _apart(texts: Iterable[str]) -> tuple[frozenset[str], _Networks]:
    """Names of sets, which begin with a letter and have no colon; prefixes."""
    names = {text for text in texts if text[0].isalpha() and ":" not in text}
    return frozenset(names), _Networks.of(text for text in texts if text not in names)


@dataclass(slots=True)
class Rules:
    """The rules that are in force, and the default verdict. `mode` of the policy does not matter here."""

    default: str = "pass"
    _rules: tuple[_Rule, ...] = ()
    _known: dict[object, tuple[Decision, Decision | None]] = field(default_factory=dict)

    @classmethod
    def of(cls, documents: Sequence[Document], default: str) -> Rules:
        enforced = [rule for rule in documents if rule["enabled"] and rule["mode"] == "enforce"]
        return cls(default, tuple(_Rule.of(rule) for rule in enforced))

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
        address, sets = ipaddress.ip_address(talker.address), frozenset(talker.sets)
        version, number = address.version, int(address)
        perhaps: Decision | None = None
        for rule in self._rules:
            # On one of several interfaces only: not all of the talker's packets meet it.
            conditional = rule.conditional or bool(rule.interfaces and not interfaces <= rule.interfaces)
            if conditional and (perhaps is not None or rule.decision.verdict == "pass"):
                continue
            if not rule.meets(sets, interfaces, version, number):
                continue
            if not conditional:
                return rule.decision, perhaps
            perhaps = Decision(f"{rule.decision.label}?", rule.decision.verdict)
        return Decision("default" if self.default == "drop" else "", self.default), perhaps
