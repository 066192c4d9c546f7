# SPDX-License-Identifier: Apache-2.0
"""A pure model of the rules' tables: bpf/match.h in Python, one generation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from xdpfw.model.limits import Limits
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Address
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import MAX_LENGTH, UNTAGGED
from xdpfw.policy import match as m
from xdpfw.policy.match import RuleTables, Vectors, rule_tables
from xdpfw.policy.reference_parse import Parsed


class FakeRules:
    def __init__(self, policy: Policy, rules: RuleTables, size: int) -> None:
        self.policy, self._rules = policy, rules
        self._vectors = np.zeros((size, m.WORDS), np.uint64)
        self.write(np.arange(m.ENFORCED, m.ENFORCED + len(rules.vectors), dtype=np.uint32), rules.vectors)

    @classmethod
    def empty(cls) -> FakeRules:
        size = Limits().vectors
        return cls(Policy(), rule_tables(Policy(), size), size)

    def write(self, numbers: npt.NDArray[np.uint32], vectors: Vectors) -> None:
        self._vectors[numbers] = vectors

    def slot(self, row: int) -> int:
        return int(self._rules.slots[row])

    @property
    def places(self) -> Mapping[int, int]:
        return self._rules.places

    def verdict(self, row: int) -> Verdict:
        return Verdict.DROP if self._rules.actions[row] == 1 else Verdict.PASS

    def first_rows(
        self, parsed: Parsed, length: int, interface: str | None, classes: tuple[int, int]
    ) -> tuple[int | None, int | None]:
        """The first row that is enforced, and the first in monitor mode before it."""
        rows = self._bits(m.ENFORCED)
        enforced, found = rows, -1
        for number in self._numbers(parsed, length, interface, classes):
            found &= self._bits(number)
        first = _lowest(found & enforced)
        watching = _lowest(found & ~enforced & ((1 << (first if first is not None else len(self._rules.slots))) - 1))
        return first, watching

    def _bits(self, number: int) -> int:
        return int.from_bytes(self._vectors[number].tobytes(), "little")

    def _numbers(self, parsed: Parsed, length: int, interface: str | None, classes: tuple[int, int]) -> Iterator[int]:
        """The number of every dimension's vector."""
        assert parsed.source is not None and parsed.destination is not None
        yield classes[0]
        yield m.DESTINATION_CLASSES + classes[1]
        yield int(self._rules.literals.source[self._literal(parsed.source)])
        yield int(self._rules.literals.destination[self._literal(parsed.destination)])
        yield self._rules.interfaces.get(interface or "", self._rules.elsewhere)
        protocol = m.NO_PROTOCOL if parsed.tail or parsed.protocol is None else parsed.protocol
        icmp = m.NO_ICMP if parsed.icmp_type is None else m.icmp_value(protocol, parsed.icmp_type)
        fragment = 2 if parsed.later_fragment else int(parsed.more_fragments)
        for value in (
            m.PROTOCOL + protocol,
            m.SOURCE_PORT + (m.NO_PORT if parsed.source_port is None else parsed.source_port),
            m.DESTINATION_PORT + (m.NO_PORT if parsed.destination_port is None else parsed.destination_port),
            m.ICMP + icmp,
            m.TCP_FLAGS + (m.NO_TCP_FLAGS if parsed.tcp_flags is None else parsed.tcp_flags),
            m.VLAN + (parsed.vlans[0] if parsed.vlans else UNTAGGED),
            m.LENGTH + min(length, MAX_LENGTH),
            m.FRAGMENT + fragment,
        ):
            yield int(self._rules.values[value])

    def _literal(self, address: Address) -> int:
        """Which of the rules' own prefixes is the longest that contains an address."""
        packed = address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed
        number, found, best = int.from_bytes(packed), 0, -1
        literals = self._rules.literals
        for at, (octets, length) in enumerate(zip(literals.addresses, literals.lengths.tolist(), strict=True)):
            if number >> (128 - length) == int.from_bytes(octets.tobytes()) >> (128 - length):
                found, best = (at, length) if length > best else (found, best)
        return found


def _lowest(bits: int) -> int | None:
    return (bits & -bits).bit_length() - 1 if bits > 0 else None
