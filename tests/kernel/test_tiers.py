# SPDX-License-Identifier: Apache-2.0
"""The tiers before the tries never answer anything else than the tries do, and never more slowly than they must."""

from __future__ import annotations

import ipaddress
import random
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest

from tests.kernel import plain
from tests.kernel.conftest import SMALL, Host
from tests.kernel.leaf_finder import MANY, LeafFinder, packed
from tests.kernel.prefix_walk import CROWDED, Finders, Network, Walk, key, network_of, random_network
from tests.packets import ethernet, ip, udp
from xdpfw.kernel import buckets, libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.model.errors import MapFull
from xdpfw.model.prefix import FAMILIES, Family
from xdpfw.policy.ops import Grace

pytestmark = pytest.mark.kernel


@pytest.fixture
def finders(kernel: RealKernel) -> Iterator[Finders]:
    made = Finders(kernel)
    yield made
    made.close()


def longest(held: dict[Network, int], address: str) -> int:
    """The leaf of the longest prefix around an address, by looking at every one."""
    found = [n for n in held if ipaddress.ip_address(address) in n]
    return held[max(found, key=lambda network: network.prefixlen)] if found else 0


@pytest.mark.parametrize("seed", range(4))
def test_tiers_and_tries_agree_after_every_change(kernel: RealKernel, finders: Finders, seed: int) -> None:
    walk = Walk(kernel, seed)
    for _ in range(50):
        walk.step(most=walk.chosen.choice((1, 3, 200)))
        finders.compare(walk.addresses(300))


def test_what_is_remembered_of_a_talker_never_outlives_a_change(kernel: RealKernel, finders: Finders) -> None:
    """The same addresses talk all the time, through a program that keeps their leaves beside their counts."""
    walk = Walk(kernel, 11)
    for family in FAMILIES:
        walk.insert(family, [random_network(walk.chosen, family) for _ in range(100)])
    addresses = walk.addresses(8)
    frames = [ethernet(ip(str(ipaddress.IPv6Address(row.tobytes())), udp())) for row in addresses]
    changed = 0
    for _ in range(40):
        before = [kernel.judge(frame).leaf for frame in frames]
        walk.step(most=30)
        after = [kernel.judge(frame).leaf for frame in frames]
        assert after == finders.tries.find(addresses).tolist()
        changed += before != after
    assert changed > 10


def test_the_tries_know_the_longest_prefix(kernel: RealKernel, finders: Finders) -> None:
    """What the tiers are compared with is right."""
    walk = Walk(kernel, 7)
    for family in FAMILIES:
        walk.insert(family, [random_network(walk.chosen, family) for _ in range(150)])
    addresses = walk.addresses(100)
    found = finders.compare(addresses)
    for row, leaf in zip(addresses, found.tolist(), strict=True):
        address = ipaddress.IPv6Address(row.tobytes())
        family: Family = 4 if address.ipv4_mapped else 6
        assert leaf == longest(walk.held[family], str(address.ipv4_mapped or address))
    assert len(set(found.tolist())) > 100


MANY_KEYS = 20_000


def crowd4(count: int) -> list[Network]:
    """That many hosts and /25s (which take eight places each), all over."""
    chosen = random.Random(count)
    numbers = chosen.sample(range(1 << 24, 224 << 24), count)
    return [network_of(n & ~127, 25, 4) if n % 3 == 0 else network_of(n, 32, 4) for n in numbers]


def crowd6(count: int) -> list[Network]:
    """Hosts and prefixes of all levels, in some thousand /32s."""
    chosen = random.Random(count)
    tops = [0x20010000 | chosen.getrandbits(16) for _ in range(4000)]
    lengths = [128, 128, *range(32, 65, 4)]
    made = []
    for _ in range(count):
        address, length = chosen.choice(tops) << 96 | chosen.getrandbits(96), chosen.choice(lengths)
        made.append(network_of(address >> (128 - length) << (128 - length), length, 6))
    return made


def inside(networks: Sequence[Network]) -> npt.NDArray[np.uint8]:
    return packed([str(network.network_address) for network in networks])


@pytest.mark.parametrize("crowd", [crowd4, crowd6])
def test_tables_grow_and_shrink_under_what_they_hold(
    kernel: RealKernel, finders: Finders, crowd: Callable[[int], list[Network]]
) -> None:
    walk, networks = Walk(kernel, 1), list(dict.fromkeys(crowd(MANY_KEYS)))
    networks = [network for network in networks if network.prefixlen not in (32, 128)] + [
        network for network in networks if network.prefixlen in (32, 128)
    ][: SMALL.hosts4]
    family: Family = 4 if crowd is crowd4 else 6
    name = f"buckets{family}"
    sizes = []
    for first in range(0, len(networks), 5_000):
        walk.insert(family, networks[first : first + 5_000])
        sizes.append(len(pages_of(kernel, name)))
        assert finders.compare(inside(networks[: first + 5_000])).all()
    assert sizes == sorted(sizes) and sizes[-1] > sizes[0] > 0
    walk.delete(family, [network for network in networks[1000:] if network in walk.held[family]])
    assert len(pages_of(kernel, name)) < sizes[-1]
    assert finders.compare(inside(networks[:1000])).all()
    finders.compare(inside(networks[1000:]))


def pages_of(kernel: RealKernel, name: str) -> list[str]:
    return [path.name for path in (kernel.tables.path / f"{name}-pages").iterdir()]


@pytest.mark.parametrize("crowd", [crowd4, crowd6])
@pytest.mark.parametrize("why", ["as large as it can be", "no memory"])
def test_what_finds_no_room_is_found_in_the_tries(
    kernel: RealKernel, finders: Finders, crowd: Callable[[int], list[Network]], why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """For more than one page of 32,768 or 12,288 ways."""
    walk = Walk(kernel, 1)
    family: Family = 4 if crowd is crowd4 else 6
    networks = list(dict.fromkeys(crowd(MANY_KEYS)))
    keep = [network for network in networks if network.prefixlen not in (32, 128)]
    hosts = [network for network in networks if network.prefixlen in (32, 128)][: SMALL.hosts4]
    walk.insert(family, hosts[:1])
    monkeypatch.setattr("xdpfw.kernel.gates.FEW_GONE", 0)
    if why == "no memory":
        monkeypatch.setattr("xdpfw.kernel.pages.Pages.add", refuse)
    else:
        monkeypatch.setattr(buckets, "LARGEST", 1)
    everything = [*hosts[1:], *keep]
    for first in range(0, len(everything), 10_000):
        walk.insert(family, everything[first : first + 10_000])
    held = list(walk.held[family])
    assert finders.compare(inside(held[:MANY])).all()
    walk.delete(family, held[: len(held) // 2])
    finders.compare(inside(held[:MANY]))
    # With room again, what was lost still is found.
    monkeypatch.undo()
    walk.grace()
    more = [network for network in crowd(MANY_KEYS + 1000) if network.prefixlen not in (32, 128)]
    walk.insert(family, more)
    assert len(pages_of(kernel, f"buckets{family}")) > 1
    finders.compare(inside(held[:MANY]))
    assert finders.compare(inside(more)).all()


def refuse(*_: object) -> None:
    raise MapFull("no memory for another page")


def test_a_change_that_finds_no_memory_for_a_page_is_undone(
    kernel: RealKernel, finders: Finders, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = Walk(kernel, 1)
    walk.insert(4, [ipaddress.ip_network(text) for text in ("10.0.0.0/24", "10.0.1.5")])
    monkeypatch.setattr("xdpfw.kernel.pages.Pages.add", refuse)
    with pytest.raises(MapFull):
        walk.insert(4, [ipaddress.ip_network(text) for text in ("10.0.9.0/24", "10.0.9.9", "11.0.0.0/17", "12.0.0.1")])
    addresses = packed(["10.0.0.1", "10.0.1.5", "10.0.1.6", "10.0.9.1", "10.0.9.9", "11.0.0.1", "12.0.0.1"])
    assert (finders.compare(addresses) != 0).tolist() == [True, True, False, False, False, False, False]


def states(kernel: RealKernel, cells: Sequence[int]) -> list[int]:
    """Of gate4, by the number of the /24."""
    words = kernel.tables.maps["gate4"].view
    return [int(words[cell >> 5]) >> (cell & 31) * 2 & 3 for cell in cells]


def open_tops(kernel: RealKernel) -> list[int]:
    """/16s that packets look into."""
    words = kernel.tables.maps["top4"].view
    return [64 * number + bit for number, word in enumerate(words.tolist()) for bit in range(64) if word >> bit & 1]


def tops_in_use(kernel: RealKernel) -> set[int]:
    """/16s in which gate4 has anything, 8 words each."""
    return {int(word) // 8 for word in np.flatnonzero(kernel.tables.maps["gate4"].view)}


def wanted_state(held: dict[Network, int], cell: int) -> int:
    """enum gate4_state, by looking at every prefix."""
    around = network_of(cell << 8, 24, 4)
    within = {network.prefixlen for network in held if network.prefixlen > 24 and network.subnet_of(around)}  # type: ignore[arg-type]
    if within & set(range(25, 29)):
        return 3
    if within:
        return 2
    flat = any(16 < network.prefixlen <= 24 and around.subnet_of(network) for network in held)  # type: ignore[arg-type]
    return int(flat)


@pytest.mark.parametrize("seed", range(2))
def test_gates_are_no_wider_than_they_must_be(kernel: RealKernel, seed: int) -> None:
    walk = Walk(kernel, seed)
    cells = [int(place.network_address) >> 8 for place in CROWDED[4]]
    cells = sorted({cell + more for cell in cells for more in range(8)})
    for _ in range(12):
        for family in FAMILIES:
            walk.insert(family, [random_network(walk.chosen, family) for _ in range(100)])
            walk.delete(family, walk.chosen.sample(list(walk.held[family]), min(90, len(walk.held[family]))))
        assert states(kernel, cells) == [wanted_state(walk.held[4], cell) for cell in cells]
        assert set(open_tops(kernel)) == tops_in_use(kernel)
    for family in FAMILIES:
        walk.delete(family, list(walk.held[family]))
    maps = kernel.tables.maps
    assert not maps["gate4"].view.any() and not maps["top4"].view.any()
    assert not maps["root4"].view["leaf"].any() and not maps["root6"].view["leaf"].any()
    assert not maps["root6"].view["longer"].any()
    counts = [maps["gate6"].view >> np.uint64(5 * field) & np.uint64(31) for field in range(12)]
    assert {int(count) for field in counts for count in np.unique(field)} <= {0, 31}  # a full count stays full


def test_the_filter_forgets_what_went(kernel: RealKernel, finders: Finders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xdpfw.kernel.gates.FEW_GONE", 0)
    walk, networks = Walk(kernel, 2), list(dict.fromkeys(crowd6(3_000)))
    bits = kernel.tables.maps["filter6"].view
    walk.insert(6, networks)
    assert 2_900 < np.unpackbits(bits.view(np.uint8)).sum() <= len(networks)
    walk.delete(6, networks[200:])
    assert 190 < np.unpackbits(bits.view(np.uint8)).sum() <= 200
    assert finders.compare(inside(networks[:200])).all()
    walk.delete(6, networks[:200])
    assert not bits.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_packets_get_no_wrong_answer_while_tables_change(kernel: RealKernel, family: Family) -> None:
    """Leaves are not used twice here, so that an address may only find those of prefixes that contain it, and must
    find one, since /9s (or /33s) contain all of them throughout."""
    walk, chosen = Walk(kernel, 3), random.Random(3)
    place = ipaddress.ip_network("10.0.0.0/8" if family == 4 else "2001:db8::/32")
    walk.insert(family, list(place.subnets(1)))
    base = dict(walk.held[family])
    width = 32 if family == 4 else 128
    lengths = (12, 16, 20, 24, 26, 28, 30, 32) if family == 4 else (36, 40, 47, 48, 56, 64, 80, 126, 128)
    pool = []
    while len(pool) < 1500:
        address = int(place.network_address) | chosen.getrandbits(width - place.prefixlen)
        length = chosen.choice(lengths)
        pool.append(network_of(address >> (width - length) << (width - length), length, family))
    pool = list(dict.fromkeys(pool))
    asked = inside(pool)
    allowed = np.zeros((len(pool), kernel.limits.leaves + 1), np.bool_)
    wrong: list[str] = []
    asks = 0
    stop = threading.Event()

    def ask() -> None:
        nonlocal asks
        finder = LeafFinder(kernel)
        while not stop.is_set():
            found = finder.find(asked)
            asks += 1
            bad = np.flatnonzero(~allowed[np.arange(len(found)), found])
            wrong.extend(f"{pool[at]}: {found[at]}" for at in bad[:5])
        finder.close()

    covered = [[i for i, inner in enumerate(pool) if inner.network_address in outer] for outer in pool]
    for network, leaf in base.items():
        allowed[[i for i, inner in enumerate(pool) if inner.network_address in network], leaf] = True
    position = {network: at for at, network in enumerate(pool)}
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for number in range(100):
            if number >= 30 and asks > 20:
                break
            absent = [network for network in pool if network not in walk.held[family]]
            some = sorted(chosen.sample(absent, len(absent) // 2), key=key)
            for network, leaf in zip(some, walk.unused[::-1], strict=False):
                allowed[covered[position[network]], leaf] = True
            walk.insert(family, some)
            present = [network for network in pool if network in walk.held[family]]
            walk.delete(family, chosen.sample(present, len(present) // 2))
            walk.kernel.execute([Grace()], 2)
            walk.dying.clear()
    finally:
        stop.set()
        thread.join()
    assert wrong == []
    assert asks > 20


def test_a_restarted_daemon_goes_on_with_the_tiers_that_it_finds(host: Host) -> None:
    first = host.kernel()
    plain.start(first)
    walk = Walk(first, 5)
    for family in FAMILIES:
        walk.insert(family, [random_network(walk.chosen, family) for _ in range(300)])
    first.stop(detach=False)
    second = host.kernel()
    assert second.start().adopted
    second.activate()
    walk.kernel, finders = second, Finders(second)
    finders.compare(walk.addresses(300))
    for _ in range(10):
        walk.step(100)
        finders.compare(walk.addresses(100))
    finders.close()


@pytest.mark.parametrize("moment", ["before the slots lead there", "half of the slots lead there", "all of them do"])
def test_a_table_that_was_being_laid_out_anew_is_put_right(
    host: Host, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill leaves it: two banks of pages."""
    first = host.kernel()
    plain.start(first)
    walk = Walk(first, 1)
    hosts = [network for network in crowd4(9_000) if network.prefixlen == 32]
    walk.insert(4, hosts)
    update = libbpf.map_update_batch

    def cut_off(fd: int, slots: np.ndarray, pages: np.ndarray) -> tuple[int, libbpf.Refused | None]:
        if len(slots) == 256:
            count = {"before": 0, "half": 128, "all": 256}[moment.split()[0]]
            update(fd, slots[:count], pages[:count])
            raise KeyboardInterrupt
        return update(fd, slots, pages)

    monkeypatch.setattr(libbpf, "map_update_batch", cut_off)
    more = [network for network in crowd4(MANY_KEYS) if network.prefixlen == 25]
    with pytest.raises(KeyboardInterrupt):
        walk.insert(4, more)
    monkeypatch.undo()
    assert len({int(name) // 256 for name in pages_of(first, "buckets4")}) == 2
    first.tables.meta["applying"] = 1
    first.stop(detach=False)

    second = host.kernel()
    assert second.start().adopted
    second.activate()
    assert len({int(name) // 256 for name in pages_of(second, "buckets4")}) == 1
    finders = Finders(second)
    assert finders.compare(inside(hosts)).all()
    finders.compare(inside(more))
    finders.close()
