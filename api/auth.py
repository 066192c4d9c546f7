# SPDX-License-Identifier: Apache-2.0
"""Who may do what: roles, access tokens, and the peers of the unix socket."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from api.transport import Peer, group_id
from xdpfw.clock import SECOND, Clock, SystemClock, to_datetime
from xdpfw.model.errors import InvalidInput, NotAllowed, NotAuthenticated, NotFound
from xdpfw.model.ledger import AuditRecord
from xdpfw.model.prefix import Address, Prefix
from xdpfw.store.port import Store, TokenRecord


class Role(IntEnum):
    """Each role may do all that a smaller one may."""

    READ = 1
    WRITE = 2
    ADMIN = 3

    @property
    def label(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Caller:
    """`name` is for the log: `uid:0`, `token:ID`, `anonymous`; `label` is the token's own name."""

    name: str
    role: Role | None
    label: str = ""

    def need(self, role: Role) -> None:
        if self.role is None:
            raise NotAuthenticated("send an access token: Authorization: Bearer TOKEN (xdpfw token create makes one)")
        if self.role < role:
            raise NotAllowed(f"this needs the role {role.label}; the token has {self.role.label}")


ANONYMOUS = Caller("anonymous", None)


@dataclass(frozen=True, slots=True)
class Trust:
    """The unix socket trusts root, the daemon's own user, and the group xdpfw."""

    uids: frozenset[int] = field(default_factory=lambda: frozenset({0, os.geteuid()}))
    gid: int | None = field(default_factory=group_id)

    def admit(self, peer: Peer) -> Caller:
        member = self.gid is not None and (self.gid == peer.gid or self.gid in peer.groups)
        if peer.uid not in self.uids and not member:
            raise NotAllowed(f"uid {peer.uid} is neither root nor in the group xdpfw; usermod -aG xdpfw USER adds it")
        return Caller(f"uid:{peer.uid}", Role.ADMIN)


class Tokens:
    """Access tokens, `xdpfw_ID_SECRET`. Only the SHA-256 of the secret is kept: with 256 random bits behind it there
    is nothing to guess, so a slow password hash would only slow down every request."""

    def __init__(self, store: Store, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = clock or SystemClock()
        self._records = {record.id: record for record in store.tokens()}

    def list(self) -> list[TokenRecord]:
        return sorted(self._records.values(), key=lambda record: record.id)

    @property
    def etag(self) -> str:
        """Changes when a token comes or goes."""
        return f'"{hashlib.sha256(",".join(sorted(self._records)).encode()).hexdigest()[:16]}"'

    def draft(
        self, name: str, role: Role, ttl: int | None = None, until: int | None = None, sources: Iterable[Prefix] = ()
    ) -> tuple[TokenRecord, str]:
        """A new token and its text, which cannot be had again; it opens nothing until it is added. It holds for `ttl`
        seconds or `until` a wall clock time in ns, and only from `sources`. Raises InvalidInput for a past time."""
        secret = secrets.token_urlsafe(32)
        now = self._clock.wall()
        expires = until if ttl is None else now + ttl * SECOND
        if expires is not None and expires <= now:
            raise InvalidInput(f"expires_at {to_datetime(expires).isoformat()} is in the past")
        record = TokenRecord(secrets.token_hex(4), name, role.label, _digest(secret), now, expires, tuple(sources))
        return record, f"xdpfw_{record.id}_{secret}"

    def add(self, record: TokenRecord, audit: Sequence[AuditRecord] = ()) -> None:
        """Blocks on the store."""
        self._store.add_token(record, audit)
        self._records[record.id] = record

    def get(self, id: str) -> TokenRecord:
        if id not in self._records:
            raise NotFound(f"there is no token with the id {id!r}; xdpfw token list shows those there are")
        return self._records[id]

    def revoke(self, id: str, audit: Sequence[AuditRecord] = ()) -> None:
        """Blocks on the store. The token is refused from now on, also on connections that are open."""
        self.get(id)
        self._store.remove_token(id, audit)
        self._records.pop(id, None)

    def holds(self, caller: Caller) -> bool:
        """Whether a caller who was let in may still be here: a stream may outlive the token that opened it."""
        kind, _, id = caller.name.partition(":")
        record = self._records.get(id)
        if kind != "token":
            return True
        return record is not None and (record.expires is None or record.expires > self._clock.wall())

    def identify(self, text: str, source: Address) -> Caller:
        """Whose token it is. Ids are no secret; secrets are compared in constant time, an unknown id's too.

        Raises NotAuthenticated when it is not a token of ours or has run out, NotAllowed when it is not for `source`.
        """
        kind, _, rest = text.partition("_")
        id, _, secret = rest.partition("_")
        record = self._records.get(id) if kind == "xdpfw" else None
        known = hmac.compare_digest(record.digest if record else _digest(""), _digest(secret))
        if record is None or not known:
            raise NotAuthenticated("the access token is not known here, or was revoked")
        if record.expires is not None and record.expires <= self._clock.wall():
            raise NotAuthenticated(f"the access token {record.id} has run out; xdpfw token create makes another")
        here = Prefix.host(source)
        if record.sources and not any(prefix.contains(here) for prefix in record.sources):
            raise NotAllowed(f"the access token {record.id} may not be used from {ipaddress.ip_address(here.address)}")
        return Caller(f"token:{record.id}", Role[record.role.upper()], record.name)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
