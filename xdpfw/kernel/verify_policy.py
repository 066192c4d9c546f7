# SPDX-License-Identifier: Apache-2.0
"""Whether the generation in force holds what a policy compiles to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.ban_maps import ban_places
from xdpfw.kernel.finding import Finding
from xdpfw.kernel.limit_maps import LimitMaps
from xdpfw.kernel.maps import Map, View
from xdpfw.kernel.rule_maps import literal_records, policy_record, row_records, value_records, vector_records
from xdpfw.kernel.tables import Tables
from xdpfw.model.policy import MAX_ROWS, MAX_SLOTS
from xdpfw.policy import match
from xdpfw.policy.ops import WritePolicy
from xdpfw.policy.rows import rows_of
from xdpfw.policy.table import plain

DIMENSIONS = (
    (match.PROTOCOL, "protocol"), (match.ICMP, "ICMP type"), (match.TCP_FLAGS, "TCP flags"),
    (match.FRAGMENT, "fragment"), (match.VLAN, "VLAN"), (match.LENGTH, "length"), (match.SOURCE_PORT, "source port"),
    (match.DESTINATION_PORT, "destination port"),
)  # fmt: skip


class PolicyVerifier:
    """`rewrite` writes all of a policy once more."""

    def __init__(self, tables: Tables, limits: LimitMaps, rewrite: Callable[[WritePolicy], None]) -> None:
        self._tables, self._limits, self._rewrite = tables, limits, rewrite

    def findings(self, op: WritePolicy) -> Iterator[Finding]:
        maps, rules, generation = self._tables.maps, op.rules, op.generation

        def half(size: int, count: int) -> npt.NDArray[np.int64]:
            return generation * size + np.arange(count)

        names = [f"rule {row.rule.id}" for row in rows_of(op.policy)]
        tables: list[tuple[str, npt.NDArray[np.int64], View, Sequence[str]]] = [
            ("policy", half(1, 1), policy_record(op.policy).reshape(1), ["the policy"]),
            ("row", half(MAX_ROWS, len(names)), row_records(rules), names),
            ("limits", half(MAX_ROWS, len(names)), self._limits.records(rules)[: len(names)], names),
        ]
        for table, at, wanted, named in tables:
            yield from records(maps[table], at, wanted, named.__getitem__)
        yield from self._values(op)
        yield from self._vectors(op)
        places = maps["ban_place"].view["row"][half(MAX_SLOTS, MAX_SLOTS)]
        if len(wrong := np.flatnonzero(places != ban_places(rules))):
            yield self.again("ban_place", [f"bans of the rule with slot {slot}" for slot in wrong], op)
        yield from self._literals(op)

    def _values(self, op: WritePolicy) -> Iterator[Finding]:
        lines = match.VALUES // match.LINE
        live = self._tables.maps["value_vector"].view["vector"].reshape(2, -1)[op.generation]
        wanted = value_records(op.rules)["vector"].reshape(-1)
        assert len(wanted) == lines * match.LINE
        if len(wrong := np.flatnonzero(live != wanted)):
            yield self.again("value_vector", [_value_name(int(value)) for value in wrong[:100]], op, len(wrong))

    def _vectors(self, op: WritePolicy) -> Iterator[Finding]:
        numbers = np.concatenate((op.numbers, np.arange(match.ENFORCED, match.ENFORCED + len(op.rules.vectors))))
        wanted = np.concatenate((vector_records(op.vectors), vector_records(op.rules.vectors)))
        at = op.generation * self._tables.limits.vectors + numbers.astype(np.int64)
        live = self._tables.maps["vector"].read(at)
        if len(wrong := np.flatnonzero(plain(live) != plain(wanted))):
            yield self.again("vector", [f"which rules match, number {numbers[at]}" for at in wrong], op)

    def _literals(self, op: WritePolicy) -> Iterator[Finding]:
        table = self._tables.maps["literals"]
        found = [
            _pairs(keys, values)[keys["generation"] == op.generation]
            for keys, values in libbpf.map_records(table.fd, layouts.LITERAL_KEY, layouts.LITERAL)
        ]
        live = np.concatenate(found)
        wanted = _pairs(*literal_records(op.generation, op.rules.literals))
        missing, strange = wanted[~np.isin(wanted, live)], live[~np.isin(live, wanted)]
        details = [f"a prefix that rules name is missing or stands for other rules, {len(missing):,} in all"]
        details = details * bool(len(missing)) + ["a prefix that no rule names is there"] * len(strange)
        if details:
            yield self.again("literals", details, op)

    def again(self, table: str, details: Sequence[str], op: WritePolicy, places: int | None = None) -> Finding:
        count = len(details) if places is None else places
        return Finding(table, count, details.__getitem__, lambda: self._rewrite(op))


def records(
    table: Map,
    at: npt.NDArray[np.int64],
    wanted: View,
    name: Callable[[int], str],
) -> Iterator[Finding]:
    """Records that are not byte by byte what they should be."""
    live = table.read(at)
    wrong = np.flatnonzero(plain(live) != plain(wanted))
    if len(wrong):
        yield Finding(
            table.spec.name,
            len(wrong),
            lambda n: f"{name(int(wrong[n]))}: {_difference(live[wrong[n]], wanted[wrong[n]])}",
            lambda: table.write(at[wrong], wanted[wrong]),
        )


def _difference(live: np.void, wanted: np.void) -> str:
    names = live.dtype.names or ()
    return ", ".join(
        f"{name} is {live[name].tolist()} and should be {wanted[name].tolist()}"
        for name in names
        if (live[name] != wanted[name]).any()
    )


def _value_name(value: int) -> str:
    start, name = max(dimension for dimension in DIMENSIONS if dimension[0] <= value)
    return f"{name} {value - start} leads to other rules"


def _pairs(keys: View, values: View) -> npt.NDArray[np.void]:
    """Keys with their values, to be compared whole."""
    both = np.empty((len(keys), keys.dtype.itemsize + values.dtype.itemsize), np.uint8)
    both[:, : keys.dtype.itemsize] = keys.view(np.uint8).reshape(len(keys), -1)
    both[:, keys.dtype.itemsize :] = values.view(np.uint8).reshape(len(keys), -1)
    return both.view(f"V{both.shape[1]}").reshape(-1)
