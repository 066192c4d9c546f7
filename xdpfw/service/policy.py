# SPDX-License-Identifier: Apache-2.0
"""Use cases on the policy as a whole: its default and mode, and how any change of it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from xdpfw.model.ban import BANNED
from xdpfw.model.errors import Conflict, Fault, Guarded, InvalidInput
from xdpfw.model.ledger import POLICY, RULES, Part
from xdpfw.model.policy import ALLOW, BLOCK, PANIC_DROP, PANIC_KEEP, Policy
from xdpfw.model.reason import Verdict
from xdpfw.model.requests import WriteOptions
from xdpfw.model.rule import Mode, Rule
from xdpfw.model.views import PolicyView, Written
from xdpfw.policy.limits import check_bans
from xdpfw.policy.rows import check_rows, listed
from xdpfw.policy.sets import Sets
from xdpfw.service.changes import Changes, Draft
from xdpfw.service.present import policy_view
from xdpfw.versions import check_match

_ABSENT = {BANNED: "rules cannot name the set banned: a ban drops by itself, in the place of the rule that made it"}


class PolicyUseCases(Changes):
    async def policy(self) -> PolicyView:
        return policy_view(self.state.policy)

    async def patch_policy(
        self,
        default: Verdict | None,
        mode: Mode | None,
        ethertypes: Sequence[int] | None,
        opts: WriteOptions,
    ) -> tuple[PolicyView, Written]:
        """Change what is given. The view shows the outcome, also of a dry run."""

        def make(old: Policy) -> Policy:
            return replace(
                old,
                default=default or old.default,
                mode=mode or old.mode,
                ethertypes=old.ethertypes if ethertypes is None else tuple(dict.fromkeys(ethertypes)),
            )

        policy, written = await self.change_policy(
            make, opts, tag="policy", what="this change of the policy", part=POLICY
        )
        return policy_view(policy), written

    async def change_policy(
        self,
        make: Callable[[Policy], Policy],
        opts: WriteOptions,
        *,
        tag: str,
        what: str,
        part: Part = RULES,
        status: int = 200,
        at: Callable[[int], str] = listed,
    ) -> tuple[Policy, Written]:
        """Put what `make` makes of the policy in its place; answers the outcome, also of a dry run. `make` raises to
        refuse; `tag`: the resource that If-Match is about; `what`: the change, for people; `part`: of the state;
        `status`: of the answer; `at`: as of `listed`."""

        def checked(old: Policy) -> Policy:
            no_panic(old)
            new = make(old)
            check_rules(new.rules, self.state.sets, at)
            return new

        return await self.replace_policy(checked, opts, tag=tag, what=what, parts=(part,), status=status)

    async def replace_policy(
        self,
        make: Callable[[Policy], Policy],
        opts: WriteOptions,
        *,
        tag: str,
        what: str,
        parts: tuple[Part, ...],
        status: int,
        guarded: bool = True,
    ) -> tuple[Policy, Written]:
        """The same with whatever `make` makes, which is not looked at. `guarded`: it may lock nobody out."""

        def made() -> tuple[Policy, Policy]:
            old = self.state.policy
            check_match(opts.if_match, self.etag(tag))
            self.check_free(parts, opts)
            return old, make(old)

        def work() -> tuple[Policy, bool]:
            old, new = made()
            draft = Draft(parts, status=status)
            if new != old:
                self.check_free(_sets_named(new), opts)
                draft = replace(draft, resources=changed_resources(old, new), policy=new, history=True)
                if guarded and not opts.force:
                    keeps_own_rules(old, new, what)
                if guarded:
                    self.guard(draft, opts, what)
            changed = self.enforce(draft, opts)
            return new if opts.dry_run else self.state.policy, changed

        old, new = await asyncio.to_thread(made)
        if not opts.dry_run and new != old:
            # Before the lock, so that nobody else waits for the compiler.
            await asyncio.to_thread(self.kernel.prepare, self.writer.wanted_between(old, new))
        async with self.writer.lock:
            policy, changed = await self.writer.call(work)
            return policy, self.written(changed, opts)


def no_panic(policy: Policy) -> None:
    """Raises Conflict while there is panic: what is written now would not be what comes back after it."""
    if policy.panic:
        raise Conflict("there is panic: everything but what it keeps is dropped. `xdpfw panic --off` ends it first")


def keeps_own_rules(old: Policy, new: Policy, what: str) -> None:
    """Raises Guarded when `allow` or `block` goes. `what`: the change, for people."""
    gone = [id for id in (ALLOW, BLOCK) if old.rule(id) and not new.rule(id)]
    if gone:
        named = " and ".join(gone)
        raise Guarded(f"{what} would take out rule {named}: what is in set {named} would not matter any more")


def check_rules(rules: Sequence[Rule], sets: Sets, at: Callable[[int], str] = listed) -> None:
    """Raises InvalidInput for sets that are not there, for more rules than there is room for, and for bans of too many
    lengths. `at`: as of `listed`."""
    others = f"the sets are {', '.join(sets.names())}"
    faults = [
        Fault(f"{at(number)}/match/{side}", _ABSENT.get(name, f"there is no set {name!r}; {others}"))
        for number, rule in enumerate(rules)
        for side, match in (("source", rule.match.source), ("destination", rule.match.destination))
        for name in dict.fromkeys((*match.sets, *match.not_sets))
        if name not in sets.defined
    ]
    faults += [
        Fault(f"{at(number)}/id", f"{rule.id} is the id of a rule of panic, and no other's")
        for number, rule in enumerate(rules)
        if rule.id in (PANIC_KEEP, PANIC_DROP)
    ]
    if faults:
        raise InvalidInput(f"{faults[0].pointer}: {faults[0].detail}", faults)
    check_rows(rules, at)
    check_bans(rules, at)


def _sets_named(policy: Policy) -> list[Part]:
    """Sets that must stay, as parts of the state."""
    return [Part(f"sets/{name}") for rule in policy.rules for name in rule.set_names]


def changed_resources(old: Policy, new: Policy) -> tuple[str, ...]:
    changed = ["policy"]
    if old.rules != new.rules:
        changed.append("rules")
    before = {rule.id: rule for rule in old.rules}
    after = {rule.id: rule for rule in new.rules}
    changed += [f"rules/{id}" for id in before.keys() | after.keys() if before.get(id) != after.get(id)]
    return tuple(changed)
