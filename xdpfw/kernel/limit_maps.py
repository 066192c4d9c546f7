# SPDX-License-Identifier: Apache-2.0
"""The tables of limits (bpf/limit.h): what each row's limit says, and the buckets of rules."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import layouts
from xdpfw.kernel.clock import KernelClock
from xdpfw.kernel.tables import Tables
from xdpfw.model.policy import MAX_ROWS
from xdpfw.model.prefix import HOST_LENGTH
from xdpfw.model.rule import Limit
from xdpfw.policy.match import RuleTables
from xdpfw.policy.ops import Ids

FINE_HZ = 10**9 >> 9
"""Ticks of the fine clock in a second (bpf/limit.h: FINE_SHIFT)."""

FEW_TICKS = 4
"""A bucket that fills within so many jiffies would spill some of what they bring: it goes by the fine clock."""

MOST_TICKS = 1 << 30

MAPPED = HOST_LENGTH[6] - HOST_LENGTH[4]
"""Where an IPv4 address begins in ::ffff:a.b.c.d."""


class LimitMaps:
    def __init__(self, tables: Tables, clock: KernelClock) -> None:
        self._tables, self._hz = tables, clock.hz
        self._secret = int(tables.maps["ban_control"].view[0]["seed"])

    def write(self, generation: int, rules: RuleTables) -> None:
        live = self._tables.maps["limits"].view
        live[generation * MAX_ROWS : (generation + 1) * MAX_ROWS] = self.records(rules)

    def records(self, rules: RuleTables) -> npt.NDArray[np.void]:
        """What each row's limit says."""
        records = np.zeros(MAX_ROWS, layouts.LIMIT)
        for row, rule in rules.limits.items():
            assert rule.limit is not None
            self._fill_in(records[row], rule.limit)
            records[row]["salt"] = self._salt(rule.id)
        return records

    def _fill_in(self, record: np.void, limit: Limit) -> None:
        fine = limit.burst * self._hz < FEW_TICKS * limit.rate
        ticks = FINE_HZ if fine else self._hz
        full = limit.burst * ticks
        record["rate"], record["burst"], record["cost"] = limit.rate, full, ticks
        record["fill"] = min(full // limit.rate + 1, MOST_TICKS)
        record["fill_jiffies"] = min(limit.burst * self._hz // limit.rate + 1, MOST_TICKS)
        record["ban"] = limit.ban * self._hz
        record["bytes"], record["per_rule"], record["fine"] = limit.unit == "bytes", limit.per == "rule", fine
        record["length4"], record["length6"] = limit.prefix4 + MAPPED, limit.prefix6

    def _salt(self, id: str) -> int:
        """A rule that gets a slot that another one had does not get its sources' buckets."""
        return int.from_bytes(hashlib.sha256(f"{self._secret} {id}".encode()).digest()[:8])

    def clear(self, slots: Ids) -> None:
        """These rules are gone: whoever gets their slots begins with full buckets."""
        self._tables.maps["rule_levels"].view[slots] = 0
