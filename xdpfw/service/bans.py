# SPDX-License-Identifier: Apache-2.0
"""Use cases on bans: keeping up with the packet path, and what people may do to the set `banned`: look and lift."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence
from dataclasses import replace

from xdpfw.bans import Look
from xdpfw.clock import SECOND
from xdpfw.log import told
from xdpfw.model.ban import BANNED
from xdpfw.model.errors import Conflict, XdpfwError
from xdpfw.model.feature import Feature
from xdpfw.model.ledger import Outcome
from xdpfw.model.prefix import Prefix
from xdpfw.model.requests import WriteOptions
from xdpfw.model.views import BansView
from xdpfw.policy.delta import deltas_of
from xdpfw.policy.differences import bounded, entry_differences
from xdpfw.policy.sets import Edit
from xdpfw.service.changes import MOST_DIFFERENCES, SHOWN_ENTRIES, Changes
from xdpfw.service.telling import tell
from xdpfw.store.port import Ledger
from xdpfw.versions import check_match

log = logging.getLogger("xdpfw.bans")

TOLD = 20
"""Bans that the log names of those that were found together."""

FILLED_BY_RULES = (
    "set banned is filled by rules whose limit bans, and by nobody else; `xdpfw block PREFIX --for 1h` does the like by"
    " hand, and `xdpfw unban PREFIX` lifts a ban"
)


class BanUseCases(Changes):
    _was_shown = False
    """Whether the set was listed at the last look."""

    async def keep_bans(self) -> None:
        """Follow what the packet path banned: show it, store it, and take out what has run out."""
        if self.bans.stirred(self.state.policy):
            async with self.writer.lock:
                await self.writer.call(self._look_at_bans)

    async def close(self, *, detach: bool = False) -> None:
        """The store learns last what bans have counted: after a reboot they go on from there."""
        if self._writer and not self._writer.closed:
            try:
                async with self.writer.lock:
                    await self.writer.call(lambda: self._look_at_bans(hits=True))
            except XdpfwError as error:
                log.error("what bans have counted could not be stored: %s", error.detail)
        await super().close(detach=detach)

    def _look_at_bans(self, *, hits: bool = False) -> None:
        look = self.bans.look(self.state.policy, hits=hits)
        if look.stored:
            self.writer.save_bans(look.stored)
            self.bans.stored(look)
        shown = self.shows_banned
        if look.listed or shown is not self._was_shown:
            self.versions.changed(*BAN_RESOURCES)
        self._was_shown = shown
        self.writer.ask("bans", frozenset({Feature.BANS}) if len(self.bans) else frozenset())
        self._tell(look)

    def _tell(self, look: Look) -> None:
        for ban in look.made[:TOLD]:
            seconds = round((ban.expires - ban.added) / SECOND)
            what = told("ban", prefix=str(ban.prefix), rule=ban.rule, seconds=seconds)
            log.info(
                "%s is banned for %d s: it exceeded the limit of rule %s", ban.prefix, seconds, ban.rule, extra=what
            )
        if len(look.made) > TOLD:
            more = len(look.made) - TOLD
            log.info("and %d more were banned", more, extra=told("ban", more=more))

    def warn_of_bans(self) -> list[str]:
        """What somebody should know. Blocks for some milliseconds."""
        warnings = [
            f"{ban.prefix} is banned by {ban.claims[0].origin}, and {target.role} is in it: `xdpfw unban {ban.prefix}`,"
            " and put what must not be banned into the set allow"
            for target in self.guards.targets(WriteOptions(), fresh=False)
            for _, ban in self.bans.sets.matches(ipaddress.ip_address(target.where.address))[:1]
        ]
        if self.bans.refused_lately:
            warnings.append(
                f"sources could not be banned, because {self.limits.bans:,} are: raise bans under [limits] in the"
                " configuration file"
            )
        return warnings

    @property
    def shows_banned(self) -> bool:
        """Whether the set is listed: there are bans, or there is a rule that makes some."""
        rules = self.state.policy.rules
        return bool(len(self.bans)) or any(rule.limit and rule.limit.ban for rule in rules)

    def bans_view(self) -> BansView:
        stats = self.kernel.bans.stats()
        return BansView(len(self.bans), self.limits.bans, stats.banned, stats.refused, stats.placeless)

    def refuse_by_hand(self, name: str) -> None:
        if name == BANNED:
            raise Conflict(FILLED_BY_RULES)

    async def lift_bans(
        self,
        prefixes: Sequence[Prefix],
        opts: WriteOptions,
        *,
        origin: str | None,
        missing: bool,
        tag: str | None,
        status: int,
    ) -> Edit:
        """Raises NotFound for prefixes that are not banned, unless `missing`. `tag`: of what If-Match is about;
        `status`: of the answer."""
        if opts.confirm_within is not None:
            raise Conflict("a ban that is lifted cannot come back by itself: leave out confirm_within")

        def work() -> Edit:
            self._look_at_bans()
            check_match(opts.if_match, tag or self.etag(ENTRIES))
            before = self.bans.sets
            edit = before.remove(BANNED, prefixes, origin, ignore_missing=missing)
            if edit.changed and not opts.dry_run:
                gone = [
                    p for p in dict.fromkeys(prefixes) if before.entry(BANNED, p) and not edit.sets.entry(BANNED, p)
                ]
                found, more = entry_differences(deltas_of(edit, before), SHOWN_ENTRIES)
                differences = bounded(found, more, MOST_DIFFERENCES[True])
                record = self.audit_record(opts, Outcome.ACCEPTED, status, differences, entries=True)
                record = replace(record, revision=self.revision + 1)
                self.writer.save_bans(dict.fromkeys(gone), Ledger((*self.notes(), record)))
                tell(record)
                self.bans.lift(gone)
                self._look_at_bans()
            return edit

        async with self.writer.lock:
            return await self.writer.call(work)


ENTRIES = f"sets/{BANNED}/entries"
BAN_RESOURCES = ("sets", f"sets/{BANNED}", ENTRIES)
