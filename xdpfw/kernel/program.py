# SPDX-License-Identifier: Apache-2.0
"""The packet program of this version: its text, its identity, its instructions (compiled when first wanted)."""

from __future__ import annotations

import platform
from functools import cached_property

from xdpfw.kernel.cache import ProgramCache
from xdpfw.kernel.compile import Program, compile_source
from xdpfw.kernel.maps import PROGRAM_MAPS
from xdpfw.kernel.source import find_sources, fingerprint, inline

NAME = "xdp_filter"
MULTI_BUFFER_SINCE = (5, 18)


def kernel_version() -> tuple[int, int]:
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor.split("-")[0])) or 0)


class PacketProgram:
    def __init__(self, saved: ProgramCache) -> None:
        self._saved = saved
        self.frags = kernel_version() >= MULTI_BUFFER_SINCE
        self._flags = ["-DMULTI_BUFFER"] if self.frags else []
        self.source = inline(find_sources() / f"{NAME}.c")
        self.fingerprint = fingerprint(self.source, self._flags)

    @cached_property
    def compiled(self) -> Program:
        return self._obtain(NAME, self._flags)

    @cached_property
    def twin(self) -> Program:
        return self._obtain("xdp_twin", [*self._flags, "-DTWIN"])

    def _obtain(self, name: str, flags: list[str]) -> Program:
        mark = fingerprint(self.source, flags)
        if found := self._saved.load(name, mark):
            return found
        made = compile_source(self.source, NAME, PROGRAM_MAPS, flags)
        self._saved.save(name, mark, made)
        return made

    @property
    def compiler(self) -> str | None:
        """What compiled it, once it was wanted."""
        done = self.__dict__.get("compiled") or self.__dict__.get("twin")
        return done.compiler if done else None
