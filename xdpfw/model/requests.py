# SPDX-License-Identifier: Apache-2.0
"""What callers ask of the service, beside the resource itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xdpfw.model.ledger import DAEMON, Author
from xdpfw.model.prefix import Family, Prefix


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """`force` overrides guards, never validation nor a foreign program. `peer`: the client's IP address, if any, and
    which address and port of this host it called (`local`, `port`). `ssh`: the far end of the ssh session that it comes
    from, if it says so, and the near end's address and port. `confirm_within`: seconds after which the change is taken
    back unless somebody confirms it. `author`: who asks."""

    dry_run: bool = False
    force: bool = False
    if_match: str | None = None
    peer: str | None = None
    local: str | None = None
    port: int | None = None
    ssh: tuple[str, str, int] | None = None
    confirm_within: int | None = None
    author: Author = DAEMON


@dataclass(frozen=True, slots=True)
class TalkerQuery:
    """Which talkers, ranked how. `share`: by the dropped share of their packets, `share_now` of those within the last
    two seconds; `of` does not matter then."""

    sort: Literal["bytes", "packets", "bps", "pps", "share", "share_now"] = "bytes"
    of: Literal["total", "passed", "dropped"] = "total"
    order: Literal["desc", "asc"] = "desc"
    limit: int = 10
    family: Family | None = None
    within: Prefix | None = None
