# SPDX-License-Identifier: Apache-2.0
"""Sets and policy, compiled into a kernel: what the service does with them, without the service."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

from xdpfw.kernel.port import Kernel
from xdpfw.model.deviation import Deviation
from xdpfw.model.limits import Limits
from xdpfw.model.policy import Claim, Policy
from xdpfw.model.prefix import Prefix
from xdpfw.policy.bulk import Bulk
from xdpfw.policy.compiler import Compiler, Plan
from xdpfw.policy.rows import features_of
from xdpfw.policy.sets import Edit, Sets


class Loaded:
    """A started kernel whose tables always hold `sets` and `policy`."""

    def __init__(self, kernel: Kernel, limits: Limits) -> None:
        self.kernel = kernel
        self.sets = Sets.initial()
        self.policy = Policy()
        self._compiler = Compiler(limits, kernel.start())
        self._revision = 0
        for plan in self._compiler.compile_all(self.sets, self.policy):
            self._apply(plan)
        kernel.activate()

    def add(self, name: str, prefixes: Iterable[str]) -> None:
        claims = [Claim(Prefix.parse(prefix)) for prefix in prefixes]
        self._edit(self.sets.upsert(name, claims, longest=False))

    def remove(self, name: str, prefixes: Sequence[Prefix]) -> None:
        self._edit(self.sets.remove(name, prefixes))

    def replace(self, name: str, bulk: Bulk) -> None:
        """Entries of `name` become those of `bulk`, in one step."""
        self._edit(self.sets.replace(name, bulk, origin=None, now=time.time_ns(), base=self.sets))

    def use(self, **changes: object) -> None:
        """Change fields of the policy; the program can do what that asks for and no more."""
        policy = replace(self.policy, **changes).following(self.policy)  # type: ignore[arg-type]
        self.kernel.compile(features_of(policy))
        self.kernel.use(features_of(policy))
        self._apply(self._compiler.plan(self.sets, {}, policy=policy))
        self.policy = policy

    def deviations(self, *, mend: bool = False, quick: bool = False) -> list[Deviation]:
        return self.kernel.verify(self._compiler.expected(), mend=mend, quick=quick)

    def _edit(self, edit: Edit) -> None:
        self._apply(self._compiler.plan(edit.sets, edit.touched))
        self.sets = edit.sets

    def _apply(self, plan: Plan) -> None:
        self._revision += 1
        self.kernel.execute(plan.ops, self._revision)
        self._compiler.commit(plan, self.kernel.read_leaves)
