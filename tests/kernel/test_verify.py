# SPDX-License-Identifier: Apache-2.0
"""Somebody writes into the maps behind the daemon's back: it is told, and mended, and nothing else is touched."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.kernel.conftest import SMALL, Host
from tests.kernel.prefix_walk import random_network
from tests.loaded import Loaded
from tests.packets import ethernet, ip, udp
from xdpfw.kernel import layouts, libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.keys import host_keys, trie_keys
from xdpfw.kernel.pages import Pages
from xdpfw.model.prefix import FAMILIES, Prefix
from xdpfw.model.reason import Verdict
from xdpfw.policy import keys as k

pytestmark = pytest.mark.kernel

BLOCKED4 = ("203.0.113.0/24", "203.0.113.7", "198.51.100.0/26", "10.0.0.0/8")
BLOCKED6 = ("2001:db8::/32", "2001:db8::1", "fd00::/70")
ALLOWED = ("203.0.113.128/25", "2001:db8:1::/48")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Iterator[Loaded]:
    """One for all, since every test mends what it did."""
    host = Host(tmp_path_factory.mktemp("verify"), programs)
    made = Loaded(host.kernel(), SMALL)
    made.add("block", (*BLOCKED4, *BLOCKED6))
    made.add("allow", ALLOWED)
    yield made
    host.close()


def real(loaded: Loaded) -> RealKernel:
    assert isinstance(loaded.kernel, RealKernel)
    return loaded.kernel


def dropped(loaded: Loaded, source: str) -> bool:
    return loaded.kernel.judge(ethernet(ip(source, udp()))).verdict == "drop"


def key_of(prefix: str) -> Any:
    [(family, keys)] = [(family, keys) for family, keys in k.pack([Prefix.parse(prefix)]).items() if len(keys)]
    hosts = Prefix.parse(prefix).length == (32 if family == 4 else 128)
    return (host_keys if hosts else trie_keys)(family, keys)


def map_of(loaded: Loaded, name: str) -> int:
    return real(loaded).tables.maps[name].fd


def forget_host(loaded: Loaded) -> None:
    libbpf.map_delete(map_of(loaded, "hosts4"), key_of("203.0.113.7"))


def forget_prefix(loaded: Loaded) -> None:
    libbpf.map_delete(map_of(loaded, "trie6"), key_of("fd00::/70"))


def mislead_prefix(loaded: Loaded) -> None:
    libbpf.map_update(map_of(loaded, "trie4"), key_of("198.51.100.0/26"), libbpf.u32(0))


def add_host(loaded: Loaded) -> None:
    libbpf.map_update(map_of(loaded, "hosts6"), key_of("2001:db8:5::9"), libbpf.u32(1))


def add_prefix(loaded: Loaded) -> None:
    libbpf.map_update(map_of(loaded, "trie4"), key_of("192.0.2.0/24"), libbpf.u32(2))


def change_leaf(loaded: Loaded) -> None:
    with real(loaded).tables.maps["leaf"].mapped() as leaves:
        leaves["membership"][1:3] = 0


def change_brief(loaded: Loaded) -> None:
    real(loaded).tables.maps["brief"].view["membership"][0] = 0


def change_membership(loaded: Loaded) -> None:
    real(loaded).tables.maps["membership"].view["class"][1:] = 0


def default_drop(loaded: Loaded) -> None:
    real(loaded).tables.maps["policy"].view["default_drop"] = 1


def change_action(loaded: Loaded) -> None:
    real(loaded).tables.maps["row"].view["action"][:] = 0


def clear_vectors(loaded: Loaded) -> None:
    with real(loaded).tables.maps["vector"].mapped() as vectors:
        vectors["word"] = 0


def flip(loaded: Loaded) -> None:
    real(loaded).tables.control["generation"] ^= 1


def reseed(loaded: Loaded) -> None:
    real(loaded).tables.maps["seeds"].view["odd"] += np.uint64(2)


def wipe_pages(name: str) -> Callable[[Loaded], None]:
    def wipe(loaded: Loaded) -> None:
        for pin in (real(loaded).tables.path / f"{name}-pages").iterdir():
            page = libbpf.get(pin)
            for line in range(4096):
                libbpf.map_update(page, libbpf.u32(line), np.zeros(1, layouts.PAGE_LINE))
            os.close(page)

    wipe.__name__ = f"wipe_{name}"
    return wipe


def close_gate(name: str) -> Callable[[Loaded], None]:
    def close(loaded: Loaded) -> None:
        real(loaded).tables.maps[name].view[:] = np.zeros((), real(loaded).tables.maps[name].view.dtype)

    close.__name__ = f"close_{name}"
    return close


def unlist(loaded: Loaded) -> None:
    with real(loaded).tables.directory.mapped() as directory:
        directory["state"][1] = layouts.FREE
        directory["state"][99] = layouts.LIVE


TAMPERS: list[tuple[Callable[[Loaded], None], str, str]] = [
    (forget_host, "hosts4", "203.0.113.7/32 is missing"),
    (forget_prefix, "trie6", "fd00::/70 is missing"),
    (mislead_prefix, "trie4", "198.51.100.0/26 leads to what is another prefix's"),
    (add_host, "hosts6", "2001:db8:5::9/128 is there and should not be"),
    (add_prefix, "trie4", "192.0.2.0/24 is there and should not be"),
    (change_leaf, "leaf", "is in other sets than it should be"),
    (change_brief, "brief", "leaves 0 to 63 are said to have in common what they have not"),
    (change_membership, "membership", "is not the one that it stands for"),
    (default_drop, "policy", "default_drop is 1 and should be 0"),
    (change_action, "row", "rule block: action is 0 and should be 1"),
    (clear_vectors, "vector", "which rules match"),
    (flip, "control", "generation is"),
    (reseed, "seeds", "odd is"),
    (wipe_pages("flats4"), "flats4", "203.0.113.0/24 holds nothing, and should hold the leaf of 203.0.113.0/24"),
    (wipe_pages("buckets4"), "buckets4", "203.0.113.7/32 holds nothing, and should hold the leaf of 203.0.113.7/32"),
    (wipe_pages("buckets6"), "buckets6", "2001:db8:1::/48 holds nothing"),
    (close_gate("root4"), "root4", "10.0.0.0/16 holds nothing, and should hold the leaf of 10.0.0.0/8"),
    (close_gate("top4"), "top4", "198.51.0.0/16 leads past what is in it"),
    (close_gate("gate4"), "gate4", "198.51.100.0/24 leads past what is in it"),
    (close_gate("gate6"), "gate6", "leads past prefixes of /"),
    (close_gate("filter6"), "filter6", "is gone past"),
    (close_gate("root6"), "root6", "2001::/16 leads past what is in it"),
    (unlist, "directory", "is listed and is nobody's"),
]


@pytest.mark.parametrize(("tamper", "table", "told"), TAMPERS, ids=[tamper.__name__ for tamper, *_ in TAMPERS])
def test_what_somebody_changed_is_told_and_mended(
    loaded: Loaded, tamper: Callable[[Loaded], None], table: str, told: str
) -> None:
    assert loaded.deviations() == []
    tamper(loaded)
    found = loaded.deviations()
    assert told in "\n".join(str(deviation) for deviation in found if deviation.table == table)
    assert loaded.deviations() == found, "looking changes nothing"
    assert loaded.deviations(mend=True)
    assert loaded.deviations() == []
    for source in ("203.0.113.7", "198.51.100.5", "10.9.9.9", "2001:db8::1", "2001:db8:5::9", "fd00::1"):
        assert dropped(loaded, source)
    for source in ("203.0.113.200", "2001:db8:1::9", "192.0.2.1", "8.8.8.8"):
        assert not dropped(loaded, source)
    # And it can be changed as before.
    loaded.add("block", ["192.0.2.0/24"])
    loaded.use(default=Verdict.DROP)
    assert loaded.deviations() == []
    loaded.remove("block", [Prefix.parse("192.0.2.0/24")])
    loaded.use(default=Verdict.PASS)
    assert loaded.deviations() == []


def test_a_page_that_may_not_be_opened_again_is_made_anew(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a daemon that is not root. No slot leads to it before it holds all that the old one does."""

    def refuse(_: int) -> int:
        raise libbpf.Refused("opening a map", errno.EPERM)

    monkeypatch.setattr(libbpf, "map_by_id", refuse)
    (real(loaded).tables.path / "flats4-pages" / "203").unlink()
    assert "page 203 of flats4 is gone" in str(loaded.deviations(quick=True)[0])
    led: list[bool] = []
    lead = Pages.lead

    def watched(pages: Pages, slots: Sequence[int], numbers: Sequence[int]) -> None:
        led.append(bool(pages.view([203]).any()) and dropped(loaded, "203.0.113.9"))
        lead(pages, slots, numbers)

    monkeypatch.setattr(Pages, "lead", watched)
    assert loaded.deviations(mend=True)
    assert led == [True]
    assert loaded.deviations() == []
    assert dropped(loaded, "203.0.113.9")


def test_nothing_is_found_whatever_was_changed(host: Host) -> None:
    """Sets that grew, shrank and overlap: what is derived incrementally is what follows from all prefixes."""
    loaded, chosen = Loaded(host.kernel(), SMALL), random.Random(5)
    for _ in range(12):
        family = chosen.choice(FAMILIES)
        name = chosen.choice(("allow", "block"))
        loaded.add(name, {str(random_network(chosen, family)) for _ in range(chosen.choice((1, 5, 300)))})
        entries = [entry.prefix for entry in loaded.sets.entries(name, after=None, limit=10_000)]
        loaded.remove(name, chosen.sample(entries, len(entries) // 3))
        assert loaded.deviations() == []
