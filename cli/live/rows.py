# SPDX-License-Identifier: Apache-2.0
"""Which talkers are shown, in which order, and what decides about them."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from cli.client import Query
from cli.live.reading import Talker

COLUMNS = ("pps", "bps", "packets", "bytes", "share")
"""Keys 1…5 sort by these."""
OF = ("total", "passed", "dropped")
MOST_ASKED = 1000
"""As many as the daemon tells in one answer; text filters and a frozen order look at so many."""


@dataclass(frozen=True, slots=True)
class View:
    """What the user has chosen to see. `interface` None: all of them. `cumulative`: bars and the dropped share tell of
    all that was counted, not of the last seconds. `filter`: a prefix, or text that a row must contain."""

    interface: str | None = None
    sort: str = "pps"
    descending: bool = True
    of: str = "total"
    family: str | None = None
    filter: str = ""
    cumulative: bool = False
    octets: bool = False
    names: bool = False

    @property
    def within(self) -> str | None:
        """The filter, where it is a prefix or a whole address."""
        try:
            return str(ipaddress.ip_network(self.filter.strip(), strict=False))
        except ValueError:
            return None

    def sorted_by(self, column: str) -> View:
        """The same column again turns the order round."""
        return replace(self, sort=column, descending=not self.descending if column == self.sort else True)

    def turned(self) -> View:
        """From rates to all that was counted or back, sorted by what corresponds."""
        pairs = {"pps": "packets", "bps": "bytes"} if not self.cumulative else {"packets": "pps", "bytes": "bps"}
        return replace(self, cumulative=not self.cumulative, sort=pairs.get(self.sort, self.sort))

    def query(self, limit: int, *, frozen: bool) -> Query:
        """What to ask the daemon for, so that `rows` has enough to choose from."""
        sort = self.sort
        if sort == "share":
            sort = "share" if self.cumulative else "share_now"
        by_text = bool(self.filter.strip()) and self.within is None
        return {
            "sort": sort,
            "of": self.of,
            "order": "desc" if self.descending else "asc",
            "limit": MOST_ASKED if frozen or by_text else min(limit, MOST_ASKED),
            "family": self.family,
            "within": self.within,
        }


def amount(talker: Talker, view: View) -> tuple[float, float]:
    """Passed and dropped of what the table is sorted by, for the bar; by share it is packets."""
    quantity = view.sort
    if quantity == "share":
        quantity = "packets" if view.cumulative else "pps"
    passed, dropped = (float(getattr(flow, quantity)) for flow in (talker.traffic.passed, talker.traffic.dropped))
    return (0.0 if view.of == "dropped" else passed, 0.0 if view.of == "passed" else dropped)


def _value(talker: Talker, view: View) -> tuple[float, float]:
    passed, dropped = amount(talker, view)
    if view.sort == "share":
        share = talker.traffic.share(cumulative=view.cumulative)
        return (share or 0.0, talker.traffic.dropped.packets if view.cumulative else talker.traffic.dropped.pps)
    return (passed + dropped, 0.0)


def ordered(talkers: Iterable[Talker], view: View) -> list[Talker]:
    """As the daemon ranks them; equals by address, so that a list does not flicker."""
    rows = sorted(talkers, key=lambda talker: _packed(talker.address))
    rows.sort(key=lambda talker: _value(talker, view), reverse=view.descending)
    return rows


def matching(talkers: Iterable[Talker], view: View, texts: Callable[[Talker], Iterable[str]]) -> list[Talker]:
    """Those inside the filter's prefix, or that contain its text in one of their texts. The daemon knows prefixes too;
    this is for what it told before the filter was there."""
    wanted = view.filter.strip().casefold()
    if not wanted:
        return list(talkers)
    if view.within is not None:
        network = ipaddress.ip_network(view.within)
        return [talker for talker in talkers if ipaddress.ip_address(talker.address) in network]
    return [talker for talker in talkers if any(wanted in text.casefold() for text in texts(talker))]


def in_frozen_order(talkers: Iterable[Talker], frozen: Sequence[Talker]) -> list[Talker]:
    """The frozen rows with what is known of them now; those that the daemon no longer tells of are silent."""
    now = {talker.address: talker for talker in talkers}
    return [now.get(talker.address) or talker.silent() for talker in frozen]


@lru_cache(4 * MOST_ASKED)
def _packed(text: str) -> bytes:
    """Sorts as the daemon does: IPv4 in its IPv6 spelling (RFC 4291, 2.5.5.2)."""
    address = ipaddress.ip_address(text)
    return bytes(10) + b"\xff\xff" + address.packed if address.version == 4 else address.packed
