# SPDX-License-Identifier: Apache-2.0
"""Random changes to what a kernel holds, and its answers, from the tiers and from the tries."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tests.kernel import plain
from tests.kernel.leaf_finder import LeafFinder, packed
from xdpfw.kernel.adapter import RealKernel
from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy import keys as k
from xdpfw.policy.ops import DeletePrefixes, Grace, Ids, InsertPrefixes, Keys, WriteLeaves

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

CROWDED = {
    4: [ipaddress.ip_network(text) for text in ("10.0.0.0/15", "10.1.7.0/24", "172.16.0.0/22", "0.0.0.0/24")],
    6: [ipaddress.ip_network(text) for text in ("2001:db8::/30", "2001:db8:8::/46", "2001:db8:8:4::/62", "::/31")],
}
"""Where random prefixes lie, so that they contain each other and are neighbours."""


def random_network(chosen: random.Random, family: Family) -> Network:
    """Of any length; most lie in crowded places, some anywhere."""
    width = 32 if family == 4 else 128
    if chosen.random() < 0.1:
        length = chosen.randint(0, width)
        return network_of(chosen.getrandbits(width) >> (width - length) << (width - length), length, family)
    place = chosen.choice(CROWDED[family])
    length = min(width, place.prefixlen + chosen.randint(0, 20)) if chosen.random() < 0.8 else width
    inside = chosen.getrandbits(width) & int(place.hostmask) & ~chosen.choice((0, 0xFF, 0xFFFF))
    address = (int(place.network_address) | inside) >> (width - length) << (width - length)
    return network_of(address, length, family)


def network_of(address: int, length: int, family: Family) -> Network:
    raw = address.to_bytes(4 if family == 4 else 16)
    return ipaddress.ip_network((raw, length))


def key(network: Network) -> bytes:
    return network.network_address.packed + bytes([network.prefixlen])


def packed_keys(family: Family, networks: Sequence[Network]) -> Keys:
    return k.array_of(family, map(key, networks))


class Walk:
    """Random changes to a kernel, and what it holds."""

    def __init__(self, kernel: RealKernel, seed: int) -> None:
        self.kernel, self.chosen = kernel, random.Random(seed)
        self.held: dict[Family, dict[Network, int]] = {4: {}, 6: {}}
        self.unused = list(range(kernel.limits.leaves, 0, -1))
        self.dying: list[int] = []
        self.seen: dict[Family, set[Network]] = {4: set(), 6: set()}

    def insert(self, family: Family, networks: Sequence[Network]) -> None:
        new = sorted({n for n in networks if n not in self.held[family]}, key=key)
        leaves = [self.unused.pop() for _ in new]
        ids, members = np.array(leaves, np.uint32), np.full(len(new), plain.BLOCKED, np.uint32)
        ops = [
            WriteLeaves(0, ids, members),
            WriteLeaves(1, ids, members),
            InsertPrefixes(family, packed_keys(family, new), ids),
        ]
        self.kernel.execute(ops, 2)
        self.held[family].update(zip(new, leaves, strict=True))
        self.seen[family].update(new)

    def delete(self, family: Family, networks: Sequence[Network]) -> None:
        gone = sorted(networks, key=key)
        leaves = [self.held[family].pop(network) for network in gone]
        self.kernel.execute([DeletePrefixes(family, packed_keys(family, gone), np.array(leaves, np.uint32))], 2)
        self.dying += leaves

    def grace(self) -> None:
        self.kernel.execute([Grace()], 2)
        self.unused += self.dying
        self.dying = []

    def step(self, most: int) -> None:
        family = self.chosen.choice(FAMILIES)
        count, move = self.chosen.randint(1, most), self.chosen.random()
        if move < 0.55 or not self.held[family]:
            self.insert(family, [random_network(self.chosen, family) for _ in range(count)])
        elif move < 0.95:
            self.delete(family, self.chosen.sample(list(self.held[family]), min(count, len(self.held[family]))))
        else:
            self.grace()

    def addresses(self, count: int) -> npt.NDArray[np.uint8]:
        """The edges of prefixes that are or were there, what lies just outside, and addresses in crowded places."""
        rows = []
        for family in FAMILIES:
            top = (1 << (32 if family == 4 else 128)) - 1
            known = sorted(self.seen[family], key=key)
            for network in self.chosen.sample(known, min(count, len(known))):
                first, last = int(network.network_address), int(network.broadcast_address)
                inside = self.chosen.randint(first, last)
                rows += [(family, at) for at in (first, last, max(first - 1, 0), min(last + 1, top), inside)]
            rows += [(family, int(random_network(self.chosen, family).network_address)) for _ in range(count)]
        return packed([str(ipaddress.ip_address(at.to_bytes(4 if family == 4 else 16))) for family, at in rows])


class Finders:
    """Both ways to find a leaf."""

    def __init__(self, kernel: RealKernel) -> None:
        self.tiers, self.tries = LeafFinder(kernel), LeafFinder(kernel, tries_only=True)

    def compare(self, addresses: npt.NDArray[np.uint8]) -> Ids:
        tiers, tries = self.tiers.find(addresses), self.tries.find(addresses)
        wrong = np.flatnonzero(tiers != tries)
        told = [
            (str(ipaddress.ip_address(addresses[at].tobytes())), int(tiers[at]), int(tries[at])) for at in wrong[:10]
        ]
        assert told == []
        return tiers

    def close(self) -> None:
        self.tiers.close()
        self.tries.close()
