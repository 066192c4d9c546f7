# SPDX-License-Identifier: Apache-2.0
"""Property tests are about answers, not about time: a busy machine is no failure."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("xdpfw", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xdpfw")
