# SPDX-License-Identifier: Apache-2.0
"""The tables of the rules: vectors, values, rules' own prefixes, rows and counters (policy/match.py says what for)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.maps import Map
from xdpfw.kernel.tables import Tables
from xdpfw.model.policy import MAX_ROWS, MAX_SLOTS, Policy
from xdpfw.model.reason import Verdict
from xdpfw.model.rule import Mode
from xdpfw.policy.match import ENFORCED, LINE, VALUES, Literals, RuleTables, Vectors
from xdpfw.policy.ops import Ids, WritePolicy

GENERATION_BITS = 32
"""Of a key in the trie of literals, before the address."""


class RuleMaps:
    """Writes one generation while packets read the other."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._literals: dict[int, npt.NDArray[np.void]] = {}

    def write(self, op: WritePolicy) -> None:
        """Raises libbpf.Refused."""
        generation, rules = op.generation, op.rules
        self._write_literals(generation, rules.literals)
        self._tables.maps["policy"].view[generation] = policy_record(op.policy)
        records = row_records(rules)
        self._half("row", MAX_ROWS, generation)[: len(records)] = records
        self._half("value_vector", VALUES // LINE, generation)[:] = value_records(rules)
        self.write_vectors(generation, np.arange(ENFORCED, ENFORCED + len(rules.vectors)), rules.vectors)
        self.write_vectors(generation, op.numbers, op.vectors)

    def write_vectors(self, generation: int, numbers: npt.NDArray[np.integer], vectors: Vectors) -> None:
        records = vector_records(vectors)
        with self._tables.maps["vector"].mapped() as live:
            live[generation * self._tables.limits.vectors + numbers.astype(np.int64)] = records

    def forget(self) -> None:
        """What is in the trie may be something else than was written there."""
        self._literals.clear()

    def _half(self, name: str, size: int, generation: int) -> npt.NDArray[np.void]:
        return self._tables.maps[name].view[generation * size : (generation + 1) * size]

    def _write_literals(self, generation: int, literals: Literals) -> None:
        """The trie holds both generations; keys of the one that is in force are not touched."""
        table = self._tables.maps["literals"]
        keys, values = literal_records(generation, literals)
        before = self._literals.get(generation)
        if before is None:
            before = _keys_in(table, generation)
        _delete(table, before[~np.isin(_whole(before), _whole(keys))])
        self._literals[generation] = keys
        _, error = libbpf.map_update_batch(table.fd, keys, values)
        if error is not None:
            raise error

    # counters

    def counts(self) -> npt.NDArray[np.uint64]:
        """(MAX_SLOTS, 2): packets and bytes per slot, summed over CPUs."""
        with self._tables.maps["rule_counters"].mapped() as live:
            summed: npt.NDArray[np.uint64] = live.view("u8").reshape(-1, MAX_SLOTS, 2).sum(0, dtype=np.uint64)
        return summed

    def clear(self, slots: Ids) -> None:
        """No packet counts there any more."""
        with self._tables.maps["rule_counters"].mapped() as live:
            live.view("u8").reshape(-1, MAX_SLOTS, 2)[:, slots] = 0


# what is in the maps


def row_records(rules: RuleTables) -> npt.NDArray[np.void]:
    records = np.zeros(len(rules.slots), layouts.ROW)
    records["slot"], records["action"], records["log_rate"] = rules.slots, rules.actions, rules.log_rates
    return records


def value_records(rules: RuleTables) -> npt.NDArray[np.void]:
    return rules.values.reshape(-1, LINE).view(layouts.VALUE_LINE).reshape(-1)


def vector_records(vectors: Vectors) -> npt.NDArray[np.void]:
    records = np.zeros(len(vectors), layouts.VECTOR)
    records["word"] = vectors
    shown = np.zeros((len(vectors), layouts.SUMMARY_WORDS * 64), np.uint8)
    shown[:, : vectors.shape[1]] = vectors != 0
    records["summary"] = np.packbits(shown, axis=1, bitorder="little").view("<u8")
    return records


def literal_records(generation: int, literals: Literals) -> tuple[npt.NDArray[np.void], npt.NDArray[np.void]]:
    """Keys and values."""
    keys = np.zeros(len(literals.lengths), layouts.LITERAL_KEY)
    keys["length"] = literals.lengths.astype(np.uint32) + GENERATION_BITS
    keys["generation"] = generation
    keys["address"] = literals.addresses
    values = np.zeros(len(keys), layouts.LITERAL)
    values["source"], values["destination"] = literals.source, literals.destination
    return keys, values


def policy_record(policy: Policy) -> npt.NDArray[np.void]:
    record = np.zeros((), layouts.POLICY)
    record["default_drop"] = policy.default is Verdict.DROP
    record["monitor"] = policy.mode is Mode.MONITOR
    record["ethertypes"][: len(policy.ethertypes)] = policy.ethertypes
    return record


def _keys_in(table: Map, generation: int) -> npt.NDArray[np.void]:
    """The keys of a generation that an earlier daemon left, or that a cut off change did."""
    keys = libbpf.map_keys(table.fd, layouts.LITERAL_KEY)
    of_generation: npt.NDArray[np.void] = keys[keys["generation"] == generation]
    return of_generation


def _delete(table: Map, keys: npt.NDArray[np.void]) -> None:
    _, error = libbpf.map_delete_batch(table.fd, np.ascontiguousarray(keys)) if len(keys) else (0, None)
    if error is not None:
        raise error


def _whole(keys: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    return np.ascontiguousarray(keys).view(f"V{keys.dtype.itemsize}").reshape(-1)
