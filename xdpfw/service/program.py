# SPDX-License-Identifier: Apache-2.0
"""The program itself, for people who want to see what runs in their driver."""

from __future__ import annotations

import asyncio

from xdpfw.clock import to_datetime
from xdpfw.kernel.port import ProgramFacts
from xdpfw.model.packet_views import Measured, ProgramMapView, ProgramView
from xdpfw.service.core import Core


class ProgramUseCases(Core):
    async def program(self, name: str, seconds: int) -> ProgramView:
        """What runs on an interface. Raises NotFound unless it is attached. `seconds`: count its runs for so long."""
        facts = await asyncio.to_thread(self.kernel.program_facts, name, float(seconds))
        return program_view(name, facts)


def program_view(interface: str, facts: ProgramFacts) -> ProgramView:
    measured = None
    if facts.seconds:
        each = round(facts.run_ns / facts.runs, 1) if facts.runs else None
        measured = Measured(facts.seconds, facts.runs, each)
    return ProgramView(
        interface=interface,
        id=facts.id,
        name=facts.name,
        tag=facts.tag,
        loaded_at=to_datetime(facts.loaded),
        instructions=facts.instructions,
        machine_code=facts.machine_code,
        verified=facts.verified,
        compiler=facts.compiler,
        features=list(facts.features),
        measured=measured,
        maps=[
            ProgramMapView(m.name, m.id, m.type, m.key_size, m.value_size, m.entries, m.memory, m.pin)
            for m in facts.maps
        ],
    )
