# SPDX-License-Identifier: Apache-2.0
"""Many distinct prefixes, like block lists are: hosts, small IPv4 networks, IPv6 networks."""

from __future__ import annotations

import numpy as np

HOSTS4, NETWORKS4 = 0.3, 0.4  # shares; the rest is IPv6


def make(count: int, seed: int = 1) -> list[str]:
    """`count` distinct prefixes in random order: /32 in 10.0.0.0/9, /30 in 10.128.0.0/9, /56 in 2001:db8::/32."""
    random = np.random.default_rng(seed)
    hosts4, networks4 = int(count * HOSTS4), int(count * NETWORKS4)
    texts = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in random.choice(1 << 23, hosts4, replace=False).tolist()]
    texts += [
        f"10.{128 + (n >> 14)}.{n >> 6 & 255}.{(n & 63) << 2}/30"
        for n in random.choice(1 << 21, networks4, replace=False).tolist()
    ]
    texts += [
        f"2001:db8:{n >> 8:x}:{(n & 255) << 8:x}::/56"
        for n in random.choice(1 << 24, count - hosts4 - networks4, replace=False).tolist()
    ]
    random.shuffle(texts)
    return texts


def inside(prefix: str) -> str:
    """An address that the prefix holds."""
    return prefix.partition("/")[0] if ":" not in prefix else prefix.replace("::/56", "::7")


def body(prefixes: list[str]) -> bytes:
    """As `text/plain` takes it."""
    return "\n".join(prefixes).encode() + b"\n"
