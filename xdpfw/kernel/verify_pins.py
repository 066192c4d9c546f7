# SPDX-License-Identifier: Apache-2.0
"""Whether what outlives the daemon is pinned, and whether maps of pages lead to the pages that are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from xdpfw.kernel import libbpf
from xdpfw.kernel.finding import Finding
from xdpfw.kernel.pages import Pages, id_at


def findings(pinned: Mapping[Path, int]) -> Iterator[Finding]:
    """`pinned`: the descriptor of what should be at each place."""
    wrong = [path for path, fd in pinned.items() if id_at(path) != libbpf.map_id(fd)]
    if wrong:
        yield Finding(
            "pins",
            len(wrong),
            lambda at: f"{wrong[at]} is gone, or is something else",
            lambda: _pin_all({path: pinned[path] for path in wrong}),
        )


def _pin_all(pinned: Mapping[Path, int]) -> None:
    for path, fd in pinned.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        libbpf.pin(fd, path)


def page_findings(pages: Pages, leads: Mapping[int, int]) -> Iterator[Finding]:
    """`leads`: slots, and the number of the page that each should lead to. A page that comes back may be empty."""
    table = pages.table
    gone = lost(pages, leads)
    if gone:
        numbers = list(gone)
        yield Finding(
            "pins",
            len(gone),
            lambda at: f"page {numbers[at]} of {table} is gone",
            partial(_bring_back, pages, gone),
        )


def lead_findings(pages: Pages, leads: Mapping[int, int]) -> Iterator[Finding]:
    """For when all pages hold what they should."""
    ids = {number: pages.id_of(number) for number in set(leads.values())}
    astray = [slot for slot, number in leads.items() if pages.id_in(slot) != ids[number]]
    if astray:
        yield Finding(
            pages.table,
            len(astray),
            lambda at: f"slot {astray[at]} leads to another page",
            lambda: pages.lead(astray, [leads[slot] for slot in astray]),
        )


def lost(pages: Pages, leads: Mapping[int, int]) -> dict[int, int]:
    """Pages whose pins are gone, and a slot that leads to each."""
    there = set(pages.numbers())
    return {number: slot for slot, number in leads.items() if number not in there}


def _bring_back(pages: Pages, lost: Mapping[int, int]) -> None:
    for number, slot in lost.items():
        pages.pin_again(number, slot)
