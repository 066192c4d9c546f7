# SPDX-License-Identifier: Apache-2.0
"""The audit trail: who changed what, and who was refused."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from xdpfw.model.errors import StoreError
from xdpfw.model.ledger import AuditQuery, AuditRecord, Author, Outcome
from xdpfw.model.ledger_views import AuditPage
from xdpfw.model.secrets import hidden
from xdpfw.service.core import Core
from xdpfw.service.present import audit_view
from xdpfw.service.telling import tell

log = logging.getLogger("xdpfw.audit")

LONGEST_DETAIL = 500


class AuditUseCases(Core):
    """Accepted changes are written down with the change itself. What changed nothing is written down a moment later, so
    that it costs neither the caller nor other writers a wait for the disk."""

    def note(self, author: Author, outcome: Outcome, status: int, detail: str = "") -> None:
        """Of what changed nothing: refused, or as it was already."""
        author, why = replace(author, request=hidden(author.request)), hidden(detail)[:LONGEST_DETAIL]
        record = AuditRecord(self.clock.wall(), author, outcome, status, self.revision, why)
        self._notes.append(record)
        tell(record)

    async def audit(self, query: AuditQuery) -> AuditPage:
        """Newest first."""
        await asyncio.to_thread(self._write_notes)
        records, total = await asyncio.to_thread(self.store.audit, query)
        more = str(records[-1].id) if len(records) == query.limit else None
        return AuditPage([audit_view(record) for record in records], more, total)

    async def close(self, *, detach: bool = False) -> None:
        await self.write_notes()
        await super().close(detach=detach)

    async def write_notes(self) -> None:
        await asyncio.to_thread(self._write_notes)

    def _write_notes(self) -> None:
        notes = self.notes()
        if not notes:
            return
        try:
            self.store.note(notes)
        except StoreError as error:
            log.error("%d refused or idle writes could not be written down: %s", len(notes), error.detail)
