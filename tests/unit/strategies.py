# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for prefixes, claims and sets. Prefixes crowd together, so that they nest and repeat."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import strategies as st

from xdpfw.model.policy import Claim
from xdpfw.model.prefix import FAMILIES, HOST_LENGTH, Address, Family, Prefix

QUARTER = 250_000_000
"""Deadlines in the packet path are multiples of 0.25 s; expiries that are, too, are met exactly."""

BASES: dict[Family, int] = {4: 0x0A000000, 6: 0x20010DB8 << 96}


def prefix_of_int(family: Family, value: int, length: int) -> Prefix:
    width = HOST_LENGTH[family]
    kept = value >> (width - length) << (width - length)
    return Prefix(family, kept.to_bytes(width // 8), length)


@st.composite
def addresses(draw: Any, family: Family | None = None) -> Address:
    """Addresses near `BASES`, which differ in few bits, or anywhere."""
    chosen: Family = family or draw(st.sampled_from(FAMILIES))
    width = HOST_LENGTH[chosen]
    if draw(st.integers(0, 9)) == 0:
        value = draw(st.integers(0, 2**width - 1))
    else:
        value = BASES[chosen] | draw(st.integers(0, 15)) << 20 | draw(st.sampled_from((0, 1, 2, 3, 128, 255)))
    return ipaddress.IPv4Address(value) if chosen == 4 else ipaddress.IPv6Address(value)


@st.composite
def prefixes(draw: Any, family: Family | None = None) -> Prefix:
    address = draw(addresses(family))
    chosen: Family = address.version
    width = HOST_LENGTH[chosen]
    length = draw(st.one_of(st.sampled_from((width, width - 1, width - 8, 8, 1, 0)), st.integers(0, width)))
    return prefix_of_int(chosen, int(address), length)


def expiries() -> st.SearchStrategy[int | None]:
    """Wall clock ns in the first few seconds of 1970, or never."""
    return st.one_of(st.none(), st.integers(1, 12).map(lambda quarters: quarters * QUARTER))


def claims(origins: tuple[str, ...] = ("manual", "feed")) -> st.SearchStrategy[Claim]:
    return st.builds(
        Claim,
        prefix=prefixes(),
        origin=st.sampled_from(origins),
        expires=expiries(),
        comment=st.sampled_from(("", "why")),
    )
