# SPDX-License-Identifier: Apache-2.0
"""Packed prefix keys (policy/ops.py) to and from the layouts of the maps, whole arrays at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts
from xdpfw.model.prefix import ADDRESS_BYTES, HOST_LENGTH, Family
from xdpfw.policy.ops import Keys

Bytes = npt.NDArray[np.uint8]

_HOST_KEY = {4: layouts.HOST4_KEY, 6: layouts.HOST6_KEY}
_TRIE_KEY = {4: layouts.TRIE4_KEY, 6: layouts.TRIE6_KEY}


def as_bytes(family: Family, keys: Keys) -> Bytes:
    """(n, 5) or (n, 17): address bytes, then the length."""
    width = ADDRESS_BYTES[family] + 1
    return np.ascontiguousarray(keys, f"S{width}").view(np.uint8).reshape(-1, width)


def are_hosts(family: Family, keys: Keys) -> npt.NDArray[np.bool_]:
    return np.equal(as_bytes(family, keys)[:, -1], HOST_LENGTH[family])


def host_keys(family: Family, keys: Keys) -> npt.NDArray[Any]:
    made = np.empty(len(keys), _HOST_KEY[family])
    made["address"] = as_bytes(family, keys)[:, :-1]
    return made


def trie_keys(family: Family, keys: Keys) -> npt.NDArray[Any]:
    rows = as_bytes(family, keys)
    made = np.empty(len(keys), _TRIE_KEY[family])
    made["length"] = rows[:, -1]
    made["address"] = rows[:, :-1]
    return made


def directory_rows(family: Family, keys: Keys, state: int) -> npt.NDArray[Any]:
    rows = as_bytes(family, keys)
    made = np.zeros(len(keys), layouts.DIRECTORY)
    made["address"][:, : ADDRESS_BYTES[family]] = rows[:, :-1]
    made["length"] = rows[:, -1]
    made["family"] = family
    made["state"] = state
    return made


def keys_of_rows(family: Family, rows: npt.NDArray[Any]) -> Keys:
    width = ADDRESS_BYTES[family]
    packed = np.empty((len(rows), width + 1), np.uint8)
    packed[:, :-1] = rows["address"][:, :width]
    packed[:, -1] = rows["length"]
    return packed.reshape(-1).view(f"S{width + 1}")
