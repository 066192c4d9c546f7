# SPDX-License-Identifier: Apache-2.0
"""Floods over a veth pair: one core makes them, a NAPI thread on another one receives them. Its run time says what a
packet costs all in all, which stays steady when packets per second do not."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from benchmarks.flood import F_TEST_XDP_LIVE_FRAMES
from benchmarks.mixes import Addresses, Listing
from benchmarks.tested import PERCPU_ARRAY, SOURCES, compiled_once, undisturbed, variants
from tests.packets import DESTINATIONS, ethernet, ip, udp
from tests.wire import make_pair, private_namespace
from xdpfw.kernel import libbpf
from xdpfw.kernel.source import inline
from xdpfw.model.prefix import Family

NATIVE = 1 << 2
"""XDP_FLAGS_DRV_MODE (linux/if_link.h)."""
PACKETS = 1 << 19
SOURCE: dict[Family, str] = {4: "192.0.2.1", 6: "2001:db8::1"}
"""Until the program writes another one."""
THREADED = 'mount -t sysfs sysfs /sys && echo 1 >"/sys/class/net/$0/threaded"'


@dataclass(frozen=True, slots=True)
class Received:
    """`cpu`: ns of the receiver per packet; `rate`: million packets a second."""

    cpu: float
    rate: float


class Wire:
    """The pair, in a namespace of its own, which the calling thread is in meanwhile."""

    def __init__(self) -> None:
        cpus = sorted(os.sched_getaffinity(0))
        self.sender, self.receiver = f"out{os.getpid()}", f"in{os.getpid()}"
        self._generator, self._consumer = cpus[0], cpus[-1]
        self._opened = ExitStack()

    def __enter__(self) -> Wire:
        with ExitStack() as opened:
            opened.enter_context(private_namespace())
            make_pair(self.sender, self.receiver, 1500)
            self.run("ethtool", "-K", self.receiver, "gro", "on")  # polls, also without an XDP program
            self.run("unshare", "--mount", "sh", "-ec", THREADED, self.receiver)
            self.run("ip", "address", "add", f"{DESTINATIONS[4]}/24", "dev", self.receiver)
            self.run("ip", "route", "add", "default", "dev", self.receiver)
            self._threads = [
                int(comm.parent.name)
                for comm in Path("/proc").glob("[0-9]*/comm")
                if comm.read_text().startswith(f"napi/{self.receiver}-")
            ]
            for thread in self._threads:
                os.sched_setaffinity(thread, {self._consumer})
                os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(1))
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def run(self, *command: str, text: str | None = None) -> str:
        return subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout

    @contextmanager
    def program(self, fd: int) -> Iterator[None]:
        """Attached to the receiver."""
        link = libbpf.link_create(fd, socket.if_nametoindex(self.receiver), NATIVE)
        try:
            yield
        finally:
            libbpf.link_detach(link)
            os.close(link)

    @contextmanager
    def table(self, name: str, listing: Listing) -> Iterator[None]:
        """nftables', with a set `blocked`."""
        prefixes = (
            f"{ipaddress.ip_address(int(number))}/{length}"
            for number, length in zip(listing.address, listing.length, strict=True)
        )
        elements = f"elements = {{ {', '.join(prefixes)} }};"
        blocked = f"set blocked {{ type ipv4_addr; flags interval; auto-merge; {elements} }}"
        self.run("nft", "-f", "-", text=f"table netdev {name} {{ {blocked}\n}}")
        try:
            yield
        finally:
            self.run("nft", f"delete table netdev {name}")

    @contextmanager
    def chain(self, table: str) -> Iterator[None]:
        """At the receiver's ingress: drop what is in the table's set `blocked`."""
        hook = f"type filter hook ingress device {self.receiver} priority 0;"
        self.run("nft", f"add chain netdev {table} ingress {{ {hook} }}")
        self.run("nft", f"add rule netdev {table} ingress ip saddr @blocked drop")
        try:
            yield
        finally:
            self.run("nft", f"delete chain netdev {table} ingress")

    @contextmanager
    def flood(self, addresses: Addresses, family: Family, packets: int = PACKETS) -> Iterator[Flood]:
        """Of so many packets at a time."""
        made = Flood(self, addresses, family, packets)
        try:
            yield made
        finally:
            made.close()

    def received(self, flood: Flood) -> Received:
        """What one flood cost."""
        before = self.packets(), self._spent()
        with undisturbed(self._generator):
            began = time.perf_counter()
            flood.runner.run(flood.frame)
            took = time.perf_counter() - began
        time.sleep(0.005)  # the last ones are taken out of the ring
        packets, spent = self.packets() - before[0], self._spent() - before[1]
        return Received(spent / packets, packets / took / 1e6)

    def packets(self) -> int:
        for line in Path("/proc/thread-self/net/dev").read_text().splitlines():
            name, _, counts = line.strip().partition(":")
            if name == self.receiver:
                return int(counts.split()[1])
        raise RuntimeError(f"no {self.receiver}")

    def _spent(self) -> int:
        """ns"""
        return sum(int(Path(f"/proc/{thread}/schedstat").read_text().split()[0]) for thread in self._threads)


class Flood:
    """Frames from sources out of a table, which has a power of two of them."""

    def __init__(self, wire: Wire, addresses: Addresses, family: Family, packets: int) -> None:
        self._variants = variants(addresses, family)
        self._turn = libbpf.map_create(PERCPU_ARRAY, "turn", 4, 8, 1, 0)
        index = socket.if_nametoindex(wire.sender)
        flags = f"-DFAMILY={family}", f"-DVARIANTS={len(addresses)}", f"-DINTERFACE={index}"
        made = compiled_once(inline(SOURCES / "flood.c"), "flood", ("variants", "turn"), flags)
        maps = {"variants": self._variants.fd, "turn": self._turn}
        self._program, _ = libbpf.prog_load("flood", made.link(maps))
        self.runner = libbpf.TestRunner(self._program, packets, F_TEST_XDP_LIVE_FRAMES)
        self.frame = _frame(wire, family)

    def close(self) -> None:
        for fd in (self._program, self._turn):
            os.close(fd)
        self._variants.close()


def _frame(wire: Wire, family: Family) -> bytes:
    listing = json.loads(wire.run("ip", "-j", "link", "show", wire.receiver))
    mac = bytes.fromhex(listing[0]["address"].replace(":", ""))
    return ethernet(ip(SOURCE[family], udp()), destination=mac, pad_to=64)
