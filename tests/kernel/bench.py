# SPDX-License-Identifier: Apache-2.0
"""The live program with counters of its own, attached to nothing, so that a test alone feeds it (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from xdpfw.kernel import libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.instance import InterfaceMaps
from xdpfw.kernel.maps import interface_specs, possible_cpus
from xdpfw.kernel.port import TalkerTable
from xdpfw.model.limits import Limits

DROP, PASS = 1, 2


class Bench:
    def __init__(self, kernel: RealKernel, limits: Limits | None = None) -> None:
        self.kernel = kernel
        cpus = possible_cpus()
        self.own = InterfaceMaps.create(interface_specs(limits or kernel.limits, cpus), cpus)
        descriptors = {**kernel.descriptors(), **self.own.descriptors()}
        program = kernel.program
        self.program, _ = libbpf.prog_load("bench", program.compiled.link(descriptors), frags=program.frags)

    def run(self, frame: bytes, times: int = 1) -> bool:
        """Whether it passes, on an interface that no rule names."""
        for generation in (0, 1):
            number = self.kernel._instances.vector_of(None, generation)
            self.own.write_vector(generation, number)
        # One by one: for a repeated run the kernel installs a dispatcher and waits for a grace period.
        verdicts = {libbpf.test_run(self.program, frame)[0] for _ in range(times)}
        assert verdicts in ({DROP}, {PASS})
        return verdicts == {PASS}

    def nanoseconds(self, frame: bytes, times: int = 200_000) -> int:
        """Per packet, as the kernel measures it; the median of five runs."""
        return sorted(libbpf.test_run(self.program, frame, times)[1] for _ in range(5))[2]

    def tally(self) -> npt.NDArray[np.uint64]:
        return self.own.read_tally()

    def table(self) -> TalkerTable:
        return self.own.read_talkers(self.kernel.clock)

    def talkers(self) -> npt.NDArray[Any]:
        return self.table().rows()

    def close(self) -> None:
        os.close(self.program)
        self.own.close()
