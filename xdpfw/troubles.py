# SPDX-License-Identifier: Apache-2.0
"""What the daemon fails at of all that it does by itself: from the first failure until it succeeds again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from xdpfw.clock import SECOND, Clock, to_datetime
from xdpfw.model.errors import XdpfwError

log = logging.getLogger("xdpfw.upkeep")

REMEMBERED = 10
SHOWN_FOR = 3600 * SECOND
"""How long status tells of a defect that is over."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """`since`: wall clock ns. A `defect` is what nobody thought of; all else says itself what helps."""

    job: str
    detail: str
    since: int
    defect: bool


class Troubles:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failing: dict[str, Trouble] = {}
        self._over: deque[Trouble] = deque(maxlen=REMEMBERED)

    @contextmanager
    def of(self, job: str) -> Iterator[None]:
        """Nothing but a cancellation comes out. The log tells a failure once, and that it is over."""
        try:
            yield
        except XdpfwError as error:
            if self._is_news(Trouble(job, error.detail, self._clock.wall(), defect=False)):
                log.error("%s: %s", job, error.detail)
        except Exception as error:
            if self._is_news(Trouble(job, f"{type(error).__name__}: {error}", self._clock.wall(), defect=True)):
                log.exception("%s: this is a defect", job)
        else:
            self._succeeded(job)

    def _is_news(self, trouble: Trouble) -> bool:
        last = self._failing.get(trouble.job)
        self._failing[trouble.job] = replace(trouble, since=last.since) if last else trouble
        return last is None or last.detail != trouble.detail

    def _succeeded(self, job: str) -> None:
        if last := self._failing.pop(job, None):
            log.warning("%s: succeeds again", job)
            if last.defect:
                self._over.append(last)

    def has_defect(self, job: str) -> bool:
        return job in self._failing and self._failing[job].defect

    @property
    def problems(self) -> list[str]:
        """Why the daemon does not do all of its work: defects that go on."""
        return [
            f"{each.job} fails by a defect since {_time(each)} and is tried again ({each.detail}); the log has more"
            for each in self._failing.values()
            if each.defect
        ]

    @property
    def warnings(self) -> list[str]:
        """What is to be known besides: failures that say what helps, and defects that are over."""
        failing = [f"{each.job} fails: {each.detail}" for each in self._failing.values() if not each.defect]
        now = self._clock.wall()
        return failing + [
            f"{each.job} met a defect at {_time(each)} and goes on ({each.detail}); the log has more"
            for each in self._over
            if now - each.since < SHOWN_FOR
        ]


def _time(trouble: Trouble) -> str:
    return f"{to_datetime(trouble.since):%H:%M:%S} UTC"
