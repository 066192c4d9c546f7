# SPDX-License-Identifier: Apache-2.0
"""The use cases of the firewall. They take their ports by constructor and know neither HTTP nor BPF."""

from __future__ import annotations

from xdpfw.service.banned import BannedSet
from xdpfw.service.config import ConfigUseCases
from xdpfw.service.explain import ExplainUseCases
from xdpfw.service.history import HistoryUseCases
from xdpfw.service.upkeep import Upkeep


class Firewall(BannedSet, ConfigUseCases, HistoryUseCases, ExplainUseCases, Upkeep):
    """Everything that the REST API offers, and what the daemon does by itself (`run_upkeep`)."""
