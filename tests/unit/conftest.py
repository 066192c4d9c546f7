# SPDX-License-Identifier: Apache-2.0
"""Property tests are about answers, not about time: a busy machine is no failure."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from xdpfw.policy import table

settings.register_profile("xdpfw", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("xdpfw")


@pytest.fixture(scope="module", params=[table.WIDE, 0], ids=["all at once", "part by part"])
def each_way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Small tables are always looked at as a whole, unless they are made not to be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "WIDE", request.param)
        yield
