# SPDX-License-Identifier: Apache-2.0
"""The fake kernel's answer to whether its tables hold what they should: prefixes and their memberships."""

from __future__ import annotations

from collections import Counter

from xdpfw.kernel.fake_tables import Tables, packed_keys
from xdpfw.model.deviation import Deviation
from xdpfw.model.prefix import FAMILIES
from xdpfw.policy.expected import Expected
from xdpfw.policy.keys import prefix_of


class FakeVerify:
    tables: Tables

    def verify(self, expected: Expected, *, mend: bool = False, quick: bool = False) -> list[Deviation]:
        found = (
            self._leaves(expected, mend) if quick else [*self._leaves(expected, mend), *self._prefixes(expected, mend)]
        )
        return found

    def _prefixes(self, expected: Expected, mend: bool) -> list[Deviation]:
        found = []
        for family in FAMILIES:
            found_keys, leaves = expected.leaves(family)
            keys = packed_keys(family, found_keys)
            wanted, live = dict(zip(keys, leaves.tolist(), strict=True)), self.tables.prefixes[family]
            missing = [f"{prefix_of(family, key)} is missing" for key in wanted if live.get(key) != wanted[key]]
            strange = [f"{prefix_of(family, key)} is there and should not be" for key in live if key not in wanted]
            if missing or strange:
                found.append(Deviation(f"trie{family}", len(missing) + len(strange), (*missing, *strange)))
            if mend:
                self.tables.prefixes[family] = wanted
                self.tables.lengths[family] = Counter(key[-1] for key in keys)
        return found

    def _leaves(self, expected: Expected, mend: bool) -> list[Deviation]:
        live, found = self.tables.leaf[expected.generation], []
        for family in FAMILIES:
            rows = expected.universe[family].array()
            wanted = dict(zip(rows["leaf"].tolist(), rows["cover"].tolist(), strict=True))
            wrong = [leaf for leaf, member in wanted.items() if live.get(leaf) != member]
            if wrong:
                found.append(Deviation("leaf", len(wrong), tuple(f"leaf {leaf} is in other sets" for leaf in wrong)))
            if mend:
                live.update(wanted)
        return found
