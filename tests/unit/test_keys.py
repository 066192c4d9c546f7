# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ipaddress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import prefixes
from xdpfw.model.prefix import FAMILIES, Family, Prefix
from xdpfw.policy import keys as k

MANY = st.lists(prefixes(), max_size=40)


@given(prefixes())
def test_key_and_back(prefix: Prefix) -> None:
    key = k.key_of(prefix)
    assert len(key) == k.KEY_BYTES[prefix.family]
    assert k.prefix_of(prefix.family, key) == prefix
    # numpy hands out items without their trailing NULs
    assert k.prefix_of(prefix.family, k.array_of(prefix.family, [key])[0]) == prefix


@given(MANY)
def test_pack_sorts_by_address_then_length(found: list[Prefix]) -> None:
    packed = k.pack(found)
    for family in FAMILIES:
        expected = sorted({p for p in found if p.family == family}, key=lambda p: (p.address, p.length))
        assert [k.prefix_of(family, key) for key in packed[family]] == expected


@given(MANY)
def test_parents_are_the_longest_containing_prefixes(found: list[Prefix]) -> None:
    for family, keys in k.pack(found).items():
        own = [k.prefix_of(family, key) for key in keys]
        for index, parent in enumerate(k.parents(family, keys)):
            around = [p for p in own if p != own[index] and p.contains(own[index])]
            assert (own[parent] if parent >= 0 else None) == max(around, key=lambda p: p.length, default=None)


@given(MANY)
def test_a_subtree_is_a_contiguous_range(found: list[Prefix]) -> None:
    for family, keys in k.pack(found).items():
        own = [k.prefix_of(family, key) for key in keys]
        for index, end in enumerate(k.subtree_ends(keys)):
            assert [p for p in own if own[index].contains(p)] == own[index:end]


@given(MANY)
def test_outermost_are_those_in_no_other(found: list[Prefix]) -> None:
    for family, keys in k.pack(found).items():
        own = [k.prefix_of(family, key) for key in keys]
        expected = [p for p in own if not any(o != p and o.contains(p) for o in own)]
        assert [k.prefix_of(family, key) for key in k.outermost(keys)] == expected


@given(st.lists(st.tuples(prefixes(4), prefixes(4)), min_size=1, max_size=20))
def test_contains_and_common_lengths(pairs: list[tuple[Prefix, Prefix]]) -> None:
    first, second = (k.array_of(4, [k.key_of(pair[side]) for pair in pairs]) for side in (0, 1))
    assert k.contains(first, second).tolist() == [a.contains(b) for a, b in pairs]
    for (a, b), common in zip(pairs, k.common_lengths(first, second).tolist(), strict=True):
        differ = int.from_bytes(a.address) ^ int.from_bytes(b.address)
        assert common == 32 - differ.bit_length()


@given(st.lists(st.binary(min_size=19, max_size=19), max_size=30), st.sampled_from((5, 7, 17, 19)))
def test_order_and_search_of_packed_items(found: list[bytes], width: int) -> None:
    items = np.array([item[:width] for item in found], f"S{width}")
    ordered = sorted(item[:width] for item in found)
    assert [item.ljust(width, b"\0") for item in items[k.order(items)]] == ordered
    distinct = k.unique(items)
    assert [item.ljust(width, b"\0") for item in distinct] == sorted(set(ordered))
    wanted = np.repeat(distinct, 70 if len(distinct) else 0)  # enough for the search by integers
    assert k.search(distinct, wanted).tolist() == np.searchsorted(distinct, wanted).tolist()
    assert k.member(items, distinct).all()


@given(MANY)
def test_texts_are_canonical(found: list[Prefix]) -> None:
    for family, keys in k.pack(found).items():
        expected = [str(k.prefix_of(family, key)) for key in keys]
        assert k.texts(family, keys) == expected


@pytest.mark.parametrize(
    "text",
    [
        "::",
        "::1",
        "1::",
        "2001:db8::1:0:0:1",
        "2001:0:0:1::1",
        "1:0:2:0:3:0:4:0",
        "0:1::",
        "::ffff:0:102:304",
        "::102:304",
    ],
)
def test_texts_compress_as_rfc_5952_says(text: str) -> None:
    key = ipaddress.IPv6Address(text).packed + bytes((128,))
    assert k.texts(6, k.array_of(6, [key])) == [f"{text}/128"]


@given(prefixes(), prefixes())
def test_within_is_the_range_of_a_prefix(outer: Prefix, inner: Prefix) -> None:
    family: Family = outer.family
    if inner.family != family:
        return
    first, last = k.within(outer)
    assert (first <= k.key_of(inner) <= last) == outer.contains(inner)
