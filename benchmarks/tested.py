# SPDX-License-Identifier: Apache-2.0
"""Programs under test with their tables, attached to nothing, and how long each takes for a packet.

The frame is varied by a program of ours that goes on to the one under test by a tail call, so that peers run as they
are installed. The kernel measures (BPF_PROG_TEST_RUN); what it measures without anything under test is in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Container, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.leftovers import forget_peers
from benchmarks.mixes import Addresses, Listing
from tests.kernel import plain
from tests.packets import ethernet, ip, udp
from xdpfw.kernel import libbpf
from xdpfw.kernel.adapter import RealKernel
from xdpfw.kernel.bpffs import ensure_mounted
from xdpfw.kernel.compile import Program, compile_source
from xdpfw.kernel.instance import InterfaceMaps
from xdpfw.kernel.maps import ARRAY, INDEX, PROGRAM_MAPS, Map, MapSpec, interface_specs, possible_cpus
from xdpfw.kernel.program import PROGRAMS
from xdpfw.kernel.source import find_sources, inline
from xdpfw.model.limits import Limits
from xdpfw.model.policy import Policy
from xdpfw.model.prefix import Family
from xdpfw.policy.ops import InsertPrefixes, WriteLeaves

SOURCES = Path(__file__).with_name("bpf")
PEERS = Path(f"/usr/lib/{os.uname().machine}-linux-gnu/bpf")
RECORD: dict[Family, np.dtype[Any]] = {
    4: np.dtype([("source", "u1", 4), ("length", "u4")]),
    6: np.dtype([("source", "u1", 16), ("reserved", "u4"), ("length", "u4")]),
}
BPFFS = Path("/sys/fs/bpf")
PROG_ARRAY, PERCPU_ARRAY, LRU_PERCPU_HASH = 3, 6, 10
LRU_TALKERS = 1 << 20
PIECE = 50_000
XDP_FILTER_SOURCE = 1
"""The flag with which xdp-filter looks at sources (xdp-filter/common_kern_user.h)."""

FRAME = {4: ethernet(ip("192.0.2.1", udp()), pad_to=60), 6: ethernet(ip("2001:db8::1", udp()), pad_to=64)}


@contextmanager
def undisturbed(cpu: int | None = None) -> Iterator[None]:
    """On one CPU, and ahead of everybody else there, as far as that is allowed."""
    mask, policy, parameter = os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setaffinity(0, {max(mask) if cpu is None else cpu})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)
        os.sched_setaffinity(0, mask)


def programs() -> Path:
    """Where kernels of this run keep what they compiled."""
    place = Path(tempfile.gettempdir(), PROGRAMS)
    place.mkdir(exist_ok=True)
    return place


class Site:
    """Tables with a policy in force (`block` drops); a context manager."""

    def __init__(self, limits: Limits | None = None, policy: Policy | None = None) -> None:
        self.limits, self._policy = limits or Limits(), policy
        self._opened = ExitStack()
        self._next = 1

    def __enter__(self) -> Site:
        with ExitStack() as opened:
            state = Path(tempfile.mkdtemp(prefix="xdpfw-bench-"))
            opened.callback(shutil.rmtree, state, ignore_errors=True)
            (state / PROGRAMS).symlink_to(programs())
            self.kernel = RealKernel(f"bench-{os.getpid()}-{state.name[-8:]}", state, self.limits)
            plain.start(self.kernel, self._policy)
            opened.callback(self.kernel.stop, True)
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def block(self, listing: Listing) -> None:
        """Put more prefixes into the set `block`."""
        for first in range(0, len(listing), PIECE):
            keys = listing.keys[first : first + PIECE]
            leaves = np.arange(self._next, self._next + len(keys), dtype=np.uint32)
            self._next += len(keys)
            members = np.full(len(keys), plain.BLOCKED, np.uint32)
            writes = [WriteLeaves(generation, leaves, members) for generation in (0, 1)]
            self.kernel.execute([*writes, InsertPrefixes(listing.family, keys, leaves)], 2)

    def decide(self, policy: Policy) -> None:
        """By another policy from now on, which asks for no other program."""
        self.kernel.execute([plain.policy(generation, policy) for generation in (0, 1)], 3)

    @contextmanager
    def tables(self) -> Iterator[InterfaceMaps]:
        """Counters of an interface."""
        own = InterfaceMaps.create(interface_specs(self.limits, possible_cpus()), possible_cpus())
        try:
            yield own
        finally:
            own.close()

    @contextmanager
    def program(
        self, *flags: str, lru: bool = False, main: str = "", own: InterfaceMaps | None = None
    ) -> Iterator[int]:
        """The packet program on these tables, its counters its own. `lru`: with talkers in the kernel's LRU hash;
        `main`: a file of SOURCES in place of xdp_filter.c."""
        with ExitStack() as opened:
            own = own or opened.enter_context(self.tables())
            maps = {**self.kernel.descriptors(), **own.descriptors()}
            made = self.kernel.program
            compiled = made.compiled
            if flags or lru:
                text, names = _with(main, "xdp_filter.c") if main else made.source, list(PROGRAM_MAPS)
                if lru:
                    text = _with("lru_talkers.h", "talkers.h")
                    maps["lru_talkers"] = libbpf.map_create(LRU_PERCPU_HASH, "lru_talkers", 16, 40, LRU_TALKERS, 0)
                    opened.callback(os.close, maps["lru_talkers"])
                    names.append("lru_talkers")
                compiled = compiled_once(text, "xdp_filter", tuple(names), (*made.flags, *flags))
            fd, _ = libbpf.prog_load("xdp_filter", compiled.link(maps), frags=made.frags)
            opened.callback(os.close, fd)
            yield fd


@cache
def compiled_once(source: str, function: str, maps: tuple[str, ...], flags: tuple[str, ...]) -> Program:
    return compile_source(source, function, maps, flags)


@cache
def _with(file: str, place_of: str) -> str:
    """The program's text with a file of ours in the place of one of its own."""
    with tempfile.TemporaryDirectory(prefix="xdpfw-bench-") as place:
        for path in find_sources().iterdir():
            shutil.copy(path, place)
        shutil.copy(SOURCES / file, Path(place, place_of))
        return inline(Path(place, "xdp_filter.c"))


LOOK = "if (data + 34 > (void *)(long)ctx->data_end || !*(__u32 *)(data + 26)) return XDP_ABORTED;"


@contextmanager
def verdict(name: str, *, looks: bool = False) -> Iterator[int]:
    """A program that does nothing but answer XDP_DROP or XDP_PASS. `looks`: at the source first."""
    body = f"void *data = (void *)(long)ctx->data; {LOOK * looks} return {name};"
    made = compiled_once(f"int answer(struct xdp_md *ctx) {{ {body} }}\n", "answer", (), ())
    fd, _ = libbpf.prog_load("bare", made.instructions, frags=True)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def xdp_filter(variant: str, hosts: Listing | None = None) -> Iterator[int | None]:
    """A program of Debian's xdp-tools (`alw_all`: all features, `alw_ip`), which drops these hosts; None where it is
    not there. It is loaded without its own loader, which needs what not every kernel has."""
    program, pin = PEERS / f"xdpfilt_{variant}.o", BPFFS / f"xdpfw-bench-{os.getpid()}-{variant}"
    if not program.exists():
        yield None
        return
    ensure_mounted()
    forget_peers()
    try:
        load = ["bpftool", "prog", "load", str(program), str(pin), "type", "xdp"]
        subprocess.run(load, check=True, capture_output=True)
        if hosts is not None:
            _fill(BPFFS / "filter_ipv4", hosts)
        fd = libbpf.get(pin)
    finally:  # its maps are pinned by name as well
        pin.unlink(missing_ok=True)
        forget_peers()
    try:
        yield fd
    finally:
        os.close(fd)


def _fill(table: Path, hosts: Listing) -> None:
    fd, flags = libbpf.get(table), np.full(possible_cpus(), XDP_FILTER_SOURCE, np.uint64)
    try:
        for address in hosts.address.astype(">u4").reshape(-1, 1):
            libbpf.map_update(fd, address, flags)
    finally:
        os.close(fd)


class Course:
    """Runs programs on frames whose sources come out of a table, which has a power of two of them."""

    def __init__(self, addresses: Addresses, family: Family, lengths: npt.NDArray[np.uint32] | None = None) -> None:
        flags = (f"-DFAMILY={family}", f"-DVARIANTS={len(addresses)}") + ("-DLENGTHS",) * (lengths is not None)
        self._variants = variants(addresses, family, lengths)
        self._turn = libbpf.map_create(PERCPU_ARRAY, "turn", 4, 8, 1, 0)
        names = ("variants", "turn", "tested")
        self._before = compiled_once(inline(SOURCES / "before.c"), "before", names, flags)

    @contextmanager
    def runner(self, program: int, *, frags: bool = True) -> Iterator[int]:
        """A program that varies the frame and goes on to this one."""
        tested = libbpf.map_create(PROG_ARRAY, "tested", 4, 4, 1, 0)
        maps = {"variants": self._variants.fd, "turn": self._turn, "tested": tested}
        fd, _ = libbpf.prog_load("before", self._before.link(maps), frags=frags)
        try:
            libbpf.map_update(tested, libbpf.u32(0), libbpf.u32(program))
            yield fd
        finally:
            os.close(fd)
            os.close(tested)

    def close(self) -> None:
        self._variants.close()
        os.close(self._turn)


def variants(addresses: Addresses, family: Family, lengths: npt.NDArray[np.uint32] | None = None) -> Map:
    made = Map.create(MapSpec("variants", ARRAY, INDEX, RECORD[family], len(addresses)))
    with made.mapped() as records:
        records["source"] = addresses[:, 12:] if family == 4 else addresses
        if lengths is not None:
            records["length"] = lengths
    return made


def in_turns(
    runs: Mapping[str, int], family: Family, rounds: int, packets: int, *, warm: bool = True, slow: Container[str] = ()
) -> dict[str, tuple[float, ...]]:
    """ns per packet of each of these (see `Course.runner`), once per round, after a round that is not counted. What is
    slow gets a quarter of the packets."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    counts = {name: packets // 4 if name in slow else packets for name in runs}
    with undisturbed():
        for name, fd in runs.items() if warm else ():
            libbpf.test_run(fd, FRAME[family], counts[name])
        for _ in range(rounds):
            for name, fd in runs.items():
                found[name].append(libbpf.test_run(fd, FRAME[family], counts[name])[1])
    return {name: tuple(values) for name, values in found.items()}
