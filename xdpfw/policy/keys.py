# SPDX-License-Identifier: Apache-2.0
"""Packed prefixes: arrays of S5 (IPv4) or S17 (IPv6) items, the address in network byte order and the length.

Byte order of the items is (address, length), which is the preorder of the prefix tree: a prefix stands right before
all prefixes inside it, so what lies inside a prefix is one contiguous range. numpy strips trailing NULs from single
items; `bytes` that leave this module are padded to their full width.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xdpfw.model.prefix import ADDRESS_BYTES, FAMILIES, HOST_LENGTH, Family, Prefix
from xdpfw.policy.ops import Keys

Bytes = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

FEW = 64
"""Fewer items than this, and arrays this many times shorter than another, are looked up one by one."""

KEY_BYTES: dict[Family, int] = {4: 5, 6: 17}
KEY: dict[Family, np.dtype[Any]] = {4: np.dtype("S5"), 6: np.dtype("S17")}


def empty(family: Family) -> Keys:
    return np.empty(0, KEY[family])


def key_of(prefix: Prefix) -> bytes:
    """The packed form: 5 or 17 bytes."""
    return prefix.address + bytes((prefix.length,))


def prefix_of(family: Family, key: bytes) -> Prefix:
    """The prefix of a packed key, which may have lost its trailing NULs."""
    whole = padded(key, family)
    return Prefix(family, whole[:-1], whole[-1])


def padded(key: bytes, family: Family) -> bytes:
    """A key taken out of an array, with the trailing NULs that it lost."""
    return key.ljust(KEY_BYTES[family], b"\0")


def family_of(keys: Keys) -> Family:
    return 4 if keys.dtype.itemsize == KEY_BYTES[4] else 6


def array_of(family: Family, keys: Iterable[bytes]) -> Keys:
    return np.array(list(keys), KEY[family])


def pack(prefixes: Iterable[Prefix]) -> dict[Family, Keys]:
    """Sorted, unique keys per family; both families are always there."""
    packed: dict[Family, set[bytes]] = {family: set() for family in FAMILIES}
    for prefix in prefixes:
        packed[prefix.family].add(key_of(prefix))
    return {family: array_of(family, sorted(keys)) for family, keys in packed.items()}


def octets(items: Keys) -> Bytes:
    """(n, width) view of packed items."""
    items = np.ascontiguousarray(items)
    return items.view(np.uint8).reshape(len(items), items.dtype.itemsize)


def from_octets(rows: Bytes) -> Keys:
    """Packed items from (n, width) octets."""
    rows = np.ascontiguousarray(rows)
    return rows.view(np.dtype(("S", rows.shape[1]))).reshape(len(rows))


def lengths(keys: Keys) -> Bytes:
    return octets(keys)[:, -1]


def is_host(keys: Keys) -> Flags:
    return np.equal(lengths(keys), HOST_LENGTH[family_of(keys)])


def order(items: Keys) -> Index:
    """Indices that sort packed items of any width; stable."""
    words = _words(items)
    found = np.argsort(words[0])
    first = words[0][found]
    tied = first[1:] == first[:-1]
    if not tied.any():
        return found
    # Only what the first eight octets leave undecided is sorted by the rest.
    open_ = np.zeros(len(items), np.bool_)
    open_[1:] |= tied
    open_[:-1] |= tied
    rows = np.sort(found[open_])
    found[open_] = rows[np.lexsort([word[rows] for word in reversed(words)])]
    return found


def _words(items: Keys) -> list[npt.NDArray[np.uint64]]:
    """Packed items as numbers of eight octets, the most significant first."""
    width = items.dtype.itemsize
    filled = np.zeros((len(items), -(-width // 8) * 8), np.uint8)
    filled[:, :width] = octets(items)
    return [np.ascontiguousarray(column, np.uint64) for column in filled.view(">u8").T]


def ordinals(items: Keys) -> npt.NDArray[Any]:
    """Comparable stand-ins for packed items, in the same order: integers where the width allows it."""
    width = items.dtype.itemsize
    if width > 8:
        return items
    padded = np.zeros((len(items), 8), np.uint8)
    padded[:, 8 - width :] = octets(items)
    return padded.view(">u8").astype(np.uint64).reshape(len(items))


def _from_ordinals(numbers: npt.NDArray[np.uint64], dtype: np.dtype[Any]) -> Keys:
    rows = numbers.astype(">u8").view(np.uint8).reshape(len(numbers), 8)
    return from_octets(rows[:, 8 - dtype.itemsize :])


def search(items: Keys, wanted: Keys, side: Literal["left", "right"] = "left") -> Index:
    """`np.searchsorted` where `wanted` is sorted too, which makes it a merge of two runs when both are long: three
    times faster than binary searches for packed items of any width."""
    if len(wanted) < FEW or len(wanted) * FEW < len(items):
        return items.searchsorted(wanted, side)
    if len(items) * FEW < len(wanted):
        after = np.searchsorted(wanted, items, "left" if side == "right" else "right")
        return np.cumsum(np.bincount(after, minlength=len(wanted) + 1)[: len(wanted)])
    # A stable sort keeps equal items in the order of the concatenation, which decides the side.
    first, second = (items, wanted) if side == "right" else (wanted, items)
    merged = np.argsort(np.concatenate((first, second)), kind="stable")
    from_wanted = merged >= len(items) if side == "right" else merged < len(wanted)
    return np.flatnonzero(from_wanted) - np.arange(len(wanted))


def search_any(items: Keys, wanted: Keys, side: Literal["left", "right"] = "left") -> Index:
    """`np.searchsorted` for packed items, by integers where that is faster."""
    if len(wanted) > FEW and items.dtype.itemsize <= 8:
        return np.searchsorted(ordinals(items), ordinals(wanted), side)
    return np.searchsorted(items, wanted, side)


def starts(ordered: npt.NDArray[Any]) -> Flags:
    """Where a new value begins in a sorted array."""
    first = np.ones(len(ordered), np.bool_)
    if len(ordered) > 1:
        np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return first


def unique(items: Keys) -> Keys:
    """Sorted, without repetition."""
    if len(items) < 2:
        return items
    narrow = items.dtype.itemsize <= 8
    ordered = np.sort(ordinals(items)) if narrow else items[order(items)]
    first = starts(ordered)
    ordered = ordered if first.all() else ordered[first]
    return _from_ordinals(ordered, items.dtype) if narrow else ordered


def union(*parts: Keys) -> Keys:
    """Sorted union of sorted, unique arrays of one width."""
    filled = [part for part in parts if len(part)]
    if len(filled) < 2:
        return filled[0] if filled else parts[0]
    # A stable sort merges runs that are sorted already; of many runs, faster by integers.
    every = np.concatenate(filled)
    narrow = len(filled) > 2 and every.dtype.itemsize <= 8
    merged = np.sort(ordinals(every) if narrow else every, kind="stable")
    first = starts(merged)
    merged = merged if first.all() else merged[first]
    return _from_ordinals(merged, every.dtype) if narrow else merged


@dataclass(frozen=True, slots=True)
class Together:
    """The sorted union of two sorted, unique arrays; where the items of `first` and `second` are in it, and which of
    `second` are in `first` too (at `among`)."""

    keys: Keys
    first: Index | slice
    second: Index
    common: Flags
    among: Index


def together(first: Keys, second: Keys) -> Together:
    """One merge of two runs, of which everything else is known."""
    position = search(first, second)
    if not len(first):
        return Together(second, slice(0), position + np.arange(len(second)), np.zeros(len(second), np.bool_), position)
    among = np.minimum(position, len(first) - 1)
    common = first.take(among) == second
    new = np.flatnonzero(~common)
    if not len(new):
        return Together(first, slice(None), among, common, among)
    at_new = position[new] + np.arange(len(new))
    old = np.ones(len(first) + len(new), np.bool_)
    old[at_new] = False
    at_first = np.flatnonzero(old)
    keys = np.empty(len(old), first.dtype)
    keys[at_first], keys[at_new] = first, second.take(new)
    at_second = at_first.take(among)
    at_second[new] = at_new
    return Together(keys, at_first, at_second, common, among)


def member(items: Keys, table: Keys) -> Flags:
    """Which of `items` are in the sorted `table`."""
    if not len(table) or not len(items):
        return np.zeros(len(items), np.bool_)
    position = np.minimum(search(table, items), len(table) - 1)
    return np.equal(table[position], items)


def without(items: Keys, others: Keys) -> Keys:
    """Sorted items that are not among sorted others."""
    if np.array_equal(items, others):
        return items[:0]
    left: Keys = items[~member(items, others)]
    return left


def _masks(family: Family) -> Bytes:
    """(length, octet): the network mask of every length."""
    width = ADDRESS_BYTES[family] * 8
    bits = np.arange(width)[None, :] < np.arange(width + 1)[:, None]
    return np.packbits(bits, axis=1)


_MASKS: dict[Family, Bytes] = {family: _masks(family) for family in FAMILIES}
_WORD_MASKS = {
    family: [np.ascontiguousarray(word, word.dtype.newbyteorder("=")) for word in masks.view(f">u{size}").T]
    for (family, masks), size in zip(_MASKS.items(), (4, 8), strict=True)
}
"""The same as numbers, as `_addresses` has them."""


def masked(addresses: Bytes, prefix_lengths: Bytes) -> Keys:
    """Keys of the networks of the given lengths around addresses, (n, 4 or 16) octets."""
    family: Family = 4 if addresses.shape[1] == ADDRESS_BYTES[4] else 6
    rows = np.empty((len(addresses), KEY_BYTES[family]), np.uint8)
    np.bitwise_and(addresses, _MASKS[family][prefix_lengths], out=rows[:, :-1])
    rows[:, -1] = prefix_lengths
    return from_octets(rows)


def _addresses(keys: Keys) -> list[npt.NDArray[Any]]:
    """Addresses as numbers, the most significant first: one of 32 bits for IPv4, two of 64 for IPv6."""
    word = ">u4" if family_of(keys) == 4 else ">u8"
    rows = np.ascontiguousarray(octets(keys)[:, :-1]).view(word)
    return [np.ascontiguousarray(column, word.replace(">", "=")) for column in rows.T]


def has_host_bits(keys: Keys) -> Flags:
    """Which keys are no prefixes, because bits behind their length are set."""
    found, sizes = np.zeros(len(keys), np.bool_), lengths(keys)
    for word, mask in zip(_addresses(keys), _WORD_MASKS[family_of(keys)], strict=True):
        found |= word & ~mask[sizes] != 0
    return found


def contains(outer: Keys, inner: Keys) -> Flags:
    """Elementwise: whether every address of `inner` is one of `outer`."""
    return _inside(_addresses(outer), lengths(outer), _addresses(inner), lengths(inner), family_of(outer))


def _inside(
    outer: list[npt.NDArray[Any]], outer_lengths: Bytes, inner: list[npt.NDArray[Any]], inner_lengths: Bytes, of: Family
) -> Flags:
    inside: Flags = outer_lengths <= inner_lengths
    for a, b, mask in zip(outer, inner, _WORD_MASKS[of], strict=True):
        inside &= (a ^ b) & mask[outer_lengths] == 0
    return inside


def _holds_next(keys: Keys) -> Flags:
    """Of sorted, unique keys, all but the last: which contain the one after them."""
    words, sizes = _addresses(keys), lengths(keys)
    before, after = [word[:-1] for word in words], [word[1:] for word in words]
    return _inside(before, sizes[:-1], after, sizes[1:], family_of(keys))


def last_keys(keys: Keys) -> Keys:
    """The last key, in sorted order, inside each prefix: its last address as a host."""
    family = family_of(keys)
    rows = octets(keys).copy()
    rows[:, :-1] |= ~_MASKS[family][rows[:, -1]]
    rows[:, -1] = HOST_LENGTH[family]
    return from_octets(rows)


def subtree_ends(keys: Keys) -> Index:
    """For sorted, unique keys: one past the last index that lies inside each key."""
    count = len(keys)
    ends = np.arange(1, count + 1)
    if count > 1:
        outer = np.flatnonzero(_holds_next(keys))
        if len(outer):
            ends[outer] = search_any(keys, last_keys(keys[outer]), "right")
    return ends


def depths(ends: Index) -> Index:
    """How many keys contain each key, from `subtree_ends`: those before it whose subtree has not ended yet."""
    closed = np.cumsum(np.bincount(ends, minlength=len(ends) + 1))
    return np.arange(len(ends)) - closed[: len(ends)]


def levels(ends: Index) -> list[tuple[Index, Index]]:
    """(indices at depth d, indices of their parents) for d = 0, 1…; the roots' parents are -1."""
    depth = depths(ends) if len(ends) > 1 else np.zeros(len(ends), np.int64)
    if not depth.any():
        return [(np.arange(len(ends)), np.full(len(ends), -1))]
    by_depth = np.argsort(depth.astype(np.uint8), kind="stable")  # at most 128; numpy sorts octets by counting
    bounds = np.searchsorted(depth[by_depth], np.arange(depth.max() + 2))
    found = []
    above = np.empty(0, np.int64)
    for first, last in itertools.pairwise(bounds):
        here = by_depth[first:last]
        parent = above[np.searchsorted(above, here) - 1] if len(above) else np.full(len(here), -1)
        found.append((here, parent))
        above = here
    return found


def parents(family: Family, keys: Keys) -> Index:
    """For sorted, unique keys: the index of the longest other key that contains each, or -1."""
    found = np.full(len(keys), -1)
    for here, parent in levels(subtree_ends(keys)):
        found[here] = parent
    return found


def spans(keys: Keys, outer: Keys) -> tuple[Index, Index]:
    """Where in sorted keys each of sorted, disjoint prefixes begins and ends."""
    return search(keys, outer), search(keys, last_keys(outer), "right")


def outermost(keys: Keys) -> Keys:
    """Those of sorted, unique keys that lie in no other."""
    if len(keys) < 2 or not _holds_next(keys).any():
        return keys
    roots: Keys = keys[depths(subtree_ends(keys)) == 0]
    return roots


def common_lengths(first: Keys, second: Keys) -> Bytes:
    """Elementwise: the number of leading address bits that two keys share."""
    a, b = octets(first)[:, :-1], octets(second)[:, :-1]
    bits = np.unpackbits(a ^ b, axis=1)
    differ = bits.any(axis=1)
    shared = np.where(differ, bits.argmax(axis=1), bits.shape[1])
    return np.asarray(shared, np.uint8)


def within(prefix: Prefix) -> tuple[bytes, bytes]:
    """First and last possible key inside a prefix, for range look-ups."""
    key = key_of(prefix)
    return key, last_keys(array_of(prefix.family, [key])).tobytes()


def ranges(begin: Index, end: Index) -> Index:
    """begin[0] … end[0] - 1, begin[1] … end[1] - 1 and so on, in one array."""
    if len(begin) == 1:
        return np.arange(begin[0], end[0])
    sizes = end - begin
    offsets = np.cumsum(sizes) - sizes
    return np.repeat(begin - offsets, sizes) + np.arange(sizes.sum())


def texts(family: Family, keys: Keys) -> list[str]:
    """Canonical text of every key (RFC 5952 for IPv6), with its length."""
    rows = octets(keys)
    if family == 4:
        a, b, c, d, length = (rows[:, column].tolist() for column in range(5))
        return [f"{v}.{w}.{x}.{y}/{z}" for v, w, x, y, z in zip(a, b, c, d, length, strict=True)]
    addresses, convert = rows[:, :16].tobytes(), socket.inet_ntop
    found = [
        f"{convert(socket.AF_INET6, addresses[at : at + 16])}/{length}"
        for at, length in zip(range(0, len(addresses), 16), rows[:, 16].tolist(), strict=True)
    ]
    # The C library spells the end of ::/96 and ::ffff:0:0/96 in dotted decimal.
    for index in np.flatnonzero(~rows[:, :10].any(axis=1)).tolist():
        found[index] = str(prefix_of(family, keys[index]))
    return found
