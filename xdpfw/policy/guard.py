# SPDX-License-Identifier: Apache-2.0
"""Guards: changes that are more often slips than wishes. Each answers a sentence about what forcing would do, or None."""

from __future__ import annotations

from collections.abc import Iterable

from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Address
from xdpfw.policy.sets import Edit, Sets


def whole_family(edit: Edit, before: Sets, policy: Policy) -> str | None:
    """A set whose row drops covers all of IPv4 or all of IPv6 after the edit, and did not before."""


def lockout(
    sets: Sets, policy: Policy, protected: Iterable[Address], now: int, before: tuple[Sets, Policy] | None = None
) -> str | None:
    """A protected address would be dropped (and is not dropped already, if `before` is given). Monitor mode drops nothing."""


def shrunk(edit: Edit, before: int) -> str | None:
    """A bulk replace that is empty or removes over half of `before` prefixes."""
