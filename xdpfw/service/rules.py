# SPDX-License-Identifier: Apache-2.0
"""Use cases on the ordered rules."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from xdpfw.model.errors import NotFound
from xdpfw.model.interface import Link
from xdpfw.model.policy import Policy
from xdpfw.model.requests import WriteOptions
from xdpfw.model.rule import Action, Rule
from xdpfw.model.rule_form import parse_rule
from xdpfw.model.rule_show import show_rule
from xdpfw.model.views import RulesWritten, RuleView, Written
from xdpfw.policy.order import Place, placed
from xdpfw.service.policy import PolicyUseCases


class RuleUseCases(PolicyUseCases):
    async def rules(self) -> list[RuleView]:
        return await asyncio.to_thread(self._rule_views, self.state.policy)

    async def rule(self, id: str) -> RuleView:
        views = await self.rules()
        return next((view for view in views if view.id == id), None) or self._no_rule(id)

    async def put_rules(self, rules: Sequence[Rule], opts: WriteOptions) -> RulesWritten:
        """These instead of all that are there. Rules that keep their id keep their counters."""
        before: list[tuple[Rule, ...]] = []

        def make(old: Policy) -> Policy:
            before.append(old.rules)
            return replace(old, rules=tuple(rules))

        _, written = await self.change_policy(make, opts, tag="rules", what="this list of rules")
        old, new = ({rule.id: rule for rule in each} for each in (before[-1], rules))
        common = old.keys() & new.keys()
        edited = sum(old[id] != new[id] for id in common)
        return RulesWritten(
            written.revision,
            written.changed,
            added=len(new) - len(common),
            removed=len(old) - len(common),
            edited=edited,
            kept=len(common) - edited,
            total=len(new),
            dry_run=written.dry_run,
            confirmation=written.confirmation,
        )

    async def put_rule(self, rule: Rule, place: Place, opts: WriteOptions) -> tuple[RuleView, Written]:
        """A new rule, or this one instead of the one with its id."""
        created = self.state.policy.rule(rule.id) is None
        policy, written = await self.change_policy(
            lambda old: replace(old, rules=placed(old.rules, rule, place)),
            opts,
            tag=f"rules/{rule.id}",
            what=f"rule {rule.id}",
            status=201 if created else 200,
            at=_alone,
        )
        return await self._view_in(policy, rule.id), replace(written, created=created and not opts.dry_run)

    async def patch_rule(
        self, id: str, change: Mapping[str, Any], place: Place, opts: WriteOptions
    ) -> tuple[RuleView, Written]:
        """Fields of a rule, and of its match, that are given (null takes one out of the match); its place."""

        def make(old: Policy) -> Policy:
            rule = old.rule(id) or self._no_rule(id)
            return replace(old, rules=placed(old.rules, _merged(rule, change), place))

        what = f"this change of rule {id}"
        policy, written = await self.change_policy(make, opts, tag=f"rules/{id}", what=what, at=_alone)
        return await self._view_in(policy, id), written

    async def delete_rule(self, id: str, opts: WriteOptions) -> Written:
        def make(old: Policy) -> Policy:
            rule = old.rule(id) or self._no_rule(id)
            return replace(old, rules=tuple(other for other in old.rules if other is not rule))

        _, written = await self.change_policy(make, opts, tag=f"rules/{id}", what=f"deleting rule {id}", status=204)
        return written

    async def _view_in(self, policy: Policy, id: str) -> RuleView:
        views = await asyncio.to_thread(self._rule_views, policy)
        return next(view for view in views if view.id == id)

    def _rule_views(self, policy: Policy) -> list[RuleView]:
        counts = self.kernel.read_rules()
        links = {link.name: link for link in self.kernel.interfaces()}
        attached = [links[name] for name in self.interfaces.attached if name in links]
        views = []
        for position, rule in enumerate(policy.rules, 1):
            slot = policy.slots.of.get(rule.id)
            packets, size = (0, 0) if slot is None else map(int, counts[slot])
            warning = "; ".join(_warnings(rule, links.keys(), attached)) or None
            shown = show_rule(rule)
            views.append(RuleView(position=position, packets=packets, bytes=size, warning=warning, **shown))
        return views

    def _no_rule(self, id: str) -> Any:
        ids = ", ".join(rule.id for rule in self.state.policy.rules[:20])
        raise NotFound(f"there is no rule {id!r}; there are {ids or 'none'}")


def _alone(_: int) -> str:
    """As of `listed`: the rule is all that was sent."""
    return ""


def _warnings(rule: Rule, present: Collection[str], attached: Sequence[Link]) -> Iterator[str]:
    """What keeps a rule from working."""
    absent = [name for name in rule.match.interfaces if name not in present]
    if absent:
        yield f"there is no interface {', '.join(absent)} now"
    for link in attached if rule.match.vlan else ():
        if link.strips_tags and (not rule.match.interfaces or link.name in rule.match.interfaces):
            yield f"{link.name} strips VLAN tags before XDP sees them: ethtool -K {link.name} rxvlan off"


def _merged(rule: Rule, change: Mapping[str, Any]) -> Rule:
    """RFC 7396, one level into the match. Raises InvalidInput."""
    document = show_rule(rule) | dict(change)
    match = change.get("match")
    if isinstance(match, dict):
        document["match"] = {k: v for k, v in (show_rule(rule)["match"] | match).items() if v is not None}
    if change.get("action", Action.LIMIT) != Action.LIMIT and "limit" not in change:
        document["limit"] = None
    return parse_rule(document | {"id": rule.id})
