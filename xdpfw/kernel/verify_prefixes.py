# SPDX-License-Identifier: Apache-2.0
"""Whether hosts, tries and the directory hold all prefixes with their leaves, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.finding import Finding
from xdpfw.kernel.keys import are_hosts, directory_rows, host_keys, trie_keys
from xdpfw.kernel.maps import Map, View
from xdpfw.kernel.tables import Tables
from xdpfw.kernel.verify_tiers import Universe
from xdpfw.model.prefix import ADDRESS_BYTES, FAMILIES, HOST_LENGTH, Family, Prefix
from xdpfw.policy import keys as k
from xdpfw.policy.expected import Expected
from xdpfw.policy.ops import Ids, Keys
from xdpfw.policy.table import plain

PutRight = Callable[[Map, View, View, Ids, int], None]
"""As `Applier.put_right`."""


def in_other_sets(family: Family, keys: Keys, at: int) -> str:
    return f"{named(family, keys[at])} is in other sets than it should be"


def named(family: Family, key: bytes) -> Prefix:
    return k.prefix_of(family, key)


def findings(tables: Tables, put_right: PutRight, universe: Universe) -> Iterator[Finding]:
    family = universe.family
    hosts = are_hosts(family, universe.keys)
    for kind, rows in (("hosts", np.flatnonzero(hosts)), ("trie", np.flatnonzero(~hosts))):
        table = tables.maps[f"{kind}{family}"]
        yield from _map_findings(table, put_right, universe, rows)
    yield from _directory(tables, universe)


def _map_findings(table: Map, put_right: PutRight, universe: Universe, rows: k.Index) -> Iterator[Finding]:
    """`rows` of the universe belong into this map."""
    family = universe.family
    wanted = (host_keys if table.spec.name.startswith("hosts") else trie_keys)(family, universe.keys[rows])
    row_of = np.full(len(universe.length), -1, np.int64)
    row_of[universe.leaves[rows]] = np.arange(len(rows))
    seen = np.zeros(len(rows), np.bool_)
    strange = [np.empty(0, table.spec.key)]
    for keys, leaves in libbpf.map_records(table.fd, table.spec.key, table.spec.value):
        row = np.where(leaves < len(row_of), row_of[np.minimum(leaves, len(row_of) - 1)], -1)
        right = row >= 0
        right[right] = plain(keys[right]) == plain(wanted[row[right]])
        seen[row[right]] = True
        strange.append(keys[~right])
    missing = np.flatnonzero(~seen)
    others = np.concatenate(strange)
    # One that leads elsewhere is written, not taken out first.
    foreign = others[~np.isin(plain(others), plain(wanted[missing]))] if len(others) else others
    if not (len(missing) or len(foreign)):
        return
    told = [_in_map(table, family, key) for key in foreign[:100]]
    held = set(map(bytes, others))

    def tell(at: int) -> str:
        if at >= len(missing):
            return f"{told[at - len(missing)]} is there and should not be"
        key = wanted[missing[at]]
        wrong = "leads to what is another prefix's" if bytes(key) in held else "is missing"
        return f"{_in_map(table, family, key)} {wrong}"

    leaves = universe.leaves[rows[missing]]
    mend = partial(put_right, table, foreign, wanted[missing], leaves, len(rows))
    yield Finding(table.spec.name, len(missing) + len(foreign), tell, mend)


def _in_map(table: Map, family: Family, key: np.void) -> str:
    length = int(key["length"]) if "length" in (table.spec.key.names or ()) else HOST_LENGTH[family]
    return str(Prefix(family, key["address"].tobytes(), length))


def _directory(tables: Tables, universe: Universe) -> Iterator[Finding]:
    family, keys, leaves = universe.family, universe.keys, universe.leaves
    wanted = directory_rows(family, keys, layouts.LIVE)
    with tables.directory.mapped() as live:
        wrong = np.flatnonzero(plain(live[leaves]) != plain(wanted))
    if len(wrong):
        yield Finding(
            "directory",
            len(wrong),
            lambda at: f"{named(family, keys[wrong[at]])} is not listed as what it is",
            lambda: tables.directory.write(leaves[wrong].astype(np.int64), wanted[wrong]),
        )


def strangers(tables: Tables, expected: Expected) -> Iterator[Finding]:
    """What the directory lists and nobody knows of."""
    with tables.directory.mapped() as live:
        listed = live["state"] != layouts.FREE
        for family in FAMILIES:
            for known in expected.universe[family].parts():
                listed[known["leaf"]] = False
        strange: Ids = np.flatnonzero(listed).astype(np.uint32)
        rows: View = live[strange]
    if len(strange):
        yield Finding(
            "directory",
            len(strange),
            lambda at: f"{_listed(rows[at])} is listed and is nobody's",
            lambda: tables.directory.write(strange.astype(np.int64), np.zeros(len(strange), layouts.DIRECTORY)),
        )


def _listed(row: np.void) -> Prefix:
    family: Family = 6 if row["family"] == 6 else 4
    length = min(int(row["length"]), HOST_LENGTH[family])
    return Prefix(family, row["address"].tobytes()[: ADDRESS_BYTES[family]], length)
