# SPDX-License-Identifier: Apache-2.0
"""Whether two changes write the same: some thousand entries on either side are compared at a glance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from xdpfw.model.ledger import Part


def meeting(locked: Iterable[Part], wanted: Iterable[Part]) -> Part | None:
    """The first of the wanted parts that has something in common with what is locked."""
    whole: dict[str, list[Part]] = defaultdict(list)
    single: dict[str, dict[str, list[Part]]] = defaultdict(lambda: defaultdict(list))
    for part in locked:
        if part.prefix is None:
            whole[part.resource].append(part)
        else:
            single[part.resource][part.prefix].append(part)
    for part in wanted:
        inside = single[part.resource]
        if part.prefix is None:
            others = [other for found in inside.values() for other in found]
        else:
            others = inside.get(part.prefix, [])
        if any(part.meets(other) for other in (*whole[part.resource], *others)):
            return part
    return None
