# SPDX-License-Identifier: Apache-2.0
"""Block and allow from the live view, and take it back: exactly what was there before, or not at all."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cli.client import Client, Document, Query, segment
from cli.errors import CONFLICT, Failure, Refused
from cli.live.reading import Talker
from cli.render import count, duration, rate
from cli.verbs.entries import ineffective

ORIGIN = "manual"
"""Whose claim a key makes, as `xdpfw block` does."""


@dataclass(frozen=True, slots=True)
class Wish:
    """`ttl` in seconds; None: for ever."""

    set: str
    prefix: str
    ttl: int | None = None
    comment: str = ""

    @property
    def path(self) -> str:
        return f"/sets/{segment(self.set)}/entries/{segment(self.prefix)}"

    @property
    def added(self) -> Document:
        said: Document = {"prefix": self.prefix, "comment": self.comment, "origin": ORIGIN}
        return said if self.ttl is None else said | {"ttl": self.ttl}


@dataclass(frozen=True, slots=True)
class Change:
    """What was done. `before`: the claim that it replaced; `etag`: the entry as the change left it."""

    wish: Wish
    before: Document | None
    etag: str | None
    written: Document

    def said(self) -> tuple[str, bool]:
        """For people, and whether it has the effect that was wanted."""
        wish = self.wish
        if not self.written["changed"]:
            return f"{wish.prefix} is in {wish.set} already, for as long or longer", True
        verb = {"block": "blocked", "allow": "allowed"}.get(wish.set, f"put into {wish.set}:")
        long = "for ever" if wish.ttl is None else f"for {duration(wish.ttl)}"
        problem = ineffective(wish.set, self.written)
        return f"{verb} {wish.prefix} {long}" + (f", but {problem}" if problem else ""), problem is None


def network_of(address: str, length: int) -> str:
    """The prefix of this length that holds the address. Raises ValueError if there is none."""
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


def about(prefix: str, talkers: Iterable[Talker]) -> str:
    """How much of what is shown lies in a prefix."""
    network = ipaddress.ip_network(prefix)
    inside = [talker for talker in talkers if ipaddress.ip_address(talker.address) in network]
    pps = sum(talker.traffic.total.pps for talker in inside)
    size = f"{count(network.num_addresses)} address{'es' * (network.num_addresses > 1)}"
    if network.version == 6 and network.prefixlen < 64:
        size = f"{count(2 ** (64 - network.prefixlen))} networks of /64"
    return f"{prefix}: {size}; of the talkers shown {len(inside)}, now {rate(pps)} together"


def make(client: Client, wish: Wish, *, force: bool = False) -> Change:
    """As `xdpfw block` does: what lasts longer already keeps its time. Raises Refused, where `guarded` says that
    forcing would do it."""
    before, _ = _claim(client, wish)
    query: Query = {"force": force}
    written = client.write("PATCH", f"/sets/{segment(wish.set)}/entries", query, {"add": [wish.added]}).written()
    after, etag = _claim(client, wish)
    return Change(wish, before, etag if after is not None else None, written)


def undo(client: Client, change: Change) -> str:
    """What was done, for people. Raises Failure if somebody has changed the entry since: then it stays as it is."""
    wish, before = change.wish, change.before
    try:
        if before is None or _is_over(before):
            client.write("DELETE", wish.path, {"origin": ORIGIN}, etag=change.etag)
            return f"undone: {wish.prefix} is out of {wish.set} again"
        said = {name: before[name] for name in ("comment", "expires_at") if before[name] is not None}
        client.write("PUT", wish.path, None, said | {"origin": ORIGIN}, etag=change.etag)
        return f"undone: {wish.prefix} is in {wish.set} as it was before"
    except Refused as refused:
        if refused.status not in (404, 412):
            raise
    if _claim(client, wish)[0] is None:
        return f"nothing to undo: {wish.prefix} has gone from {wish.set}"
    raise Failure(CONFLICT, f"not undone: somebody has changed {wish.prefix} in {wish.set} since")


def _claim(client: Client, wish: Wish) -> tuple[Document | None, str | None]:
    """What our origin says about the prefix now, and the entry's tag."""
    try:
        answer = client.read(wish.path)
    except Refused as refused:
        if refused.status == 404:
            return None, None
        raise
    claims = answer.document["claims"] or [answer.document]
    mine = next((claim for claim in claims if claim["origin"] == ORIGIN), None)
    return mine, answer.headers.get("ETag")


def _is_over(claim: Document) -> bool:
    until = claim["expires_at"]
    return until is not None and datetime.fromisoformat(until) <= datetime.now(UTC)
