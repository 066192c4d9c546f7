# SPDX-License-Identifier: Apache-2.0
"""Parts of the benchmarks, one after the other, and how far they are."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping

from benchmarks.figures import Figure

Part = Callable[[], Iterator[Figure]]


def measured(chosen: Mapping[str, Part], *, quiet: bool) -> tuple[dict[str, list[Figure]], list[str]]:
    """What each part found, and the parts that failed: neither what they had measured so far nor the others are lost
    with them."""
    figures: dict[str, list[Figure]] = {name: [] for name in chosen}
    failed: list[str] = []
    began = time.monotonic()
    for number, (name, part) in enumerate(chosen.items(), 1):
        say = f"{name} ({number} of {len(chosen)}, {(time.monotonic() - began) / 60:.1f} minutes so far)"
        try:
            figures[name].extend(_shown(say, part, quiet=quiet))
        except Exception:
            logging.exception("%s failed", name)
            failed.append(name)
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes", file=sys.stderr)
    return figures, failed


def _shown(what: str, part: Part, *, quiet: bool) -> Iterator[Figure]:
    """`quiet`: only what is under way, and not where the document goes."""
    began = time.monotonic()
    print(what if quiet else f"\n{what}", file=sys.stderr if quiet else sys.stdout, flush=True)
    for figure in part():
        if not quiet:
            print(figure.line(), flush=True)
        yield figure
    if not quiet:
        print(f"  ({time.monotonic() - began:.0f} s)", flush=True)
