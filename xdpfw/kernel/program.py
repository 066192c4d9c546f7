# SPDX-License-Identifier: Apache-2.0
"""The packet program of this version: its text, its identity, its instructions (compiled when first wanted)."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

from xdpfw.kernel.cache import ProgramCache
from xdpfw.kernel.clock import ticks_per_second
from xdpfw.kernel.compile import Program, compile_source, refused_at
from xdpfw.kernel.maps import LEARNER_MAPS, PROGRAM_MAPS
from xdpfw.kernel.source import find_sources, fingerprint, inline
from xdpfw.model.errors import KernelError
from xdpfw.model.feature import Feature, Features, widest

NAME = "xdp_filter"
LEARNER, LEARN = "egress", "learn"
PROGRAMS = "programs"
MULTI_BUFFER_SINCE = (5, 18)

log = logging.getLogger("xdpfw.program")


def kernel_version() -> tuple[int, int]:
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor.split("-")[0])) or 0)


class PacketProgram:
    """Compiled for `features`, which are what the policy asks for."""

    def __init__(self, saved: ProgramCache, features: Features = frozenset(), source: str = "") -> None:
        self._saved = saved
        self.features = features
        self.frags = kernel_version() >= MULTI_BUFFER_SINCE
        self.flags = ["-DMULTI_BUFFER"] if self.frags else []
        self._clock = [f"-DHZ={ticks_per_second()}"]
        self.flags += [*self._clock, *(_flag(feature) for feature in sorted(features))]
        self.source = source or inline(find_sources() / f"{NAME}.c")
        self.fingerprint = fingerprint(self.source, self.flags)

    @classmethod
    def of(cls, state_dir: Path) -> PacketProgram:
        """The program of an instance, which keeps what it compiled in its state directory: as it was used last."""
        saved = ProgramCache(state_dir / PROGRAMS)
        return cls(saved, saved.last_used())

    def made_for(self, features: Features) -> PacketProgram:
        return self if features == self.features else PacketProgram(self._saved, features, self.source)

    def quickest(self, features: Features) -> PacketProgram:
        """For these features; or, if that would have to be compiled, of those at hand that can do as much the one that
        can do the least."""
        program = self.made_for(features)
        if program.at_hand:
            return program
        others = self.features, *map(_features, self._saved.flags(NAME))
        wider = [self.made_for(each) for each in others if features <= each <= widest(features)]
        return min((each for each in wider if each.at_hand), key=lambda each: len(each.features), default=program)

    def have(self) -> None:
        """Compile unless that is done."""
        if not self.at_hand:
            _ = self.compiled

    def keep(self) -> None:
        """The next start begins with these features."""
        self._saved.use(self.features)

    def prepare(self) -> None:
        """Begin to compile beside everything else that a start has to do. A failure shows when it is wanted."""
        _ = self._under_way

    @property
    def at_hand(self) -> bool:
        """Whether nobody has to wait for the compiler."""
        under_way: Future[Program] | None = self.__dict__.get("_under_way")
        if under_way:
            return under_way.done() and not under_way.exception()
        return self._saved.has(NAME, self.fingerprint)

    @property
    def compiled(self) -> Program:
        try:
            return self._under_way.result()
        except KernelError:
            self.__dict__.pop("_under_way", None)  # the next one who wants it tries again
            raise

    @cached_property
    def _under_way(self) -> Future[Program]:
        with_one_thread = ThreadPoolExecutor(1, "xdpfw-compiler")
        future = with_one_thread.submit(self._obtain, NAME, self.flags)
        with_one_thread.shutdown(wait=False)
        return future

    @cached_property
    def twin(self) -> Program:
        # Nobody reads events of frames that somebody asks about.
        flags = [flag for flag in self.flags if flag != _flag(Feature.EVENTS)]
        return self._obtain("xdp_twin", [*flags, "-DTWIN"])

    @cached_property
    def learner(self) -> Program:
        """The program on the way out; it is the same for all features."""
        return self._obtain("xdp_learner", self._clock, self._learner_source, LEARN, LEARNER_MAPS)

    @property
    def learner_fingerprint(self) -> int:
        return fingerprint(self._learner_source, self._clock)

    @cached_property
    def _learner_source(self) -> str:
        return inline(find_sources() / f"{LEARNER}.c")

    def _obtain(
        self, name: str, flags: list[str], source: str = "", function: str = NAME, maps: Sequence[str] = PROGRAM_MAPS
    ) -> Program:
        source = source or self.source
        mark = fingerprint(source, flags)
        if found := self._saved.load(name, mark):
            return found
        began = time.monotonic()
        made = compile_source(source, function, maps, flags)
        self._saved.save(name, mark, made, flags)
        can = ", ".join(sorted(_features(flags))) or "no more than sets alone"
        log.info("%s was compiled in %.1f s: %s", name, time.monotonic() - began, can)
        return made

    def refused(self, why: str) -> str:
        """What the verifier said, and of which line of the source."""
        place = refused_at(self.source, NAME, self.flags)
        if place is None:
            return why
        lines = (find_sources() / place[0]).read_text().splitlines()
        return f"{place[0]}:{place[1]}: {''.join(lines[place[1] - 1 : place[1]]).strip()}\n{why}"

    @property
    def compiler(self) -> str | None:
        """What compiled it, once it was wanted."""
        under_way: Future[Program] | None = self.__dict__.get("_under_way")
        if under_way and under_way.done() and not under_way.exception():
            return under_way.result().compiler
        twin: Program | None = self.__dict__.get("twin")
        return twin.compiler if twin else None


def _flag(feature: Feature) -> str:
    return f"-D{feature}=1"


def _features(flags: Sequence[str]) -> Features:
    return frozenset(feature for feature in Feature if _flag(feature) in flags)
