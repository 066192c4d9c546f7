# SPDX-License-Identifier: Apache-2.0
"""One IPv4 or IPv6 network; a host is a /32 or /128."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Literal

from xdpfw.model.errors import InvalidInput

Family = Literal[4, 6]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ADDRESS_BYTES: dict[Family, int] = {4: 4, 6: 16}
HOST_LENGTH: dict[Family, int] = {4: 32, 6: 128}
FAMILIES: tuple[Family, Family] = (4, 6)


class InvalidPrefix(InvalidInput):
    """Text that is not a prefix. `detail` says what is wrong and, where that can be told, what was meant."""


@dataclass(frozen=True, slots=True, order=True)
class Prefix:
    """`address` is in network byte order (4 or 16 bytes) with all host bits zero."""

    family: Family
    address: bytes
    length: int

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Read `a.b.c.d[/n]` or an IPv6 spelling of either family.

        `::ffff:a.b.c.d[/96+n]` is the IPv4 prefix.

        Raises:
            InvalidPrefix: not a prefix, a zone id, or host bits set (the detail names the network meant).
        """
        text = text.strip()
        if "%" in text:
            raise InvalidPrefix(f"{text!r}: an address with a zone id cannot be matched; leave out the %zone")
        address_text, slash, length_text = text.partition("/")
        # A mask such as /255.0.0.0, a sign, a space or non-ASCII digits are typing errors more often than wishes.
        if slash and not (length_text.isascii() and length_text.isdigit()):
            raise InvalidPrefix(f"{text!r}: the prefix length must be a number")
        try:
            address = ipaddress.ip_address(address_text)
        except ValueError:
            raise InvalidPrefix(f"{text!r} is not an IPv4 or IPv6 address or prefix") from None
        width = address.max_prefixlen
        # int() refuses thousands of digits in its own way; four without leading zeros are too many already.
        length = int(length_text.lstrip("0")[:4] or "0") if slash else width
        if length > width:
            raise InvalidPrefix(f"{text!r}: the prefix length of an IPv{address.version} address is at most {width}")
        return cls._from_address(address, length, text)

    @classmethod
    def _from_address(cls, address: Address, length: int, text: str) -> Prefix:
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None and length >= 96:
            address, length = address.ipv4_mapped, length - 96
        host_bits = address.max_prefixlen - length
        if int(address) & ((1 << host_bits) - 1):
            network = ipaddress.ip_network((address, length), strict=False)
            raise InvalidPrefix(f"{text!r} has host bits set; did you mean {network}?")
        return cls(address.version, address.packed, length)

    @classmethod
    def from_network(cls, network: Network) -> Prefix:
        return cls(network.version, network.network_address.packed, network.prefixlen)

    @classmethod
    def host(cls, address: Address) -> Prefix:
        """The /32 or /128 of an address; an IPv4-mapped IPv6 address is its IPv4 address."""
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return cls(address.version, address.packed, address.max_prefixlen)

    @property
    def network(self) -> Network:
        return ipaddress.ip_network((self.address, self.length))

    @property
    def is_host(self) -> bool:
        return self.length == HOST_LENGTH[self.family]

    def contains(self, other: Prefix) -> bool:
        """Whether every address of `other` is one of ours."""
        if self.family != other.family or self.length > other.length:
            return False
        shift = HOST_LENGTH[self.family] - self.length
        return int.from_bytes(self.address) >> shift == int.from_bytes(other.address) >> shift

    def __str__(self) -> str:
        return f"{ipaddress.ip_address(self.address)}/{self.length}"


def parse_address(text: str) -> Address:
    """One address; an IPv4-mapped spelling gives the IPv4 address.

    Raises:
        InvalidPrefix: not an address, a prefix, or an address with a zone id.
    """
    prefix = Prefix.parse(text)
    if "/" in text or not prefix.is_host:
        raise InvalidPrefix(f"{text!r} is a prefix; one address is wanted here")
    return ipaddress.ip_address(prefix.address)
